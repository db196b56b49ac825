// What a topic hands out, the same for every backend.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/store.h"
#include "store/topic.h"

namespace pgc {

class TopicReader : public EventReader {
 public:
  TopicReader(std::shared_ptr<const Topic> topic, uint64_t position, const Checkpoint& start)
      : topic_(std::move(topic)), start_(start), position_(position) {}

  absl::StatusOr<EventSlice> Next(std::stop_token stop) override;
  Checkpoint start() const override { return start_; }
  uint64_t position() const override { return position_; }
  std::string PlaceOf(uint64_t ordinal) const override;
  void Release(uint64_t /*ordinal*/) override {}

 private:
  const std::shared_ptr<const Topic> topic_;
  const Checkpoint start_;
  uint64_t position_;
};

// A reader that has a cursor.
class CursorReader : public TopicReader {
 public:
  // Takes over reader `id` of `cursor`.
  CursorReader(std::shared_ptr<Topic> topic, uint64_t position, const Checkpoint& start,
               std::shared_ptr<Subscription> cursor, ConsumerId id)
      : TopicReader(topic, position, start),
        topic_(std::move(topic)),
        cursor_(std::move(cursor)),
        id_(id) {}
  ~CursorReader() override { topic_->CloseConsumer(cursor_, id_); }

  void Release(uint64_t ordinal) override { cursor_->Release(ordinal); }

 private:
  const std::shared_ptr<Topic> topic_;
  const std::shared_ptr<Subscription> cursor_;
  const ConsumerId id_;
};

class TopicConsumer : public EventConsumer {
 public:
  // Takes over consumer `id` of `subscription`.
  TopicConsumer(std::shared_ptr<Topic> topic, std::shared_ptr<Subscription> subscription,
                ConsumerId id, const Checkpoint& start)
      : topic_(std::move(topic)), subscription_(std::move(subscription)), id_(id), start_(start) {}
  ~TopicConsumer() override { topic_->CloseConsumer(subscription_, id_); }

  absl::StatusOr<std::optional<EventSlice>> TryNext() override;
  void NotifyWhenReady(std::function<void()> ready) override {
    subscription_->NotifyWhenReady(id_, std::move(ready));
  }
  void AppendData(const EventSlice& slice, uint32_t index, std::string& out) const override;
  absl::Status Ack(std::string_view data) override;
  void AckRange(const EventSlice& slice, uint32_t begin, uint32_t end) override;
  absl::Status Requeue(std::string_view data) override;
  Checkpoint start() const override { return start_; }
  StreamProgress progress() const override;
  absl::StatusOr<Checkpoint> HandedToOthers() override;
  absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(const ReaderStart& start) const override {
    return topic_->OpenReader({.start = start});
  }

 private:
  const std::shared_ptr<Topic> topic_;
  const std::shared_ptr<Subscription> subscription_;
  const ConsumerId id_;
  const Checkpoint start_;
};

}  // namespace pgc
