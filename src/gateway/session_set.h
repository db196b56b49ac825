#pragma once

#include <map>
#include <memory>

#include "absl/status/status.h"
#include "base/mutex.h"

namespace pgc {

class CaptureSession;

// Owns the sessions from the call's start to its end. Thread-safe.
class SessionSet {
 public:
  explicit SessionSet(size_t max) : max_(max) {}

  // Takes the session in any case. When this is an error it is to be ended at once:
  // ResourceExhausted when there are too many, Unavailable after EndAll.
  absl::Status Add(const std::shared_ptr<CaptureSession>& session);
  void Remove(CaptureSession* session);

  // Ends all sessions with `status`, and every later one.
  void EndAll(const absl::Status& status);
  void WaitUntilEmpty();

 private:
  const size_t max_;
  Mutex mutex_;
  CondVar changed_;
  std::map<CaptureSession*, std::shared_ptr<CaptureSession>> sessions_ PGC_GUARDED_BY(mutex_);
  absl::Status ended_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
