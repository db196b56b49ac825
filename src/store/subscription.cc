#include "store/subscription.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"

namespace pgc {

Subscription::Subscription(Options options, Delivery delivery)
    : options_(std::move(options)), delivery_(std::move(delivery)) {}

absl::Status Subscription::Open() {
  MutexLock lock(mutex_);
  if (open_) {
    return absl::UnavailableError(fmt::format("subscription {} of topic {} has another consumer",
                                              options_.name, options_.topic));
  }
  open_ = true;
  warned_ = false;
  delivery_.Restart();
  return absl::OkStatus();
}

void Subscription::Close() {
  MutexLock lock(mutex_);
  ready_ = nullptr;
  while (calls_ > 0) no_call_.Wait(mutex_);
  open_ = false;
}

std::optional<uint64_t> Subscription::Next() {
  MutexLock lock(mutex_);
  WarnWhenPaused();
  return delivery_.Next(options_.timer->Now(), options_.end->load());
}

std::optional<OrdinalRange> Subscription::Take(OrdinalRange block) {
  MutexLock lock(mutex_);
  return delivery_.Take(options_.timer->Now(), options_.end->load(), block);
}

void Subscription::WarnWhenPaused() {
  if (warned_ || !delivery_.paused()) return;
  warned_ = true;
  log::Warning("a subscription gets nothing newer until it acknowledges older events",
               {{"topic", options_.topic},
                {"subscription", options_.name},
                {"holes", std::to_string(delivery_.acked().above().size())},
                {"oldest", std::to_string(delivery_.acked().low())}});
}

void Subscription::NotifyWhenReady(std::function<void()> ready) {
  {
    MutexLock lock(mutex_);
    ready_ = std::move(ready);
  }
  Wake();
}

void Subscription::Wake() {
  std::function<void()> ready;
  {
    MutexLock lock(mutex_);
    const Timer::Time now = options_.timer->Now();
    if (alarm_ && *alarm_ <= now) alarm_.reset();
    if (!ready_) return;
    if (!delivery_.Next(now, options_.end->load())) {
      WarnWhenPaused();
      const std::optional<Timer::Time> due = delivery_.NextDue();
      if (!due || (alarm_ && *alarm_ <= *due)) return;
      alarm_ = due;
      options_.timer->CallAt(*due, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->Wake();
      });
      return;
    }
    ready = std::exchange(ready_, nullptr);
    ++calls_;
  }
  ready();
  MutexLock lock(mutex_);
  --calls_;
  no_call_.NotifyAll();
}

absl::Status Subscription::Ack(OrdinalRange range) {
  bool save = false;
  bool wake = false;
  {
    MutexLock lock(mutex_);
    if (!save_status_.ok()) return save_status_;
    const bool paused = delivery_.paused();
    if (absl::Status status = delivery_.Ack(range); !status.ok()) return status;
    save = options_.save_soon && !std::exchange(unsaved_, true);
    wake = paused && !delivery_.paused();
  }
  if (save) options_.save_soon(shared_from_this());
  if (wake) Wake();
  return absl::OkStatus();
}

absl::Status Subscription::Requeue(uint64_t ordinal) {
  {
    MutexLock lock(mutex_);
    if (absl::Status status = delivery_.Requeue(ordinal, options_.timer->Now()); !status.ok()) {
      return status;
    }
  }
  Wake();
  return absl::OkStatus();
}

AckRanges Subscription::TakeAcked() {
  MutexLock lock(mutex_);
  unsaved_ = false;
  return delivery_.acked();
}

uint64_t Subscription::low() const {
  MutexLock lock(mutex_);
  return delivery_.acked().low();
}

void Subscription::Fail(absl::Status status) {
  MutexLock lock(mutex_);
  save_status_ = std::move(status);
}

}  // namespace pgc
