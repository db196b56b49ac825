#pragma once

#include <deque>
#include <memory>
#include <thread>

#include "base/mutex.h"

namespace pgc {

class CaptureSession;

// Wakes sessions on a thread of its own, in the order in which they were put here.
//
// The store says from its own threads that a session may go on. They must not run it: they would
// serve consumers instead of committing. And a session must not end inside that call, because
// destroying its consumer waits for the call. So all that the call does is to push.
//
// Thread-safe. A session is here a few times at most: once for its store, and for what it reads for
// dumps.
class WakeQueue {
 public:
  WakeQueue();
  // After the last Push; what is still queued is dropped.
  ~WakeQueue() = default;
  WakeQueue(const WakeQueue&) = delete;
  WakeQueue& operator=(const WakeQueue&) = delete;

  void Push(std::weak_ptr<CaptureSession> session);

 private:
  void Run(const std::stop_token& stop);

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::weak_ptr<CaptureSession>> queue_ PGC_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace pgc
