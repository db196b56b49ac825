#include "gateway/log_ahead.h"

#include <utility>

#include "base/status_macros.h"

namespace pgc {

LogAhead::LogAhead(const EventConsumer& consumer, FromAfter start, std::function<void()> ready)
    : ready_(std::move(ready)) {
  if (consumer.reads_at_once()) {
    reader_ = consumer.OpenReader(std::move(start));
    return;
  }
  thread_ = std::jthread([this, &consumer, start = std::move(start)](const std::stop_token& stop) {
    ReadAhead(consumer, start, stop);
  });
}

absl::StatusOr<bool> LogAhead::IsOpen() {
  PGC_RETURN_IF_ERROR(reader_.status());
  if (*reader_ != nullptr) return true;
  MutexLock lock(mutex_);
  if (!is_open_) PGC_RETURN_IF_ERROR(failure_);
  return is_open_;
}

absl::StatusOr<std::optional<EventSlice>> LogAhead::TryNext() {
  PGC_RETURN_IF_ERROR(reader_.status());
  if (*reader_ != nullptr) return (*reader_)->Next({});
  MutexLock lock(mutex_);
  if (slices_.empty()) {
    PGC_RETURN_IF_ERROR(failure_);
    return std::nullopt;
  }
  EventSlice next = std::move(slices_.front());
  slices_.pop_front();
  bytes_ -= next.block->bytes().size();
  changed_.NotifyOne();
  return next;
}

void LogAhead::ReadAhead(const EventConsumer& consumer, const FromAfter& start,
                         const std::stop_token& stop) {
  const auto tell = [&](const absl::Status& failure) {
    {
      MutexLock lock(mutex_);
      failure_ = failure;
    }
    if (!stop.stop_requested()) ready_();
  };
  const auto reader = consumer.OpenReader(start);
  {
    MutexLock lock(mutex_);
    is_open_ = reader.ok();
  }
  tell(reader.status());
  if (!reader.ok()) return;
  while (true) {
    auto next = (*reader)->Next(stop);
    if (!next.ok()) return tell(next.status());
    {
      MutexLock lock(mutex_);
      bytes_ += next->block->bytes().size();
      slices_.push_back(*std::move(next));
    }
    tell(absl::OkStatus());
    MutexLock lock(mutex_);
    const auto has_room = [this]() PGC_NO_THREAD_SAFETY_ANALYSIS { return bytes_ < kMaxBytes; };
    if (!changed_.Wait(mutex_, stop, has_room)) return;
  }
}

}  // namespace pgc
