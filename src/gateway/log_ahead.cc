#include "gateway/log_ahead.h"

#include <deque>
#include <utility>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "base/status_macros.h"

namespace pgc {

// What the thread shares with its owner, and keeps when that is gone.
class LogAhead::State {
 public:
  State(EventConsumer::ReaderOpener open, std::function<void()> ready)
      : open_(std::move(open)), ready_(std::move(ready)) {}

  void ReadAhead(const std::stop_token& stop) {
    auto reader = open_();
    Note(reader.status(), std::nullopt);
    while (reader.ok()) {
      auto next = (*reader)->Next(stop);
      if (!next.ok()) return Note(next.status(), std::nullopt);
      Note(absl::OkStatus(), *std::move(next));
      MutexLock lock(mutex_);
      const auto has_room = [this]() PGC_REQUIRES(mutex_) { return bytes_ < kMaxBytes; };
      if (!changed_.Wait(mutex_, stop, has_room)) return;
    }
  }

  absl::StatusOr<bool> IsOpen() {
    MutexLock lock(mutex_);
    if (!is_open_) PGC_RETURN_IF_ERROR(failure_);
    return is_open_;
  }

  absl::StatusOr<std::optional<EventSlice>> TryNext() {
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

 private:
  void Note(const absl::Status& status, std::optional<EventSlice> slice) {
    {
      MutexLock lock(mutex_);
      is_open_ = is_open_ || status.ok();
      failure_ = status;
      if (slice) {
        bytes_ += slice->block->bytes().size();
        slices_.push_back(*std::move(slice));
      }
    }
    ready_();
  }

  const EventConsumer::ReaderOpener open_;
  const std::function<void()> ready_;
  Mutex mutex_;
  CondVar changed_;
  bool is_open_ PGC_GUARDED_BY(mutex_) = false;
  absl::Status failure_ PGC_GUARDED_BY(mutex_);
  std::deque<EventSlice> slices_ PGC_GUARDED_BY(mutex_);
  size_t bytes_ PGC_GUARDED_BY(mutex_) = 0;
};

LogAhead::LogAhead(const EventConsumer& consumer, Background& background, const FromAfter& start,
                   std::function<void()> ready) {
  auto open = consumer.SlowReader(start);
  if (!open) {
    reader_ = consumer.OpenReader(start);
    return;
  }
  state_ = std::make_shared<State>(std::move(open), std::move(ready));
  work_ =
      background.Start([state = state_](const std::stop_token& stop) { state->ReadAhead(stop); });
}

LogAhead::~LogAhead() = default;

absl::StatusOr<bool> LogAhead::IsOpen() {
  if (state_ != nullptr) return state_->IsOpen();
  PGC_RETURN_IF_ERROR(reader_.status());
  return true;
}

absl::StatusOr<std::optional<EventSlice>> LogAhead::TryNext() {
  if (state_ != nullptr) return state_->TryNext();
  PGC_RETURN_IF_ERROR(reader_.status());
  return (*reader_)->Next({});
}

}  // namespace pgc
