#include "gateway/start_position.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <optional>

#include "event/lsn.h"

namespace pgc {
namespace {

using std::chrono::microseconds;

// Takes text apart from its front; failed for good once something was not there.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  int Number(size_t digits, int min, int max) {
    int number = 0;
    if (rest_.size() < digits) ok_ = false;
    for (size_t i = 0; i < digits && ok_; ++i) {
      const char c = rest_[i];
      ok_ = c >= '0' && c <= '9';
      number = 10 * number + (c - '0');
    }
    if (!ok_ || number < min || number > max) {
      ok_ = false;
      return min;
    }
    rest_.remove_prefix(digits);
    return number;
  }
  bool Take(std::string_view any_of) {
    if (rest_.empty() || any_of.find(rest_.front()) == std::string_view::npos) return false;
    taken_ = rest_.front();
    rest_.remove_prefix(1);
    return true;
  }
  void Need(std::string_view any_of) { ok_ = Take(any_of) && ok_; }
  // Digits after the point; what is below a microsecond is dropped.
  microseconds Fraction() {
    int64_t us = 0;
    int digits = 0;
    for (; !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; ++digits) {
      if (digits < 6) us = 10 * us + (rest_.front() - '0');
      rest_.remove_prefix(1);
    }
    if (digits == 0) ok_ = false;
    for (; digits < 6; ++digits) us *= 10;
    return microseconds(us);
  }
  char taken() const { return taken_; }
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
  char taken_ = 0;
};

std::optional<PgTimestamp> ParseTime(std::string_view text) {
  Reader in(text);
  const int year = in.Number(4, 0, 9999);
  in.Need("-");
  const int month = in.Number(2, 1, 12);
  in.Need("-");
  const int day = in.Number(2, 1, 31);
  in.Need("Tt ");
  const int hour = in.Number(2, 0, 23);
  in.Need(":");
  const int minute = in.Number(2, 0, 59);
  in.Need(":");
  const int second = in.Number(2, 0, 60);
  const microseconds fraction = in.Take(".") ? in.Fraction() : microseconds(0);
  std::chrono::minutes offset{0};
  in.Need("Zz+-");
  if (in.taken() == '+' || in.taken() == '-') {
    const bool west = in.taken() == '-';
    offset = std::chrono::hours(in.Number(2, 0, 23));
    in.Need(":");
    offset += std::chrono::minutes(in.Number(2, 0, 59));
    if (west) offset = -offset;
  }
  const auto date =
      std::chrono::year{year} / static_cast<unsigned>(month) / static_cast<unsigned>(day);
  if (!in.ok() || !in.at_end() || !date.ok()) return std::nullopt;
  const auto time = std::chrono::sys_days(date) + std::chrono::hours(hour) +
                    std::chrono::minutes(minute) + std::chrono::seconds(second) + fraction - offset;
  return PgTimestamp{.us = std::chrono::duration_cast<microseconds>(time - kPgEpoch).count()};
}

}  // namespace

absl::StatusOr<SubscriptionStart> ParseStart(std::string_view text) {
  if (text == "end") return FromEnd{};
  if (text == "beginning") return FromBeginning{};
  if (text == "snapshot") {
    return absl::InvalidArgumentError(
        "'snapshot' is for a new subscription: for one that is there ask for dumps (pgcapture "
        "dump)");
  }
  if (text.find('/') != std::string_view::npos) {
    if (const auto lsn = ParseLsn(text); lsn.ok()) return FromAfterLsn{.lsn = *lsn};
  } else if (const auto time = ParseTime(text)) {
    return FromTime{.time = *time};
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is no place to start from: it is end, beginning, an LSN (16/B374D848) or "
                  "an RFC 3339 time (2026-01-02T03:04:05Z)",
                  text.substr(0, 100)));
}

}  // namespace pgc
