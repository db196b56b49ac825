#include "value/json_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace pgc {
namespace {

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(out, text);
  return out;
}

std::string Embedded(std::string_view json) {
  std::string out;
  return AppendJsonText(out, json) ? out : "no: " + out;
}

TEST(JsonText, AStringReadsBackAsItself) {
  std::string all;
  for (char c = 1; c < 127; ++c) all += c;
  all += std::string(1, '\0') + "\x7F äß€𝄞 \xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF";
  EXPECT_EQ(nlohmann::json::parse(Quoted(all)).get<std::string>(), all);
  EXPECT_EQ(Quoted("a\"b\\c\n\t\x01"), R"("a\"b\\c\n\t\u0001")");
  EXPECT_EQ(Quoted(""), R"("")");
}

TEST(JsonText, WhatIsNotUtf8IsReplacedAndTheRestIsKept) {
  const std::string replaced =
      "\"a\xEF\xBF\xBD"
      "b\"";
  for (const char* bad : {"a\xFF"
                          "b",
                          "a\x80"
                          "b",
                          "a\xC3"
                          "b"})
    EXPECT_EQ(Quoted(bad), replaced);
  // Longer than needed, a surrogate, beyond the last character, cut off.
  for (const char* bad : {"\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                          "\xF0\x80\x80\x80", "\xE2\x82", "\xF0\x9D\x84", "\xF5\x80\x80\x80"}) {
    const std::string quoted = Quoted(bad);
    EXPECT_TRUE(nlohmann::json::accept(quoted)) << quoted;
    EXPECT_NE(quoted.find("\xEF\xBF\xBD"), std::string::npos) << quoted;
  }
}

TEST(JsonText, EmbedsWhatIsJson) {
  for (const char* json :
       {"0", "-0", "12.5e+10", "1E400", "\"\"", R"("\u00e4\ud800\\\"")", "true", "false", "null",
        "[]", "{}", "[1,2,[3,{}]]", R"({"a":{"b":[null,"x"]},"c":1})", " [ 1 , 2 ] "}) {
    EXPECT_EQ(Embedded(json), json);
  }
}

TEST(JsonText, EmbedsOnOneLine) {
  EXPECT_EQ(Embedded("{\n  \"a\":\r\n\t[1,\n2]\n}\n"), "{   \"a\":  \t[1, 2] } ");
}

TEST(JsonText, EmbedsNothingElse) {
  for (const char* json :
       {"",    " ",     "nul",     "nullx",    "truefalse",  "01",        "1.",
        ".5",  "+1",    "-",       "1e",       "1e+",        "--1",       "[",
        "]",   "[1",    "[1,",     "[1,]",     "[,1]",       "[1 2]",     "{",
        "}",   "{1:2}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\" 1}", "[}",
        "{]",  "\"",    "\"\\\"",  "\"\\x\"",  "\"\\u12\"",  "\"\n\"",    "\"\xFF\"",
        "1 1", "{}{}",  "NaN",     "Infinity", "\"a\" x"}) {
    EXPECT_EQ(Embedded(json), "no: ") << json;
  }
}

TEST(JsonText, AgreesWithAnotherParserOnEveryPrefix) {
  const std::string json = R"({"a":[1,-2.5e3,"x\n\u00e4",true,false,null,{"b":{}}],"":[[]]})";
  for (size_t length = 0; length <= json.size(); ++length) {
    const std::string prefix = json.substr(0, length);
    EXPECT_EQ(Embedded(prefix) == prefix, nlohmann::json::accept(prefix)) << prefix;
  }
}

TEST(JsonText, TakesAnyDepth) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  EXPECT_EQ(Embedded(deep).size(), deep.size());
  EXPECT_EQ(Embedded(deep.substr(1)), "no: ");
}

TEST(JsonText, ANumberIsOneInJson) {
  for (const char* number : {"0", "-1", "1.5", "1e+15", "-0", "123456789012345678901234567890"}) {
    EXPECT_TRUE(IsJsonNumber(number)) << number;
  }
  for (const char* other : {"", "NaN", "Infinity", "-Infinity", " 1", "1 ", "0x1", "1,5", "٣"}) {
    EXPECT_FALSE(IsJsonNumber(other)) << other;
  }
}

}  // namespace
}  // namespace pgc
