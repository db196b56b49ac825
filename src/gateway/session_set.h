#pragma once

#include <cstddef>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/holds.h"
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

  // To wait for others before a stream can begin, for as long as what is returned is there, which
  // may be longer than the session: the end of the set waits for it. ResourceExhausted when as many
  // do as there may be sessions.
  absl::StatusOr<std::shared_ptr<void>> BeginAttaching();

  // Of their feeds, which may be there for longer. The end of the set waits for them.
  Holds& feeds() { return feeds_; }

  // Ends all sessions with `status`, and every later one.
  void EndAll(const absl::Status& status);
  void WaitUntilEmpty();

 private:
  Holds feeds_;
  Holds attaching_;
  const size_t max_;
  Mutex mutex_;
  CondVar changed_;
  std::map<CaptureSession*, std::shared_ptr<CaptureSession>> sessions_ PGC_GUARDED_BY(mutex_);
  absl::Status ended_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
