#include "pg/connection.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

constexpr char kAt[] = "connection to server at \"127.0.0.1\", port 5432 failed: ";

TEST(StatusOfConnectError, GoesByTheSqlStateWhateverTheLanguage) {
  const absl::Status status = StatusOfConnectError(
      std::string(kAt) +
      "FATAL:  28P01: Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen\n"
      "LOCATION:  auth_failed, auth.c:338");
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(SqlStateOf(status), "28P01");
  EXPECT_EQ(status.message(),
            "cannot connect to PostgreSQL: " + std::string(kAt) +
                "FATAL:  Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen");
}

TEST(StatusOfConnectError, IsWorthARetryWhenItMayPass) {
  for (const std::string& message :
       {std::string(kAt) + "FATAL:  57P03: the database system is starting up\nLOCATION:  x, y:1",
        std::string(kAt) + "FATAL:  53300: sorry, too many clients already",
        std::string(kAt) + "Connection refused\n\tIs the server running on that host and "
                           "accepting TCP/IP connections?",
        std::string("could not translate host name \"db\" to address: Temporary failure in name "
                    "resolution"),
        // One of several hosts.
        std::string(kAt) + "Connection refused\n" + kAt + "FATAL:  28P01: no\nLOCATION:  a, b:1"}) {
    EXPECT_TRUE(absl::IsUnavailable(StatusOfConnectError(message))) << message;
  }
}

TEST(StatusOfConnectError, IsFinalWhenTheUserMustAct) {
  for (const std::string& message :
       {std::string(kAt) + "fe_sendauth: no password supplied",
        std::string("could not translate host name \"db\" to address: Name or service not known"),
        std::string("invalid port number: \"x\""),
        std::string("invalid connection option \"nonsense\""),
        std::string(kAt) + "server does not support SSL, but SSL was required",
        std::string(kAt) + "FATAL:  3D000: database \"x\" does not exist",
        std::string(kAt) + "FATAL:  42501: permission denied for database \"x\""}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(StatusOfConnectError(message))) << message;
  }
}

TEST(CodeOfSqlState, SaysWhetherTryingAgainCanHelp) {
  for (const char* state : {"08006", "40001", "40P01", "53300", "57P01", "57014", "55P03"}) {
    EXPECT_EQ(CodeOfSqlState(state), absl::StatusCode::kUnavailable) << state;
  }
  for (const char* state : {"53400", "42501", "42P01", "28P01", "55006", "XX000"}) {
    EXPECT_EQ(CodeOfSqlState(state), absl::StatusCode::kFailedPrecondition) << state;
  }
}

TEST(SqlStateOf, IsEmptyForAnErrorFromElsewhere) {
  EXPECT_EQ(SqlStateOf(absl::UnavailableError("x")), "");
  EXPECT_EQ(SqlStateOf(absl::OkStatus()), "");
}

TEST(Quoting, TakesAnyText) {
  EXPECT_EQ(QuoteTable("S\"x", "t.t"), "\"S\"\"x\".\"t.t\"");
  EXPECT_EQ(QuoteLiteral("it's"), "'it''s'");
  const std::string texts[] = {"a", "b\"c", "d\\e", "f,g", ""};
  EXPECT_EQ(ArrayOf(texts), R"({"a","b\"c","d\\e","f,g",""})");
  EXPECT_EQ(ArrayOf({}), "{}");
}

}  // namespace
}  // namespace pgc
