// A broker that takes the tokens of an OAuth 2.0 server.
#include <algorithm>

#include "pulsar/secured_testing.h"

namespace pgc::pulsar {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kSecret = "hidden-secret";
constexpr const char* kTokenBegins = "eyJ";
constexpr std::chrono::seconds kPatience{60};

// The server, which ends with this object. It knows `admin`.
class Issuer {
 public:
  // `folder` is that of SecuredPulsarTest; a token is good for so long.
  Issuer(const std::string& folder, int seconds) {
    auto process = Subprocess::Start(
        {.args = {"python3", std::string(PGC_SOURCE_DIR) + "/src/pulsar/secured_testing.py",
                  "issuer", folder + "/key", "admin", kSecret, std::to_string(seconds),
                  folder + "/tls.pem", folder + "/tls.key"},
         .environment = {},
         .as_postgres = false,
         .directory = {}});
    EXPECT_TRUE(process.ok()) << process.status();
    if (!process.ok()) return;
    process_ = *std::move(process);
    const auto line = process_->WaitForLine("issuer ", kPatience);
    EXPECT_TRUE(line.has_value()) << "the issuer does not listen: " << process_->errors();
    if (!line.has_value()) return;
    const size_t ports = line->find(' ') + 1;
    const size_t tls_port = line->find(' ', ports) + 1;
    url_ = "http://127.0.0.1:" + line->substr(ports, tls_port - ports - 1);
    tls_url_ = "https://127.0.0.1:" + line->substr(tls_port);
  }

  const std::string& url() const { return url_; }
  const std::string& tls_url() const { return tls_url_; }
  // The requests for tokens until now.
  int64_t given() const { return Lines("given admin"); }
  int64_t refused() const { return Lines("refused admin"); }

 private:
  int64_t Lines(const std::string& text) const {
    const auto lines = process_->output_lines();
    return std::count(lines.begin(), lines.end(), text);
  }

  std::unique_ptr<Subprocess> process_;
  std::string url_;
  std::string tls_url_;
};

// Writes the file that the URL names, and the client's own beside it.
std::string WriteOAuth2File(const std::string& folder, const std::string& issuer,
                            const std::string& secret = kSecret) {
  std::ofstream(folder + "/client.json")
      << fmt::format(R"({{"client_id": "admin", "client_secret": "{}"}})", secret);
  std::ofstream(folder + "/oauth2.json") << fmt::format(
      R"({{"issuer_url": "{}", "private_key": "{}/client.json", "audience": "pulsar"}})", issuer,
      folder);
  return "oauth2-file=" + folder + "/oauth2.json";
}

// Opens nothing, says so, and what was logged has the reason.
template <typename Attempt>
void ExpectKeptOut(const Attempt& attempt, const std::string& reason) {
  testing::internal::CaptureStderr();
  const absl::Status status = attempt();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("oauth2-file"));
  EXPECT_THAT(log, HasSubstr(reason));
  for (const std::string& text : {std::string(status.message()), log}) {
    EXPECT_THAT(text, AllOf(Not(HasSubstr("hidden")), Not(HasSubstr(kTokenBegins))));
  }
}

}  // namespace

TEST_F(SecuredPulsarTest, AnOAuth2TokenIsLetIn) {
  const Issuer issuer(folder_->path(), 600);
  const std::string trust = "&tls-trust-certs=" + Path("ca.pem");
  testing::internal::CaptureStderr();
  ExpectLetIn(broker_->url() + "?" + WriteOAuth2File(folder_->path(), issuer.url()), "oauth2");
  ExpectLetIn(broker_->url() + "?" + WriteOAuth2File(folder_->path(), issuer.tls_url()) + trust,
              "oauth2-tls");
  ExpectLetIn(TlsUrl(WriteOAuth2File(folder_->path(), issuer.tls_url()) + trust), "tls-tls");
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, AllOf(Not(HasSubstr("hidden")), Not(HasSubstr(kTokenBegins))));
  EXPECT_EQ(issuer.given(), 3);
}

// The broker asks for a new one once it has expired.
TEST_F(SecuredPulsarTest, AnOAuth2TokenThatExpiresIsFetchedAgain) {
  const Issuer issuer(folder_->path(), 1);
  auto producer = Open(broker_->url() + "?" + WriteOAuth2File(folder_->path(), issuer.url()),
                       "expiring-oauth2", kPatience);
  ASSERT_TRUE(producer.ok()) << producer.status();
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (issuer.given() < 2) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "no second token is asked for";
    ASSERT_TRUE((*producer)->Send("k", AsBytes("text")).ok());
    const auto flushed = (*producer)->Flush();
    ASSERT_TRUE(flushed.ok()) << flushed;
  }
}

TEST_F(SecuredPulsarTest, AWrongOAuth2SecretIsAClearError) {
  const Issuer issuer(folder_->path(), 600);
  const std::string file = WriteOAuth2File(folder_->path(), issuer.url(), "hidden-other");
  ExpectKeptOut([&] { return Open(broker_->url() + "?" + file, "kept-out").status(); },
                issuer.url() + "/token. ErrorCode 22: The requested URL returned error: 401");
  EXPECT_GE(issuer.refused(), 1);
}

TEST_F(SecuredPulsarTest, AnOAuth2ServerThatIsNotThereIsAClearError) {
  const FreePort port;
  const std::string issuer = "http://" + port.address();
  const std::string file = WriteOAuth2File(folder_->path(), issuer);
  ExpectKeptOut([&] { return Open(broker_->url() + "?" + file, "kept-out").status(); },
                issuer + ". Error Code 7: Failed to connect");
}

TEST_F(SecuredPulsarTest, AnOAuth2ServerThatIsNotTrustedIsAClearError) {
  const Issuer issuer(folder_->path(), 600);
  const std::string file = WriteOAuth2File(folder_->path(), issuer.tls_url());
  ExpectKeptOut([&] { return Open(broker_->url() + "?" + file, "kept-out").status(); },
                issuer.tls_url() + ". Error Code 60: SSL certificate");
  EXPECT_EQ(issuer.given(), 0);
}

// The library would log all of it.
TEST_F(SecuredPulsarTest, ABrokenAnswerOfAnOAuth2ServerIsNotShown) {
  const Issuer issuer(folder_->path(), 600);
  const std::string file = WriteOAuth2File(folder_->path(), issuer.url() + "/broken");
  ExpectKeptOut([&] { return Open(broker_->url() + "?" + file, "kept-out").status(); },
                "Failed to parse json of Oauth2 response");
  EXPECT_GE(issuer.given(), 1);
}

}  // namespace pgc::pulsar
