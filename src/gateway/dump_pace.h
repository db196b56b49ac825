#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

namespace pgc {

// How many rows of dumps a consumer is sent ahead of its acknowledgements.
//
// A change cannot overtake what was sent before it, and a consumer at its limit has a queue as long
// as it is allowed to have: that of gRPC and of the network is some MiB. So the rows that are sent
// and not acknowledged are bounded, to what the consumer does in `most_queue`. Time and again it is
// looked how many that is.
//
// That is not enough for a consumer that is far away, or acknowledges many at once: such answers
// come in clumps, with pauses between them. While the pauses are most of the time, the bound is
// three clumps. When nothing comes back at all, the consumer may be waiting for more, and the
// bound is doubled: it is a matter of speed, never of progress.
//
// Not thread-safe. Time is the caller's.
class DumpPace {
 public:
  using Duration = std::chrono::steady_clock::duration;
  using Time = std::chrono::steady_clock::time_point;

  // Where a message has one row, a shorter queue costs too many wakeups on either side.
  static constexpr std::chrono::milliseconds kMostQueue{6};
  static constexpr std::chrono::milliseconds kMostQueueBatched{2};
  // A shorter pause is none.
  static constexpr std::chrono::milliseconds kShortestPause{6};
  // A longer one counts as this: it may be that there was nothing to do.
  static constexpr std::chrono::milliseconds kLongestPause{2'000};
  // Without an acknowledgement the bound is doubled after this, and four usual pauses between them.
  static constexpr std::chrono::milliseconds kMostSilence{50};
  static constexpr uint64_t kFirstRows = 16;
  static constexpr uint64_t kLeastRows = 2;
  static constexpr uint64_t kMostRows = uint64_t{1} << 20;

  explicit DumpPace(Duration most_queue = kMostQueue) : most_queue_(most_queue) {}

  // Whether there is room for more; once there is none, not before a quarter of the bound is free.
  // Room that there is goes by sending only.
  bool HasRoom();
  // The same, and notices when nothing comes back: to be asked now and then while there is none.
  bool HasRoomAt(Time now);

  // A message of so many left. `ends` is the id of a dump whose last row is among them, if one is.
  void Sent(uint64_t rows, std::optional<uint32_t> ends, Time now);
  // So many were acknowledged.
  void Answered(uint64_t rows, Time now);
  // The last row of this dump was: so were, or never will be, those before it.
  void AnsweredLast(uint32_t dump, Time now);

  // A dump was put back: its other rows, and who knows which, will not be.
  void Forget() { answered_ = sent_; }

  uint64_t bound_rows() const { return bound_rows_; }

 private:
  uint64_t open_rows() const { return sent_ - answered_; }
  void BeginLook(Time now);
  void EndLook(Time now);

  const Duration most_queue_;
  uint64_t bound_rows_ = kFirstRows;
  uint64_t sent_ = 0;
  uint64_t answered_ = 0;
  bool is_full_ = false;
  // By dump: how many were sent with its last row.
  std::deque<std::pair<uint32_t, uint64_t>> last_rows_;

  Time heard_;  // of the last answer, or of the first row that waits for one
  Duration last_pause_{0};
  Time widened_;  // the bound, for want of answers
  // Since the last look:
  Time begun_;
  uint64_t all_answered_ = 0;  // with this answer, all that was sent before
  uint64_t answers_ = 0;
  Duration pauses_{0};
  Duration longest_pause_{0};
  uint64_t clump_ = 0;  // answers since the last of them
  uint64_t largest_clump_ = 0;
};

}  // namespace pgc
