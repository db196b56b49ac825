#include "gateway/session_set.h"

#include <fmt/format.h>

#include <vector>

#include "gateway/capture_session.h"

namespace pgc {

absl::Status SessionSet::Add(const std::shared_ptr<CaptureSession>& session) {
  MutexLock lock(mutex_);
  sessions_.emplace(session.get(), session);
  if (!ended_.ok()) return ended_;
  if (sessions_.size() > max_) {
    return absl::ResourceExhaustedError(
        fmt::format("the gateway has {} sessions, as many as it can", max_));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<void>> SessionSet::BeginAttaching() {
  if (auto permit = attaching_.Take(max_)) return permit;
  return absl::ResourceExhaustedError(fmt::format(
      "{} sessions, some of which have ended, wait for their store, agents or controller: these do "
      "not answer",
      max_));
}

void SessionSet::Remove(CaptureSession* session) {
  std::shared_ptr<CaptureSession> last;  // destroyed without the lock
  MutexLock lock(mutex_);
  const auto at = sessions_.find(session);
  last = std::move(at->second);
  sessions_.erase(at);
  changed_.NotifyAll();
}

void SessionSet::EndAll(const absl::Status& status) {
  std::vector<std::shared_ptr<CaptureSession>> sessions;
  {
    MutexLock lock(mutex_);
    ended_ = status;
    sessions.reserve(sessions_.size());
    for (const auto& [key, session] : sessions_) sessions.push_back(session);
  }
  for (const auto& session : sessions) session->End(status);
}

void SessionSet::WaitUntilEmpty() {
  MutexLock lock(mutex_);
  while (!sessions_.empty()) changed_.Wait(mutex_);
}

}  // namespace pgc
