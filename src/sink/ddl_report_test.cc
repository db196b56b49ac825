#include "sink/ddl_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

DdlCommand Command(std::string query, std::string tag) {
  DdlCommand command;
  command.checkpoint = {.lsn = {0x1600000000}, .seq = 0x1F};
  command.query = std::move(query);
  command.tags = {std::move(tag)};
  return command;
}

TEST(DescribeDdl, CutsALongTextBetweenCharacters) {
  std::string text = "COMMENT ON TABLE t IS '";
  while (text.size() < 600) text += "ä";
  const std::string cut = DescribeDdl(Command(text, "COMMENT"));
  EXPECT_TRUE(cut == text.substr(0, 499) + " …" || cut == text.substr(0, 500) + " …") << cut;
  EXPECT_EQ((cut.size() - std::string("COMMENT ON TABLE t IS ' …").size()) % 2, 0u);
  EXPECT_EQ(DescribeDdl(Command("DROP TABLE t", "DROP TABLE")), "DROP TABLE t");
}

TEST(DescribeDdl, NeverShowsWhatCanBeAPassword) {
  for (const auto& [sql, tag] :
       {std::pair("CREATE USER MAPPING FOR a SERVER s OPTIONS (password 'hush')",
                  "CREATE USER MAPPING"),
        std::pair("ALTER SERVER s OPTIONS (ADD host 'hush')", "ALTER SERVER"),
        std::pair("CREATE TABLE a (); alter role b pASSword 'hush'", "CREATE TABLE")}) {
    DdlCommand command = Command(sql, tag);
    EXPECT_EQ(DescribeDdl(command), tag);
    command.objects = R"([{"command_tag": "X", "object_type": "server", "schema_name": null,)"
                      R"( "object_identity": "s"}])";
    EXPECT_EQ(DescribeDdl(command), std::string(tag) + " of server s");
  }
}

TEST(DdlError, NamesTheCommandItsPlaceAndTheWayOut) {
  const absl::Status status =
      DdlError(Command("DROP TABLE t", "DROP TABLE"), "me",
               absl::FailedPreconditionError("table \"t\" does not exist (SQLSTATE 42P01)"));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("DROP TABLE at 16/0|1f: table \"t\" does not exist (SQLSTATE 42P01)"),
                    HasSubstr("the command: DROP TABLE t;"), HasSubstr("--skip-lsn '16/0|1f'")));
}

TEST(DdlError, LeavesWhatIsWorthARetryAsItIs) {
  const DdlCommand command = Command("DROP TABLE t", "DROP TABLE");
  const absl::Status status = DdlError(command, "me", absl::UnavailableError("gone"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("--skip-lsn")));
  EXPECT_EQ(DdlError(command, "me", absl::CancelledError("stopped")).code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace pgc
