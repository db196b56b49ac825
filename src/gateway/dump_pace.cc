#include "gateway/dump_pace.h"

#include <algorithm>

namespace pgc {
namespace {

// How much a look can change the bound.
constexpr double kMostGrowth = 2;
constexpr double kMostCut = 0.5;
constexpr uint64_t kClumps = 3;
// Of dumps that are not acknowledged; more are not in hand.
constexpr size_t kMostLastRows = 64;
// A look takes so many pauses.
constexpr int kPausesPerLook = 4;

}  // namespace

bool DumpPace::HasRoom() {
  is_full_ = open_rows() >= (is_full_ ? bound_rows_ * 3 / 4 + 1 : bound_rows_);
  return !is_full_;
}

bool DumpPace::HasRoomAt(Time now) {
  if (HasRoom()) return true;
  if (now - std::max(heard_, widened_) < kMostSilence + 4 * std::max(longest_pause_, last_pause_))
    return false;
  bound_rows_ = 2 * std::max(bound_rows_, open_rows());
  widened_ = now;
  is_full_ = false;
  return open_rows() < bound_rows_;
}

void DumpPace::Sent(uint64_t rows, std::optional<uint32_t> ends, Time now) {
  // It is no pause of the consumer's when there was nothing to do.
  if (open_rows() == 0) begun_ += now - std::exchange(heard_, now);
  sent_ += rows;
  if (!ends) return;
  last_rows_.emplace_back(*ends, sent_);
  if (last_rows_.size() > kMostLastRows) last_rows_.pop_front();
}

void DumpPace::Answered(uint64_t rows, Time now) {
  rows = std::min(rows, open_rows());
  if (rows == 0) return;
  const Duration pause = std::min<Duration>(now - std::exchange(heard_, now), kLongestPause);
  if (pause >= kShortestPause) {
    pauses_ += pause;
    longest_pause_ = std::max(longest_pause_, pause);
    clump_ = 0;
  }
  clump_ += rows;
  largest_clump_ = std::max(largest_clump_, clump_);
  answers_ += rows;
  answered_ += rows;
  const Duration least = std::max<Duration>(kShortestPause, kPausesPerLook * longest_pause_);
  if (is_full_ && answered_ >= all_answered_ && now - begun_ >= least) EndLook(now);
}

void DumpPace::AnsweredLast(uint32_t dump, Time now) {
  const auto found = std::find_if(last_rows_.begin(), last_rows_.end(),
                                  [dump](const auto& last) { return last.first == dump; });
  if (found == last_rows_.end()) return;
  if (found->second > answered_) Answered(found->second - answered_, now);
  last_rows_.erase(last_rows_.begin(), found + 1);
}

void DumpPace::BeginLook(Time now) {
  begun_ = heard_ = now;
  all_answered_ = sent_;
  answers_ = clump_ = largest_clump_ = 0;
  pauses_ = longest_pause_ = Duration{0};
}

void DumpPace::EndLook(Time now) {
  const Duration took = now - begun_;
  const auto bound = static_cast<double>(bound_rows_);
  double rows = static_cast<double>(answers_) * std::chrono::duration<double>(most_queue_) / took;
  if (2 * pauses_ > took) {
    rows = std::max(rows, static_cast<double>(kClumps * largest_clump_));
  } else if (4 * pauses_ > took) {
    rows = std::max(rows, bound);  // it would soon be widened again
  }
  rows = std::clamp(rows, kMostCut * bound, kMostGrowth * bound);
  bound_rows_ = std::clamp(static_cast<uint64_t>(rows), kLeastRows, kMostRows);
  last_pause_ = longest_pause_;
  BeginLook(now);
}

}  // namespace pgc
