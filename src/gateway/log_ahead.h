#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "base/background.h"
#include "event/store.h"

namespace pgc {

// The events of a consumer's log from a place on, for who must not wait. Where the store's readers
// read at once, so does this; else a thread of its own opens one and reads ahead, kMaxBytes and one
// slice more at most.
//
// Not thread-safe, but for that thread.
class LogAhead {
 public:
  static constexpr size_t kMaxBytes = size_t{1} << 20;

  // `ready` is called from any thread when what the calls below said was not known, or not there,
  // may be now; perhaps also when this is gone. `background` outlives it.
  LogAhead(const EventConsumer& consumer, Background& background, const FromAfter& start,
           std::function<void()> ready);
  ~LogAhead();
  LogAhead(const LogAhead&) = delete;
  LogAhead& operator=(const LogAhead&) = delete;

  // Whether the place was found. Errors as OpenReader.
  absl::StatusOr<bool> IsOpen();
  // The next events; to be called only when there are some, because where the store reads at once
  // this waits for them. Nothing while they are not here. Errors as EventReader::Next.
  absl::StatusOr<std::optional<EventSlice>> TryNext();

 private:
  class State;

  // Where it reads at once.
  absl::StatusOr<std::unique_ptr<EventReader>> reader_ = nullptr;
  // Else.
  std::shared_ptr<State> state_;
  Background::Work work_;
};

}  // namespace pgc
