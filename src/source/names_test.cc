#include "source/names.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

TEST(SlotName, FollowsTheContract) {
  EXPECT_EQ(SlotName("pgcapture").value(), "pgcapture");
  EXPECT_EQ(SlotName("persistent://public/default/db-a").value(), "default_db_a");
  EXPECT_EQ(SlotName(std::string(63, 'a')).value(), std::string(63, 'a'));
}

TEST(SlotName, RefusesWhatPostgresWouldAndNamesTheTopic) {
  for (const std::string& topic :
       {std::string(), std::string("Orders"), std::string("a.b"), std::string("persistent://x/y"),
        std::string("ä"), std::string("a b"), std::string(64, 'a')}) {
    const absl::Status status = SlotName(topic).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << topic;
    EXPECT_NE(status.message().find("'" + topic + "'"), std::string::npos) << status;
    EXPECT_NE(status.message().find("--topic"), std::string::npos) << status;
  }
}

TEST(ParseTables, SplitsAtTheFirstDotAndDefaultsToPublic) {
  const auto tables = ParseTables("--tables", {"t", "s.t", "s.t.u", "s.t"});
  ASSERT_TRUE(tables.ok()) << tables.status();
  EXPECT_EQ(*tables, (std::vector<QualifiedName>{{"public", "t"}, {"s", "t"}, {"s", "t.u"}}));
}

TEST(ParseTables, NamesTheFlagAndTheTextThatIsNoTable) {
  for (const std::string& text : {std::string(), std::string(".t"), std::string("s."),
                                  std::string("."), std::string(64, 'a')}) {
    const absl::Status status = ParseTables("--skip-tables", {text}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << text;
    EXPECT_EQ(status.message(),
              "--skip-tables: '" + text + "' is not a table's name; one looks like public.orders");
  }
}

TEST(ToString, BoundsAListOfNames) {
  EXPECT_EQ(ToString({{"a", "b"}, {"c", "d"}}, 2), "a.b, c.d");
  EXPECT_EQ(ToString({{"a", "b"}, {"c", "d"}, {"e", "f"}}, 1), "a.b and 2 more");
}

}  // namespace
}  // namespace pgc
