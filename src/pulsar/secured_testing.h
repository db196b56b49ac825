// What the tests of a broker that lets not everybody in share: one broker for all of them.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pulsar/pulsar_testing.h"
#include "testing/free_port.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc::pulsar {

// The broker takes tokens, and certificates of its authority. `admin` may do everything, others
// nothing.
class SecuredPulsarTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempDir();
    std::ofstream(Path("key"), std::ios::binary) << std::string(32, 'k');
    MakeAuthority("ca");
    MakeCertificate("tls", "localhost", "ca");
    tls_port_ = new FreePort();
    const std::string admin = Token("admin", 86'400);
    auto broker =
        PulsarBroker::Start({{"brokerServicePortTls", std::to_string(tls_port_->number())},
                             {"tlsCertificateFilePath", Path("tls.pem")},
                             {"tlsKeyFilePath", Path("tls.key")},
                             {"tlsTrustCertsFilePath", Path("ca.pem")},
                             {"authenticationEnabled", "true"},
                             {"authenticationProviders",
                              "org.apache.pulsar.broker.authentication.AuthenticationProviderToken,"
                              "org.apache.pulsar.broker.authentication.AuthenticationProviderTls"},
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
    delete tls_port_;
    delete folder_;
  }

  static std::string Path(const std::string& name) { return folder_->path() / name; }
  static std::string Program(std::vector<std::string> args) {
    const auto output = ::pgc::Run(
        {.args = std::move(args), .environment = {}, .as_postgres = false, .directory = {}});
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *output : "";
  }
  // NAME.pem and NAME.key.
  static void MakeAuthority(const std::string& name) {
    Program({"openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout",
             Path(name + ".key"), "-out", Path(name + ".pem"), "-days", "2", "-subj",
             "/CN=authority " + name});
  }
  static void MakeCertificate(const std::string& name, const std::string& subject,
                              const std::string& authority) {
    Program({"openssl", "req",
             "-x509",   "-nodes",
             "-newkey", "rsa:2048",
             "-keyout", Path(name + ".key"),
             "-out",    Path(name + ".pem"),
             "-days",   "2",
             "-subj",   "/CN=" + subject,
             "-CA",     Path(authority + ".pem"),
             "-CAkey",  Path(authority + ".key"),
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-addext", "basicConstraints=critical,CA:FALSE"});
  }
  static std::string Token(const std::string& subject, int seconds) {
    const std::string token =
        Program({"python3", std::string(PGC_SOURCE_DIR) + "/src/pulsar/secured_testing.py", "token",
                 Path("key"), subject, std::to_string(seconds)});
    return token.substr(0, token.find('\n'));
  }
  static std::string TlsUrl(const std::string& parameters) {
    return fmt::format("pulsar+ssl://{}?{}", tls_port_->address(), parameters);
  }
  // With a client's certificate and key out of the folder.
  static std::string MutualTlsUrl(const std::string& certificate, const std::string& key) {
    return TlsUrl(fmt::format("tls-trust-certs={}&tls-cert={}&tls-key={}", Path("ca.pem"),
                              Path(certificate + ".pem"), Path(key + ".key")));
  }
  // What is kept out by silence takes so long.
  static absl::StatusOr<std::unique_ptr<Producer>> Open(
      const std::string& url, const std::string& topic,
      std::chrono::seconds patience = std::chrono::seconds(2)) {
    auto client =
        Client::Create(url, {.library = PulsarBroker::Library(), .operation_timeout = patience});
    if (!client.ok()) return client.status();
    return Producer::Open(*client, {.topic = topic, .name = topic + "-producer"}, nullptr);
  }
  // It is let in, and what it sends is stored.
  static void ExpectLetIn(const std::string& url, const std::string& topic) {
    auto producer = Open(url, topic, std::chrono::seconds(30));
    ASSERT_TRUE(producer.ok()) << producer.status();
    EXPECT_TRUE((*producer)->Send("k", AsBytes("text")).ok());
    const auto flushed = (*producer)->Flush();
    EXPECT_TRUE(flushed.ok()) << flushed;
  }

  inline static TempDir* folder_ = nullptr;
  inline static PulsarBroker* broker_ = nullptr;
  inline static FreePort* tls_port_ = nullptr;
};

}  // namespace pgc::pulsar
