// A broker that wants TLS, and a token or a certificate.
#include "pulsar/secured_testing.h"

namespace pgc::pulsar {
namespace {

// What lost its receipt is there again, but in order and without a gap.
void ExpectEveryNumber(const std::vector<Message>& messages, uint64_t count) {
  uint64_t next = 0;
  for (const Message& message : messages) {
    const uint64_t number = std::stoull(TextOf(message));
    ASSERT_LE(number, next) << "a gap";
    if (number == next) ++next;
  }
  EXPECT_EQ(next, count);
}

TEST_F(SecuredPulsarTest, ATokenOverTlsIsLetIn) {
  ExpectLetIn(TlsUrl("tls-trust-certs=" + Path("ca.pem") + "&token=" + Token("admin", 600)),
              "let-in");
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
  EXPECT_THAT(producer.status().message(), testing::HasSubstr("tls-trust-certs"));
}

// The broker asks for a new one each second once it has expired.
TEST_F(SecuredPulsarTest, AnExpiringTokenIsReadAgainFromItsFile) {
  const auto write = [] {
    std::ofstream(Path("token.new")) << Token("admin", 4) << "\n";
    std::filesystem::rename(Path("token.new"), Path("token"));
  };
  write();
  auto producer =
      Open(broker_->url() + "?token-file=" + Path("token"), "expiring", std::chrono::seconds(30));
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

TEST_F(SecuredPulsarTest, ACertificateOfItsAuthorityIsLetIn) {
  MakeCertificate("client", "admin", "ca");
  ExpectLetIn(MutualTlsUrl("client", "client"), "certified");
}

TEST_F(SecuredPulsarTest, WithoutACertificateOrWithOneOfAnotherAuthorityNothingOpens) {
  MakeAuthority("other");
  MakeCertificate("foreign", "admin", "other");
  for (const std::string& url :
       {TlsUrl("tls-trust-certs=" + Path("ca.pem")), MutualTlsUrl("foreign", "foreign")}) {
    const auto producer = Open(url, "kept-out");
    ASSERT_FALSE(producer.ok()) << url;
    EXPECT_THAT(producer.status().message(), testing::HasSubstr("the certificate and its key"))
        << url;
  }
}

TEST_F(SecuredPulsarTest, ACertificateOfAStrangerIsRefused) {
  MakeCertificate("stranger", "stranger", "ca");
  const auto producer = Open(MutualTlsUrl("stranger", "stranger"), "kept-out");
  EXPECT_TRUE(absl::IsFailedPrecondition(producer.status())) << producer.status();
  EXPECT_THAT(producer.status().message(), testing::HasSubstr("grant it"));
}

// The library sends none then.
TEST_F(SecuredPulsarTest, WithTheKeyOfAnotherCertificateNothingOpens) {
  MakeCertificate("one", "admin", "ca");
  MakeCertificate("two", "admin", "ca");
  const auto producer = Open(MutualTlsUrl("one", "two"), "kept-out");
  EXPECT_THAT(producer.status().message(), testing::HasSubstr("the certificate and its key"));
}

TEST_F(SecuredPulsarTest, ACertificateOrKeyThatIsNotThereIsAClearError) {
  MakeCertificate("whole", "admin", "ca");
  for (const auto& [certificate, key] : {std::pair{"none", "whole"}, {"whole", "none"}}) {
    const auto producer = Open(MutualTlsUrl(certificate, key), "no-file");
    EXPECT_TRUE(absl::IsFailedPrecondition(producer.status())) << producer.status();
    EXPECT_THAT(producer.status().message(), testing::HasSubstr(Path("none.")));
  }
}

}  // namespace
}  // namespace pgc::pulsar
