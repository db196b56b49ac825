#include "base/background.h"

#include <iterator>
#include <utility>

namespace pgc {

Background::~Background() {
  MutexLock lock(mutex_);
  for (Running& running : running_) running.thread.request_stop();
  running_.clear();
}

Background::Work Background::Start(std::function<void(const std::stop_token&)> work) {
  const auto is_done = std::make_shared<std::atomic<bool>>(false);
  std::jthread thread([work = std::move(work), is_done](const std::stop_token& stop) mutable {
    work(stop);
    work = nullptr;
    is_done->store(true);
  });
  std::stop_source stop = thread.get_stop_source();
  std::list<Running> done;
  MutexLock lock(mutex_);
  for (auto running = running_.begin(); running != running_.end();) {
    const auto next = std::next(running);
    if (running->is_done->load()) done.splice(done.end(), running_, running);
    running = next;
  }
  running_.push_back({.thread = std::move(thread), .is_done = is_done});
  return Work(std::move(stop));
}

}  // namespace pgc
