#include "pg/connection.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "testing/loopback.h"

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

// A port of loopback where connections are taken and nobody answers, as with a machine that hangs.
class SilentPort {
 public:
  SilentPort() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof address;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(socket_, 8), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentPort() { close(socket_); }
  SilentPort(const SilentPort&) = delete;
  SilentPort& operator=(const SilentPort&) = delete;
  int port() const { return port_; }

 private:
  int socket_;
  int port_ = 0;
};

TEST(Connection, AHostThatIsSilentIsPassedOverForTheNext) {
  const SilentPort silent;
  for (const std::string& url :
       {fmt::format("postgres://u@127.0.0.1:{},127.0.0.1:1/db", silent.port()),
        fmt::format("hostaddr=127.0.0.1,127.0.0.1 port={},1 user=u", silent.port())}) {
    const auto connection =
        Connection::Open(url, {.connect_timeout = std::chrono::milliseconds(200)});
    EXPECT_TRUE(absl::IsUnavailable(connection.status())) << connection.status();
    const std::string message(connection.status().message());
    EXPECT_NE(message.find(fmt::format(":{}: timeout", silent.port())), std::string::npos)
        << message;
    EXPECT_NE(message.find("refused"), std::string::npos) << message;
  }
}

TEST(Connection, HostsThatDoNotFitTogetherAreFinal) {
  const auto connection = Connection::Open("host=127.0.0.1,127.0.0.2 port=1,2,3 user=u");
  EXPECT_TRUE(absl::IsFailedPrecondition(connection.status())) << connection.status();
  EXPECT_NE(connection.status().message().find("3"), std::string::npos);
}

}  // namespace
}  // namespace pgc
