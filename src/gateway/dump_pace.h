#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace pgc {

// How much of its dumps a consumer is sent ahead of its acknowledgements.
//
// A change cannot overtake what was sent before it, and a consumer at its limit has a queue as long
// as it is allowed to have: that of gRPC and of the network is some MiB. So a window on what is not
// acknowledged is kept at what the consumer does in kMostQueue, beside the time that a message and
// its acknowledgement need when nothing is ahead of them. That is measured: time and again a
// message is sent alone.
//
// A consumer that acknowledges many at once may wait for more before it does. When nothing comes
// back, the window is doubled, and stays so for a while. So it is a matter of speed only, never of
// progress.
//
// Not thread-safe. Time is the caller's.
class DumpPace {
 public:
  using Duration = std::chrono::steady_clock::duration;
  using Time = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::milliseconds kMostQueue{2};
  // Without any acknowledgement the window is doubled after this, and the usual time between them.
  static constexpr std::chrono::milliseconds kMostSilence{50};
  // Measures take a hundredth of the time, and are not made more often than this.
  static constexpr std::chrono::seconds kLeastBetweenMeasures{1};
  static constexpr size_t kLeastWindow = size_t{8} << 10;
  static constexpr size_t kFirstWindow = size_t{16} << 10;

  // Whether there is room; to be asked again after Answered, and after a while.
  bool HasRoom(Time now);
  // The same, when it is known without a look at the clock.
  bool SurelyHasRoom() const { return in_flight_ < window_ && !is_draining_; }

  // One message left, with so many rows or repeats, which take so many bytes. `ends` is the id of a
  // dump whose last row is among them, if there is one.
  void Sent(uint64_t count, size_t bytes, std::optional<uint32_t> ends, Time now);
  // So many of them were acknowledged, or put back, at once.
  void Answered(uint64_t count, Time now);
  // The last row of this dump was: so were, or never will be, those before it.
  void AnsweredLast(uint32_t dump, Time now);

  size_t window() const { return window_; }
  size_t in_flight() const { return in_flight_; }

 private:
  // Messages that were sent one after another.
  struct Group {
    uint64_t left = 0;  // that are not answered
    size_t bytes = 0;
    std::optional<uint32_t> ends;
    Time sent;
    bool alone = false;  // nothing was ahead of it
    uint64_t number = 0;
  };

  void EndFirst(Time now);
  void Adjust(Time now);
  void Widen(Time now);
  void Scale(double by);

  size_t window_ = kFirstWindow;
  size_t in_flight_ = 0;
  std::deque<Group> groups_;
  uint64_t last_number_ = 0;

  // Between a message's leaving and its last acknowledgement when it was alone.
  std::optional<Duration> alone_;
  Time measured_;             // when that was
  bool is_draining_ = false;  // so that the next is alone
  // Since the last change of the window:
  uint64_t round_ends_ = 0;  // with the answer to this group
  std::optional<Duration> shortest_;
  bool was_full_ = false;

  std::optional<Time> full_since_;
  Time answered_;              // the last one
  Duration usual_silence_{0};  // between answers that leave others open
  bool was_wide_ = false;      // the window has been too large before
  Time stays_until_;           // the window does not shrink before
};

}  // namespace pgc
