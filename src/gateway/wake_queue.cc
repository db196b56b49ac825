#include "gateway/wake_queue.h"

#include <utility>

#include "gateway/capture_session.h"

namespace pgc {

WakeQueue::WakeQueue() : thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void WakeQueue::Push(std::weak_ptr<CaptureSession> session) {
  MutexLock lock(mutex_);
  queue_.push_back(std::move(session));
  changed_.NotifyOne();
}

void WakeQueue::Run(const std::stop_token& stop) {
  while (true) {
    std::shared_ptr<CaptureSession> session;
    {
      MutexLock lock(mutex_);
      const bool any = changed_.Wait(
          mutex_, stop, [this]() PGC_NO_THREAD_SAFETY_ANALYSIS { return !queue_.empty(); });
      if (stop.stop_requested() || !any) return;
      session = queue_.front().lock();
      queue_.pop_front();
    }
    if (session != nullptr) session->Wake();
  }
}

}  // namespace pgc
