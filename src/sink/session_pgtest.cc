#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "sink/session.h"
#include "testing/database_test.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using Session = DatabaseTest;

TEST_F(Session, HasEverySettingThatIsListed) {
  // Of a database whose owner thought otherwise.
  Sql("ALTER DATABASE " + name_ + " SET DateStyle = 'German'; ALTER DATABASE " + name_ +
      " SET statement_timeout = '1min'; ALTER DATABASE " + name_ +
      " SET default_transaction_read_only = on");
  Connect();
  const absl::Status status = PrepareSession(*sql_, true, {});
  ASSERT_TRUE(status.ok()) << status;
  for (const SessionSetting& setting : SessionSettings()) {
    if (sql_->server_version() < setting.since_version) continue;
    const std::string expected =
        setting.name == std::string("DateStyle") ? "ISO, DMY" : setting.value;
    EXPECT_EQ(Ask(std::string("SELECT current_setting('") + setting.name + "')"), expected)
        << setting.name;
  }
  EXPECT_EQ(Ask("SHOW session_replication_role"), "replica");
}

TEST_F(Session, NeedsTheRightToSilenceTriggersOnlyWhereTheyAreToBeSilent) {
  Sql("CREATE ROLE \"low \"\"role\" LOGIN");
  auto low = Connection::Open(server_->Url(name_, "low%20%22role"));
  ASSERT_TRUE(low.ok()) << low.status();
  const absl::Status refused = PrepareSession(**low, true, {});
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("GRANT SET ON PARAMETER session_replication_role TO \"low "
                              "\"\"role\""),
                    HasSubstr("--replication-role origin")));
  const absl::Status allowed = PrepareSession(**low, false, {});
  EXPECT_TRUE(allowed.ok()) << allowed;
}

}  // namespace
}  // namespace pgc
