// A broker that wants TLS and a token.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "pulsar/pulsar_testing.h"
#include "testing/free_port.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc::pulsar {
namespace {

// `token.py KEY_FILE SUBJECT SECONDS`: a token that is good for so long.
constexpr const char* kTokenProgram = R"(
import base64, hashlib, hmac, json, sys, time
def part(data): return base64.urlsafe_b64encode(data).rstrip(b"=")
claims = {"sub": sys.argv[2], "exp": int(time.time()) + int(sys.argv[3])}
text = part(b'{"alg":"HS256"}') + b"." + part(json.dumps(claims).encode())
key = open(sys.argv[1], "rb").read()
print((text + b"." + part(hmac.new(key, text, hashlib.sha256).digest())).decode())
)";

class SecuredPulsarTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempDir();
    std::ofstream(Path("key"), std::ios::binary) << std::string(32, 'k');
    const auto made = ::pgc::Run(
        {.args = {"openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout",
                  Path("tls.key"), "-out", Path("tls.pem"), "-days", "2", "-subj", "/CN=localhost",
                  "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"},
         .environment = {},
         .as_postgres = false,
         .directory = {}});
    ASSERT_TRUE(made.ok()) << made.status();
    tls_port_ = FreePort();
    const std::string admin = Token("admin", 86'400);
    auto broker = PulsarBroker::Start(
        {{"brokerServicePortTls", std::to_string(tls_port_)},
         {"tlsCertificateFilePath", Path("tls.pem")},
         {"tlsKeyFilePath", Path("tls.key")},
         {"tlsTrustCertsFilePath", Path("tls.pem")},
         {"authenticationEnabled", "true"},
         {"authenticationProviders",
          "org.apache.pulsar.broker.authentication.AuthenticationProviderToken"},
         {"authenticationRefreshCheckSeconds", "1"},
         {"tokenSecretKey", "file://" + Path("key")},
         {"authorizationEnabled", "true"},
         {"superUserRoles", "admin"},
         {"brokerClientAuthenticationPlugin",
          "org.apache.pulsar.client.impl.auth.AuthenticationToken"},
         {"brokerClientAuthenticationParameters", "token:" + admin}});
    ASSERT_TRUE(broker.ok()) << broker.status();
    broker_ = broker->release();
  }
  static void TearDownTestSuite() {
    delete broker_;
    delete folder_;
  }

  static std::string Path(const std::string& name) { return folder_->path() / name; }
  static std::string Token(const std::string& subject, int seconds) {
    const auto token = ::pgc::Run(
        {.args = {"python3", "-c", kTokenProgram, Path("key"), subject, std::to_string(seconds)},
         .environment = {},
         .as_postgres = false,
         .directory = {}});
    EXPECT_TRUE(token.ok()) << token.status();
    return token.ok() ? token->substr(0, token->size() - 1) : "";
  }
  // What lost its receipt is there again, but in order and without a gap.
  static void ExpectEveryNumber(const std::vector<Message>& messages, uint64_t count) {
    uint64_t next = 0;
    for (const Message& message : messages) {
      const uint64_t number = std::stoull(TextOf(message));
      ASSERT_LE(number, next) << "a gap";
      if (number == next) ++next;
    }
    EXPECT_EQ(next, count);
  }
  static std::string TlsUrl(const std::string& parameters) {
    return fmt::format("pulsar+ssl://127.0.0.1:{}?{}", tls_port_, parameters);
  }
  static absl::StatusOr<std::unique_ptr<Producer>> Open(const std::string& url,
                                                        const std::string& topic) {
    auto client = Client::Create(
        url, {.library = PulsarBroker::Library(), .operation_timeout = std::chrono::seconds(3)});
    if (!client.ok()) return client.status();
    return Producer::Open(*client, {.topic = topic, .name = topic + "-producer"}, nullptr);
  }

  static TempDir* folder_;
  static PulsarBroker* broker_;
  static int tls_port_;
};

TempDir* SecuredPulsarTest::folder_ = nullptr;
PulsarBroker* SecuredPulsarTest::broker_ = nullptr;
int SecuredPulsarTest::tls_port_ = 0;

TEST_F(SecuredPulsarTest, ATokenOverTlsIsLetIn) {
  auto producer = Open(
      TlsUrl("tls-trust-certs=" + Path("tls.pem") + "&token=" + Token("admin", 600)), "let-in");
  ASSERT_TRUE(producer.ok()) << producer.status();
  EXPECT_TRUE((*producer)->Send("k", AsBytes("text")).ok());
  EXPECT_TRUE((*producer)->Flush().ok());
}

TEST_F(SecuredPulsarTest, WithoutATokenOrWithABadOneNothingOpens) {
  for (const std::string& parameters : {std::string(), std::string("?token=wrong")}) {
    const auto producer = Open(broker_->url() + parameters, "kept-out");
    ASSERT_FALSE(producer.ok());
    EXPECT_THAT(producer.status().message(), testing::HasSubstr("none let us in"));
  }
  const auto stranger = Open(broker_->url() + "?token=" + Token("stranger", 600), "kept-out");
  EXPECT_TRUE(absl::IsFailedPrecondition(stranger.status())) << stranger.status();
}

TEST_F(SecuredPulsarTest, ACertificateThatIsNotTrustedIsRefused) {
  const auto producer = Open(TlsUrl("token=" + Token("admin", 600)), "not-trusted");
  EXPECT_FALSE(producer.ok());
}

// The broker asks for a new one each second once it has expired.
TEST_F(SecuredPulsarTest, AnExpiringTokenIsReadAgainFromItsFile) {
  const auto write = [] {
    std::ofstream(Path("token.new")) << Token("admin", 4) << "\n";
    std::filesystem::rename(Path("token.new"), Path("token"));
  };
  write();
  auto producer = Open(broker_->url() + "?token-file=" + Path("token"), "expiring");
  ASSERT_TRUE(producer.ok()) << producer.status();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(9);
  while (std::chrono::steady_clock::now() < end) {
    write();
    ASSERT_TRUE((*producer)->Send("k", AsBytes("text")).ok());
    const auto flushed = (*producer)->Flush();
    ASSERT_TRUE(flushed.ok()) << flushed;
  }
}

// It is put out, waits with what has no receipt, and comes in again with the new one.
TEST_F(SecuredPulsarTest, ATokenThatHasExpiredLosesNothingOnceItsFileHasANewOne) {
  const auto write = [](int seconds) {
    std::ofstream(Path("lapsing.new")) << Token("admin", seconds) << "\n";
    std::filesystem::rename(Path("lapsing.new"), Path("lapsing"));
  };
  write(3);
  const auto client = NewClient(broker_->url() + "?token-file=" + Path("lapsing"));
  Receipts receipts;
  auto producer = Producer::Open(client, {.topic = "lapsing", .name = "p"}, receipts.callback());
  ASSERT_TRUE(producer.ok()) << producer.status();
  const auto reader = Reader::Open(client, {.topic = "lapsing"});
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<Message> read;
  uint64_t sent = 0;
  // Until nothing gets through any more.
  while (sent - receipts.stored() < 20) {
    ASSERT_LT(sent, 10'000U) << "the token does not expire";
    ASSERT_TRUE((*producer)->Send("k", AsBytes(fmt::format("{}", sent++))).ok());
    auto next = (*reader)->Next(std::chrono::milliseconds(20));
    ASSERT_TRUE(next.ok()) << next.status();
    if (next->has_value()) read.push_back(**std::move(next));
  }
  write(600);
  const auto flushed = (*producer)->Flush();
  ASSERT_TRUE(flushed.ok()) << flushed;
  EXPECT_EQ(receipts.stored(), sent);
  for (Message& message : ReadToEnd(**reader)) read.push_back(std::move(message));
  ExpectEveryNumber(read, sent);
  ExpectEveryNumber(ReadAll(client, "lapsing"), sent);
}

TEST_F(SecuredPulsarTest, AFileThatIsNotThereIsAClearError) {
  const auto producer = Open(broker_->url() + "?token-file=/nowhere/token", "no-file");
  EXPECT_TRUE(absl::IsFailedPrecondition(producer.status())) << producer.status();
  EXPECT_THAT(producer.status().message(), testing::HasSubstr("/nowhere/token"));
}

}  // namespace
}  // namespace pgc::pulsar
