// Numbers of scalar_text.h.
#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <iterator>
#include <vector>

#include "value/scalar_text.h"

namespace pgc {
namespace {

// `sign` of a numeric.
constexpr uint16_t kPositive = 0x0000;
constexpr uint16_t kNegative = 0x4000;
constexpr uint16_t kNan = 0xC000;
constexpr uint16_t kInfinity = 0xD000;
constexpr uint16_t kNegativeInfinity = 0xF000;
constexpr uint16_t kMaxScale = 0x3FFF;
// A numeric's digits are of base 10,000.
constexpr uint16_t kBase = 10'000;
constexpr int kDigitsEach = 4;

template <typename Number>
bool AppendNumber(std::string& out, const ByteReader& in, Number number) {
  fmt::format_to(std::back_inserter(out), "{}", number);
  return in.ok();
}

// The fewest digits that give the same value again, with an exponent where PostgreSQL has one.
template <typename Float>
void AppendShortest(std::string& out, Float value, int digits_before_exponent) {
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  if (std::isinf(value)) {
    out += value < 0 ? "-Infinity" : "Infinity";
    return;
  }
  char text[64];
  const auto scientific = std::to_chars(text, std::end(text), value, std::chars_format::scientific);
  const std::string_view shortest(text, static_cast<size_t>(scientific.ptr - text));
  int exponent = 0;
  const char* digits = text + shortest.find('e') + 1;
  if (*digits == '+') ++digits;
  std::from_chars(digits, scientific.ptr, exponent);
  if (exponent >= -4 && exponent < digits_before_exponent) {
    const auto fixed = std::to_chars(text, std::end(text), value, std::chars_format::fixed);
    out.append(text, fixed.ptr);
  } else {
    out += shortest;
  }
}

// The digits of a numeric, by their weight: the power of kBase that each counts.
class NumericDigits {
 public:
  NumericDigits(std::vector<uint16_t> digits, int weight)
      : digits_(std::move(digits)), weight_(weight) {}

  uint16_t At(int weight) const {
    const int place = weight_ - weight;
    return place < 0 || place >= static_cast<int>(digits_.size()) ? uint16_t{0} : digits_[place];
  }

 private:
  const std::vector<uint16_t> digits_;
  const int weight_;
};

}  // namespace

bool AppendBool(std::string& out, ByteReader& in) {
  out += in.U8() != 0 ? "true" : "false";
  return in.ok();
}

bool AppendInt2(std::string& out, ByteReader& in) {
  return AppendNumber(out, in, static_cast<int16_t>(in.U16()));
}

bool AppendInt4(std::string& out, ByteReader& in) {
  return AppendNumber(out, in, static_cast<int32_t>(in.U32()));
}

bool AppendInt8(std::string& out, ByteReader& in) { return AppendNumber(out, in, in.I64()); }

bool AppendUint32(std::string& out, ByteReader& in) { return AppendNumber(out, in, in.U32()); }

bool AppendUint64(std::string& out, ByteReader& in) { return AppendNumber(out, in, in.U64()); }

bool AppendFloat4(std::string& out, ByteReader& in) {
  AppendShortest(out, std::bit_cast<float>(in.U32()), 6);
  return in.ok();
}

bool AppendFloat8(std::string& out, ByteReader& in) {
  AppendShortest(out, std::bit_cast<double>(in.U64()), 15);
  return in.ok();
}

bool AppendNumeric(std::string& out, ByteReader& in) {
  const uint16_t count = in.U16();
  const int weight = static_cast<int16_t>(in.U16());
  const uint16_t sign = in.U16();
  const int scale = in.U16();
  if (!in.ok() || scale > kMaxScale || in.remaining() < size_t{2} * count) return false;
  std::vector<uint16_t> digits(count);
  for (uint16_t& digit : digits) {
    digit = in.U16();
    if (digit >= kBase) return false;
  }
  switch (sign) {
    case kPositive:
      break;
    case kNegative:
      out += '-';
      break;
    case kNan:
      out += "NaN";
      return true;
    case kInfinity:
      out += "Infinity";
      return true;
    case kNegativeInfinity:
      out += "-Infinity";
      return true;
    default:
      return false;
  }
  const NumericDigits number(std::move(digits), weight);
  if (weight < 0) {
    out += '0';
  } else {
    AppendNumber(out, in, number.At(weight));
    for (int at = weight - 1; at >= 0; --at) {
      fmt::format_to(std::back_inserter(out), "{:04}", number.At(at));
    }
  }
  if (scale == 0) return true;
  out += '.';
  const size_t end = out.size() + static_cast<size_t>(scale);
  for (int at = -1; out.size() < end; --at) {
    fmt::format_to(std::back_inserter(out), "{:0{}}", number.At(at), kDigitsEach);
  }
  out.resize(end);
  return true;
}

}  // namespace pgc
