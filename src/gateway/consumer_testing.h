// A store's consumer that tests change a part of.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "event/store.h"

namespace pgc {

// Does what another consumer does. A reader that is opened does not let the session wait, whatever
// the other's are.
class ForwardingConsumer : public EventConsumer {
 public:
  explicit ForwardingConsumer(std::shared_ptr<EventConsumer> consumer)
      : consumer_(std::move(consumer)) {}

  absl::StatusOr<std::optional<EventSlice>> TryNext() override { return consumer_->TryNext(); }
  void NotifyWhenReady(std::function<void()> ready) override {
    consumer_->NotifyWhenReady(std::move(ready));
  }
  void AppendData(const EventSlice& slice, uint32_t index, std::string& out) const override {
    consumer_->AppendData(slice, index, out);
  }
  absl::Status Ack(std::string_view data) override { return consumer_->Ack(data); }
  void AckRange(const EventSlice& slice, uint32_t begin, uint32_t end) override {
    consumer_->AckRange(slice, begin, end);
  }
  absl::Status Requeue(std::string_view data) override { return consumer_->Requeue(data); }
  Checkpoint start() const override { return consumer_->start(); }
  StreamProgress progress() const override { return consumer_->progress(); }
  absl::StatusOr<Checkpoint> HandedToOthers() override { return consumer_->HandedToOthers(); }
  absl::StatusOr<std::unique_ptr<EventReader>> OpenReader(const ReaderStart& start) const override {
    return consumer_->OpenReader(start);
  }

 protected:
  const std::shared_ptr<EventConsumer> consumer_;
};

}  // namespace pgc
