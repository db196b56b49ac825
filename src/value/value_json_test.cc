#include "value/value_json.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/hex.h"

namespace pgc {
namespace {

using testing::StartsWith;

std::string Json(uint32_t oid, const std::string& bytes,
                 ValueFormat format = ValueFormat::kBinary) {
  std::string out;
  AppendValueJson(out, oid, format, bytes);
  EXPECT_TRUE(nlohmann::json::accept(out)) << out;
  EXPECT_EQ(out.find('\n'), std::string::npos) << out;
  return out;
}

struct Case {
  uint32_t oid;
  const char* hex;
  const char* json;
};

// Each as the server sends it and prints it.
const Case kCases[] = {
    {16, "01", "true"},
    {16, "00", "false"},
    {21, "8000", "-32768"},
    {23, "7fffffff", "2147483647"},
    {20, "8000000000000000", "-9223372036854775808"},
    {20, "0020000000000001", "9007199254740993"},
    {26, "ffffffff", "4294967295"},
    {700, "3dcccccd", "0.1"},
    {700, "7f800000", R"("Infinity")"},
    {701, "3ff8000000000000", "1.5"},
    {701, "7ff8000000000000", R"("NaN")"},
    {701, "fff0000000000000", R"("-Infinity")"},
    {701, "430c6bf526340000", "1e+15"},
    {701, "8000000000000000", "-0"},
    {1700, "0002000000000002000c1388", R"("12.50")"},
    {1700, "00000000c0000000", R"("NaN")"},
    {1700, "00000000d0000000", R"("Infinity")"},
    {1700, "00000000f0000000", R"("-Infinity")"},
    {1700, "0000000000000003", R"("0.000")"},
    {1700, "0001fffe400000080001", R"("-0.00000001")"},
    {1700, "00010002000000000007", R"("700000000")"},
    {1082, "00000001", R"("2000-01-02")"},
    {1082, "7fffffff", R"("infinity")"},
    {1082, "80000000", R"("-infinity")"},
    {1082, "fff4dbf9", R"("0001-01-01")"},
    {1082, "fff4dbf8", R"("0001-12-31 BC")"},
    {1114, "0000000000000000", R"("2000-01-01T00:00:00")"},
    {1114, "00000000000f4240", R"("2000-01-01T00:00:01")"},
    {1114, "ffffffffffffffff", R"("1999-12-31T23:59:59.999999")"},
    {1184, "0002ea5dbb1f6f35", R"("2026-01-02T03:04:05.678901+00:00")"},
    {1184, "7fffffffffffffff", R"("infinity")"},
    {1083, "000000141dd76000", R"("24:00:00")"},
    {1083, "0000000000000001", R"("00:00:00.000001")"},
    {1266, "0000000000000000ffffe3e0", R"("00:00:00+02")"},
    {1266, "000000000000000000004651", R"("00:00:00-05:00:01")"},
    {1186, "00000000000000000000000000000000", R"("00:00:00")"},
    {1186, "ffffffffd5bce68c000000030000000e", R"("1 year 2 mons 3 days -00:11:49.0405")"},
    {1186, "7fffffffffffffff7fffffff7fffffff", R"("infinity")"},
    {25, "c3a4", "\"\xC3\xA4\""},
    {18, "00", R"("")"},
    {18, "61", R"("a")"},
    {17, "", R"("\\x")"},
    {17, "00ff", R"("\\x00ff")"},
    {114, "7b2261223a310a7d", R"({"a":1 })"},
    {3802, "017b2261223a20317d", R"({"a": 1})"},
    {2950, "00112233445566778899aabbccddeeff", R"("00112233-4455-6677-8899-aabbccddeeff")"},
    {869, "022000047f000001", R"("127.0.0.1")"},
    {869, "021800040a000001", R"("10.0.0.1/24")"},
    {650, "022001040a000001", R"("10.0.0.1/32")"},
    {869, "0380001020010db8000000000000000000000001", R"("2001:db8::1")"},
    {829, "08002b010203", R"("08:00:2b:01:02:03")"},
    {1560, "0000000a8040", R"("1000000001")"},
    {1562, "00000000", R"("")"},
    {3220, "0000001600b374d8", R"("16/B374D8")"},
    {27, "000000010002", "\"(1,2)\""},
    {600, "3ff00000000000004000000000000000", "\"(1,2)\""},
    {1007, "000000010000000100000017000000030000000100000004000000010000000400000002ffffffff",
     "[1,2,null]"},
    {1007, "000000000000000000000017", "[]"},
    {1007,
     "00000002000000000000001700000002000000010000000200000000"
     "0000000400000001000000040000000200000004000000030000000400000004",
     "[[1,2],[3,4]]"},
    {1009, "0000000100000000000000190000000100000001000000022c22", R"([",\""])"},
};

TEST(ValueJson, DecodesEachTypeAsTheServerPrintsIt) {
  for (const Case& value : kCases) {
    EXPECT_EQ(Json(value.oid, BytesFromHex(value.hex)), value.json)
        << value.oid << " " << value.hex;
  }
}

TEST(ValueJson, EveryTruncationAndEveryExtraByteIsShownAsBinaryUnlessItIsAValueToo) {
  for (const Case& value : kCases) {
    const std::string whole = BytesFromHex(value.hex);
    const bool fixed = value.oid != 25 && value.oid != 17 && value.oid != 114 && value.oid != 3802;
    for (size_t length = 0; length < whole.size(); ++length) {
      const std::string json = Json(value.oid, whole.substr(0, length));
      if (fixed) {
        EXPECT_THAT(json, StartsWith("{\"$oid\":")) << value.oid << " " << value.hex;
      }
    }
    if (fixed) {
      EXPECT_THAT(Json(value.oid, whole + '\0'), StartsWith("{\"$oid\":")) << value.hex;
    }
  }
}

TEST(ValueJson, ATypeWithoutADecoderIsItsBytesOrItsText) {
  EXPECT_EQ(Json(16'660, "b"), R"({"$oid":16660,"$binary":"Yg=="})");
  EXPECT_EQ(Json(16'660, ""), R"({"$oid":16660,"$binary":""})");
  EXPECT_EQ(Json(16'660, "abc"), R"({"$oid":16660,"$binary":"YWJj"})");
  EXPECT_EQ(Json(16'660, "\xFF\xFE\xFD\xFC\xFB"), R"({"$oid":16660,"$binary":"//79/Ps="})");
  EXPECT_EQ(Json(16'660, "happy", ValueFormat::kText), R"("happy")");
  EXPECT_EQ(Json(0, "x", ValueFormat::kText), R"("x")");
}

TEST(ValueJson, TextHasTheShapeOfItsType) {
  const auto text = [](uint32_t oid, const std::string& bytes) {
    return Json(oid, bytes, ValueFormat::kText);
  };
  EXPECT_EQ(text(16, "t"), "true");
  EXPECT_EQ(text(16, "f"), "false");
  EXPECT_EQ(text(16, "maybe"), R"("maybe")");
  EXPECT_EQ(text(23, "-5"), "-5");
  EXPECT_EQ(text(23, "5x"), R"("5x")");
  EXPECT_EQ(text(701, "1e+15"), "1e+15");
  EXPECT_EQ(text(701, "NaN"), R"("NaN")");
  EXPECT_EQ(text(1700, "12.50"), R"("12.50")");
  EXPECT_EQ(text(3802, "{\"a\": 1}"), R"({"a": 1})");
  EXPECT_EQ(text(114, "not json"), R"("not json")");
  EXPECT_EQ(text(1007, "{1,2}"), R"("{1,2}")");
  EXPECT_EQ(text(25, "a\xFF"), "\"a\xEF\xBF\xBD\"");
}

TEST(ValueJson, TextThatIsNoUtf8OrNoJsonStaysALine) {
  EXPECT_EQ(Json(25,
                 "a\xFF"
                 "b\n"),
            "\"a\xEF\xBF\xBD"
            "b\\n\"");
  EXPECT_EQ(Json(114, "{\n"), "\"{\\n\"");
  EXPECT_EQ(Json(3802, "\x01{\"a\xFF\":1}"), "\"{\\\"a\xEF\xBF\xBD\\\":1}\"");
  EXPECT_THAT(Json(3802, "\x02{}"), StartsWith("{\"$oid\":"));
}

TEST(ValueJson, ANumericIsReadOnlyWithinItsLimits) {
  for (const char* hex : {
           "00010000000000002710",  // a digit of 10,000
           "0001000012340000"
           "0001",                      // an unknown sign
           "000100000000400000010000",  // a scale of 16,384
           "ffff000000000000",          // more digits than there are bytes
       }) {
    EXPECT_THAT(Json(1700, BytesFromHex(hex)), StartsWith("{\"$oid\":")) << hex;
  }
  EXPECT_EQ(Json(1700, BytesFromHex("00017fff000000000001")).size(), 2 + 32'767 * 4 + 1);
  EXPECT_EQ(Json(1700, BytesFromHex("00018000000000000001")), R"("0")");
}

// The header of an array of int4, with these lengths.
std::string ArrayHeader(const std::vector<uint32_t>& lengths, uint32_t element = 23) {
  std::string bytes = BytesFromHex(fmt::format("{:08x}00000000{:08x}", lengths.size(), element));
  for (const uint32_t length : lengths)
    bytes += BytesFromHex(fmt::format("{:08x}00000001", length));
  return bytes;
}

TEST(ValueJson, AnArrayIsReadOnlyWithinItsLimits) {
  const std::string one = BytesFromHex("0000000400000001");
  EXPECT_EQ(Json(1007, ArrayHeader({1, 1, 1, 1, 1, 1}) + one), "[[[[[[1]]]]]]");
  for (const std::string& bytes : {
           ArrayHeader({1, 1, 1, 1, 1, 1, 1}) + one,
           ArrayHeader({0}),
           ArrayHeader({2}) + one,
           ArrayHeader({1}) + one + one,
           ArrayHeader({0xFFFFFFFF}) + one,
           ArrayHeader({0x10000, 0x10000, 0x10000, 0x10000}) + one,
           ArrayHeader({1}, 25) + one,
           ArrayHeader({1}) + BytesFromHex("0000000500000001"),
           ArrayHeader({1}) + BytesFromHex("fffffffe00000001"),
           ArrayHeader({1}) + BytesFromHex("00000003000001"),
       }) {
    EXPECT_THAT(Json(1007, bytes), StartsWith("{\"$oid\":1007,"));
  }
}

TEST(ValueJson, AnArrayThatWouldBecomeHugeIsShownAsItsBytes) {
  constexpr uint32_t kElements = 2'000;  // of 131 KB each as text
  std::string bytes = ArrayHeader({kElements}, 1700);
  for (uint32_t i = 0; i < kElements; ++i) bytes += BytesFromHex("0000000a00017fff000000000001");
  std::string out;
  AppendValueJson(out, 1231, ValueFormat::kBinary, bytes);
  EXPECT_THAT(out.substr(0, 10), StartsWith("{\"$oid\":12"));
}

}  // namespace
}  // namespace pgc
