// Numbers of scalar_text.h.
#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
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

// A float's text in the form d.ddde+xx.
struct Scientific {
  char text[40];
  size_t length = 0;

  std::string_view view() const { return {text, length}; }
  int exponent() const { return Parse().exponent; }

  struct Parts {
    uint64_t digits = 0;  // of the whole mantissa, at most 17
    int digits_after_point = 0;
    int exponent = 0;
  };
  Parts Parse() const {
    Parts parts;
    const size_t e = view().find('e');
    for (const char c : view().substr(0, e)) {
      if (c >= '0' && c <= '9') parts.digits = parts.digits * 10 + static_cast<uint64_t>(c - '0');
    }
    const size_t point = view().find('.');
    if (point != std::string_view::npos) parts.digits_after_point = static_cast<int>(e - point - 1);
    const size_t sign = view()[e + 1] == '+' ? 1 : 0;
    std::from_chars(text + e + 1 + sign, text + length, parts.exponent);
    return parts;
  }
};

// Whether `text` lies exactly between `value`, which is not 0, and one of its neighbours.
template <typename Float>
bool IsHalfway(const Scientific& text, Float value) {
  const Scientific::Parts parts = text.Parse();
  const int power = parts.exponent - parts.digits_after_point;  // of 10
  // Only a whole number can be, and 5^power has to divide a number of some 54 bits.
  if (power < 0 || power > 23) return false;
  // Both as an odd number times a power of 2.
  int exponent = 0;
  constexpr int kBits = std::numeric_limits<Float>::digits;
  const auto mantissa =
      static_cast<uint64_t>(std::ldexp(std::frexp(std::fabs(value), &exponent), kBits));
  exponent -= kBits;
  const int twos = std::countr_zero(parts.digits);
  unsigned __int128 odd = parts.digits >> twos;
  for (int i = 0; i < power; ++i) odd *= 5;
  if (twos + power == exponent - 1 && (odd == 2 * mantissa + 1 || odd == 2 * mantissa - 1)) {
    return true;
  }
  // The neighbour below a power of 2 is nearer than the one above.
  const bool power_of_2 = mantissa == uint64_t{1} << (kBits - 1);
  return power_of_2 && twos + power == exponent - 2 && odd == 4 * mantissa - 1;
}

// The fewest digits that give the same value again. PostgreSQL does not take those that lie halfway
// to the next value, though reading them back would round to this one.
template <typename Float>
Scientific Shortest(Float value) {
  Scientific out;
  constexpr auto kFormat = std::chars_format::scientific;
  auto end = std::to_chars(out.text, std::end(out.text), value, kFormat).ptr;
  out.length = static_cast<size_t>(end - out.text);
  if (value == 0 || !IsHalfway(out, value)) return out;
  for (int more = out.Parse().digits_after_point + 1; more < 18; ++more) {
    end = std::to_chars(out.text, std::end(out.text), value, kFormat, more).ptr;
    out.length = static_cast<size_t>(end - out.text);
    Float again = 0;
    std::from_chars(out.text, end, again);
    if (again == value && !IsHalfway(out, value)) break;
  }
  return out;
}

// As PostgreSQL does: with an exponent where there are more digits before the point, or many zeros
// after it.
template <typename Float>
void AppendFloat(std::string& out, Float value, int digits_before_exponent) {
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  if (std::isinf(value)) {
    out += value < 0 ? "-Infinity" : "Infinity";
    return;
  }
  const Scientific shortest = Shortest(value);
  const int exponent = shortest.exponent();
  if (exponent < -4 || exponent >= digits_before_exponent) {
    out += shortest.view();
    return;
  }
  char text[64];
  const auto fixed = std::to_chars(text, std::end(text), value, std::chars_format::fixed);
  out.append(text, fixed.ptr);
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
  AppendFloat(out, std::bit_cast<float>(in.U32()), 6);
  return in.ok();
}

bool AppendFloat8(std::string& out, ByteReader& in) {
  AppendFloat(out, std::bit_cast<double>(in.U64()), 15);
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
