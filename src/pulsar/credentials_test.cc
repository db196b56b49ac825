#include "pulsar/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "testing/temp_dir.h"

namespace pgc::pulsar {
namespace {

using testing::HasSubstr;
using testing::Not;

class Credentials : public testing::Test {
 protected:
  std::string File(const std::string& name, const std::string& text) {
    std::string path = folder_.path() / name;
    std::ofstream(path) << text;
    return path;
  }
  // The file is named, and what is in it is not.
  static void ExpectWrong(const absl::Status& status, const std::string& what) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(what));
    EXPECT_THAT(status.message(), Not(HasSubstr("hidden")));
  }

 private:
  TempDir folder_;
};

TEST_F(Credentials, ATokenHasNoSpaceAroundIt) {
  EXPECT_EQ(*ReadTokenFile(File("token", " a.b.c\n")), "a.b.c");
  EXPECT_EQ(*ReadTokenFile(File("token", "\n")), "");
  ExpectWrong(ReadTokenFile("/nowhere/token").status(), "cannot read /nowhere/token");
}

TEST_F(Credentials, ATlsFileIsPemWithoutAPassphrase) {
  const std::string pem = File("pem", "-----BEGIN CERTIFICATE-----\n");
  EXPECT_TRUE(CheckTlsFiles({}).ok());
  EXPECT_TRUE(CheckTlsFiles({.tls_trust_certs = pem, .tls_cert = pem, .tls_key = pem}).ok());
  ExpectWrong(CheckTlsFiles({.tls_trust_certs = "/nowhere/ca"}), "cannot read /nowhere/ca");
  ExpectWrong(CheckTlsFiles({.tls_cert = "/nowhere/pem", .tls_key = pem}), "/nowhere/pem");
  ExpectWrong(CheckTlsFiles({.tls_cert = pem, .tls_key = File("text", "hidden")}),
              "text has nothing in PEM format");
  ExpectWrong(CheckTlsFiles({.tls_cert = pem,
                             .tls_key = File("locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n")}),
              "passphrase");
}

TEST_F(Credentials, AnOAuth2FileIsGivenAsItIs) {
  const std::string key = File("key", R"({"client_id": "i", "client_secret": "s"})");
  for (const std::string& rest :
       {R"("private_key": ")" + key + "\"", R"("private_key": "file:)" + key + "\"",
        R"("private_key": "file://)" + key + "\"",
        std::string(R"("private_key": "data:application/json;base64,e30=")"),
        std::string(R"("client_id": "i", "client_secret": "s")"),
        std::string(R"("tokenEndpointAuthMethod": "tls_client_auth")")}) {
    const std::string text = R"({"issuer_url": "https://i", )" + rest + "}";
    const auto read = ReadOAuth2File(File("oauth2", text));
    ASSERT_TRUE(read.ok()) << text << ": " << read.status();
    EXPECT_EQ(*read, text);
  }
}

TEST_F(Credentials, WhatAnOAuth2FileLacksIsSaid) {
  ExpectWrong(ReadOAuth2File("/nowhere/oauth2").status(), "cannot read /nowhere/oauth2");
  const auto error = [this](const std::string& text) {
    return ReadOAuth2File(File("oauth2", text)).status();
  };
  for (const std::string text : {"", "hidden", "[\"hidden\"]", "{\"issuer_url\": \"hidden"}) {
    ExpectWrong(error(text), "oauth2 has no JSON object");
  }
  ExpectWrong(error(R"({"private_key": "hidden"})"), "oauth2 has no issuer_url");
  ExpectWrong(error(R"({"issuer_url": 1, "private_key": "hidden"})"), "oauth2 has no issuer_url");
  ExpectWrong(error(R"({"issuer_url": "u", "client_id": "hidden"})"), "oauth2 has no private_key");
  ExpectWrong(error(R"({"issuer_url": "u", "private_key": "hidden"})"), "can be read");
  ExpectWrong(error(R"({"issuer_url": "u", "private_key": 1})"), "can be read");
  for (const std::string text :
       {"", R"({"client_secret": "hidden)", R"({"client_secret": "hidden"})",
        R"({"client_id": "hidden", "client_secret": ""})"}) {
    ExpectWrong(error(R"({"issuer_url": "u", "private_key": ")" + File("key", text) + "\"}"),
                "no JSON file with client_id and client_secret");
  }
}

TEST_F(Credentials, ALineOfTheLogEndsBeforeWhatIsSecret) {
  EXPECT_EQ(WithoutSecrets("Response failed for token endpoint http://i/token. ErrorCode 22"),
            "Response failed for token endpoint http://i/token. ErrorCode 22");
  for (const std::string_view line :
       {"Failed to parse json of Oauth2 response: it ends\nInput Json = {\"access_token\": "
        "\"hidden",
        "Response doesn't contain access_token, the response is: {\"id_token\": \"hidden\"}",
        "Failed to parse credentials from {\"client_secret\": \"hidden",
        "Failed to get client_id or client_secret in {\"client_secret\": \"hidden\"}: No such "
        "node"}) {
    EXPECT_THAT(std::string(WithoutSecrets(line)), Not(HasSubstr("hidden")));
    EXPECT_THAT(std::string(WithoutSecrets(line)),
                testing::StartsWith(std::string(line.substr(0, 15))));
  }
}

}  // namespace
}  // namespace pgc::pulsar
