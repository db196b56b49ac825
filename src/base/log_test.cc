#include "base/log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pgc::log {
namespace {

TEST(Log, ATextLineQuotesWhatWouldNotReadBack) {
  EXPECT_EQ(FormatLine(Format::kText, Level::kInfo, "T", "slot created",
                       {{"slot", "a"}, {"error", "two words"}, {"table", ""}}),
            R"(T info    slot created slot=a error="two words" table="")");
}

TEST(Log, AJsonLineIsOneObjectWhateverTheBytes) {
  const std::string line = FormatLine(Format::kJson, Level::kError, "T", "a \"quoted\"\nmessage",
                                      {{"error", "\xff not UTF-8"}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["level"], "error");
  EXPECT_EQ(json["message"], "a \"quoted\"\nmessage");
  EXPECT_TRUE(json["error"].get<std::string>().ends_with(" not UTF-8"));
}

TEST(Log, ATextLineStaysOneLine) {
  EXPECT_EQ(FormatLine(Format::kText, Level::kInfo, "T", "m", {{"error", "a\nb"}}).find('\n'),
            std::string::npos);
}

}  // namespace
}  // namespace pgc::log
