#include "pulsar/service_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgc::pulsar {
namespace {

TEST(ServiceUrl, HasHostsAndParameters) {
  const auto url = ParseServiceUrl(
      "pulsar+ssl://one:6651,two:6651?tls-trust-certs=/etc/ca.pem&token-file=/run/a%20b");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->address, "pulsar+ssl://one:6651,two:6651");
  EXPECT_EQ(url->tls_trust_certs, "/etc/ca.pem");
  EXPECT_EQ(url->token_file, "/run/a b");
  EXPECT_TRUE(url->tls());
  EXPECT_TRUE(url->tls_validate_hostname);
  EXPECT_FALSE(url->tls_allow_insecure);
}

TEST(ServiceUrl, AnOAuth2ServerMayHaveTlsWithoutTheBrokers) {
  const auto url = ParseServiceUrl("pulsar://h?oauth2-file=/run/o&tls-trust-certs=/etc/ca.pem");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->tls_trust_certs, "/etc/ca.pem");
}

TEST(ServiceUrl, WithoutParametersItIsAnAddress) {
  for (const std::string_view text :
       {"pulsar://127.0.0.1:6650", "pulsar://host", "pulsar://[::1]:6650", "pulsar://[::1]",
        "http://host:8080", "pulsar://a:1,b:2"}) {
    const auto url = ParseServiceUrl(text);
    ASSERT_TRUE(url.ok()) << text << ": " << url.status();
    EXPECT_EQ(url->address, text);
    EXPECT_FALSE(url->tls());
  }
  EXPECT_EQ(ParseServiceUrl("pulsar://host:6650/")->address, "pulsar://host:6650");
}

TEST(ServiceUrl, WhatIsNoneIsRefusedWithoutItsValues) {
  for (const std::string_view text :
       {"", "host:6650", "kafka://host", "pulsar://", "pulsar://:6650", "pulsar://host:port",
        "pulsar://user:hidden@host", "pulsar://h?token", "pulsar://h?token=", "pulsar://h?hidden=1",
        "pulsar://h?token=hidden%2", "pulsar://h?token=hidden%00", "pulsar://h?tls-cert=/hidden",
        "pulsar+ssl://h?tls-cert=/hidden", "pulsar://h?token=hidden&token-file=/hidden",
        "pulsar+ssl://h?tls-allow-insecure=hidden", "pulsar://h?tls-trust-certs=/hidden"}) {
    const auto url = ParseServiceUrl(text);
    EXPECT_TRUE(absl::IsInvalidArgument(url.status())) << text;
    if (text.find("?hidden") == std::string_view::npos) {
      EXPECT_THAT(url.status().message(), testing::Not(testing::HasSubstr("hidden"))) << text;
    }
  }
}

TEST(ServiceUrl, ALogShowsNoParameters) {
  EXPECT_EQ(WithoutParameters("pulsar://host:6650?token=hidden"), "pulsar://host:6650");
  EXPECT_EQ(WithoutParameters("pulsar://host:6650"), "pulsar://host:6650");
}

}  // namespace
}  // namespace pgc::pulsar
