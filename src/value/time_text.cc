// Dates, times and intervals of scalar_text.h.
#include <fmt/format.h>

#include <cstdlib>
#include <iterator>
#include <limits>

#include "value/scalar_text.h"

namespace pgc {
namespace {

constexpr int64_t kUsPerSecond = 1'000'000;
constexpr int64_t kUsPerDay = 86'400 * kUsPerSecond;
// Times of day lie less than 16 hours from UTC.
constexpr int32_t kMaxZoneSeconds = 16 * 3'600 - 1;

template <typename... Args>
void Format(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

template <typename Number>
bool AppendInfinity(std::string& out, Number number) {
  if (number == std::numeric_limits<Number>::max()) {
    out += "infinity";
    return true;
  }
  if (number == std::numeric_limits<Number>::min()) {
    out += "-infinity";
    return true;
  }
  return false;
}

// `05` or `05.25`
void AppendSeconds(std::string& out, int64_t seconds, int64_t us) {
  Format(out, "{:02}", seconds);
  if (us == 0) return;
  Format(out, ".{:06}", us);
  while (out.back() == '0') out.pop_back();
}

void AppendTimeOfDay(std::string& out, int64_t us) {
  const int64_t seconds = us / kUsPerSecond;
  Format(out, "{:02}:{:02}:", seconds / 3'600, seconds / 60 % 60);
  AppendSeconds(out, seconds % 60, us % kUsPerSecond);
}

int64_t FloorDivide(int64_t number, int64_t by) { return number / by - (number % by < 0 ? 1 : 0); }

// Appends the day that is `days` after 2000-01-01, in the proleptic Gregorian calendar. Whether it
// lies before Christ, which its text says at the very end.
bool AppendDay(std::string& out, int64_t days) {
  // Counted from a 1 March on, a leap day is the last of its year, and a year divisible by 400
  // begins a cycle.
  constexpr int64_t kDaysFromMarchOfYear0 = 730'425;
  constexpr int64_t kDaysPerCycle = 146'097;
  const int64_t from_march = days + kDaysFromMarchOfYear0;
  const int64_t cycle = FloorDivide(from_march, kDaysPerCycle);
  const int64_t day_of_cycle = from_march - cycle * kDaysPerCycle;
  const int64_t year_of_cycle =
      (day_of_cycle - day_of_cycle / 1'460 + day_of_cycle / 36'524 - day_of_cycle / 146'096) / 365;
  const int64_t day_of_year =
      day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
  const int64_t month_from_march = (5 * day_of_year + 2) / 153;
  const int64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
  const int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  const int64_t year = cycle * 400 + year_of_cycle + (month <= 2 ? 1 : 0);
  Format(out, "{:04}-{:02}-{:02}", year > 0 ? year : 1 - year, month, day);
  return year <= 0;
}

bool AppendInstant(std::string& out, int64_t us, std::string_view zone) {
  if (AppendInfinity(out, us)) return true;
  const int64_t days = FloorDivide(us, kUsPerDay);
  const bool before_christ = AppendDay(out, days);
  out += 'T';
  AppendTimeOfDay(out, us - days * kUsPerDay);
  out += zone;
  if (before_christ) out += " BC";
  return true;
}

// Puts the parts of an interval together. A sign is written out where the part before it was
// negative, so that `-1 days +02:03:00` can be read back.
class IntervalText {
 public:
  explicit IntervalText(std::string& out) : out_(out) {}

  void Part(int64_t number, std::string_view unit) {
    if (number == 0) return;
    Format(out_, "{}{}{} {}{}", empty_ ? "" : " ", after_negative_ && number > 0 ? "+" : "", number,
           unit, number == 1 ? "" : "s");
    after_negative_ = number < 0;
    empty_ = false;
  }

  void Time(int64_t us) {
    if (us == 0 && !empty_) return;
    const int64_t seconds = us / kUsPerSecond;
    Format(out_, "{}{}{:02}:{:02}:", empty_ ? "" : " ",
           us < 0            ? "-"
           : after_negative_ ? "+"
                             : "",
           std::abs(seconds / 3'600), std::abs(seconds / 60 % 60));
    AppendSeconds(out_, std::abs(seconds % 60), std::abs(us % kUsPerSecond));
  }

 private:
  std::string& out_;
  bool empty_ = true;
  bool after_negative_ = false;
};

}  // namespace

bool AppendDate(std::string& out, ByteReader& in) {
  const auto days = static_cast<int32_t>(in.U32());
  if (!in.ok()) return false;
  if (!AppendInfinity(out, days) && AppendDay(out, days)) out += " BC";
  return true;
}

bool AppendTime(std::string& out, ByteReader& in) {
  const int64_t us = in.I64();
  if (!in.ok() || us < 0 || us > kUsPerDay) return false;
  AppendTimeOfDay(out, us);
  return true;
}

bool AppendTimeTz(std::string& out, ByteReader& in) {
  if (!AppendTime(out, in)) return false;
  const auto west = static_cast<int32_t>(in.U32());
  if (!in.ok() || west < -kMaxZoneSeconds || west > kMaxZoneSeconds) return false;
  const int32_t zone = std::abs(west);
  Format(out, "{}{:02}", west <= 0 ? '+' : '-', zone / 3'600);
  if (zone % 3'600 != 0) Format(out, ":{:02}", zone / 60 % 60);
  if (zone % 60 != 0) Format(out, ":{:02}", zone % 60);
  return true;
}

bool AppendTimestamp(std::string& out, ByteReader& in) {
  const int64_t us = in.I64();
  return in.ok() && AppendInstant(out, us, "");
}

bool AppendTimestampTz(std::string& out, ByteReader& in) {
  const int64_t us = in.I64();
  return in.ok() && AppendInstant(out, us, "+00:00");
}

bool AppendInterval(std::string& out, ByteReader& in) {
  const int64_t us = in.I64();
  const auto days = static_cast<int32_t>(in.U32());
  const auto months = static_cast<int32_t>(in.U32());
  if (!in.ok()) return false;
  // From PostgreSQL 17 on, infinity is all three at their end.
  std::string ends[3];
  if (AppendInfinity(ends[0], us) && AppendInfinity(ends[1], days) &&
      AppendInfinity(ends[2], months) && ends[0] == ends[1] && ends[1] == ends[2]) {
    out += ends[0];
    return true;
  }
  IntervalText text(out);
  text.Part(months / 12, "year");
  text.Part(months % 12, "mon");
  text.Part(days, "day");
  text.Time(us);
  return true;
}

}  // namespace pgc
