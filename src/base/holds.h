#pragma once

#include <cstddef>
#include <limits>
#include <memory>

#include "base/mutex.h"

namespace pgc {

// What others hold for as long as they need something: its end waits for theirs. Thread-safe.
class Holds {
 public:
  Holds() = default;
  ~Holds() {
    MutexLock lock(mutex_);
    while (count_ > 0) changed_.Wait(mutex_);
  }
  Holds(const Holds&) = delete;
  Holds& operator=(const Holds&) = delete;

  // Until the last copy of what is returned is destroyed. nullptr when as many as `most` do.
  [[nodiscard]] std::shared_ptr<void> Take(size_t most = std::numeric_limits<size_t>::max()) {
    MutexLock lock(mutex_);
    if (count_ >= most) return nullptr;
    ++count_;
    return {this, [](void* holds) { static_cast<Holds*>(holds)->LetGo(); }};
  }

 private:
  void LetGo() {
    MutexLock lock(mutex_);
    --count_;
    changed_.NotifyAll();
  }

  Mutex mutex_;
  CondVar changed_;
  size_t count_ PGC_GUARDED_BY(mutex_) = 0;
};

}  // namespace pgc
