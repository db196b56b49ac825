#include "pulsar/client.h"

#include <spdlog/fmt/fmt.h>

#include <cstring>
#include <exception>
#include <filesystem>
#include <system_error>

#include "base/log.h"
#include "base/status_macros.h"
#include "pulsar/credentials.h"
#include "pulsar/result.h"

namespace pgc::pulsar {
namespace {

constexpr const char* kSystemCertificates = "/etc/ssl/certs/ca-certificates.crt";

// The library tells a lot that is of no use to an operator; its errors are often followed by a
// retry of its own, and what fails for good comes as a result.
void Log(c::LogLevel level, const char* file, int line, const char* message, void* /*context*/) {
  // One for each batch that a producer had under way when it gave up.
  const bool many = std::strstr(message, "Got invalid producer Id in SendReceipt") != nullptr;
  const auto ours = level >= c::kWarn && !many ? log::Level::kWarning : log::Level::kDebug;
  log::Write(ours, "pulsar client",
             {{"text", std::string(WithoutSecrets(message))},
              {"at", fmt::format("{}:{}", std::filesystem::path(file).filename().string(), line)}});
}

}  // namespace

absl::StatusOr<std::shared_ptr<Client>> Client::Create(const std::string& url,
                                                       const Options& options) {
  PGC_ASSIGN_OR_RETURN(ServiceUrl parsed, ParseServiceUrl(url));
  PGC_ASSIGN_OR_RETURN(const Library* const library, LoadLibrary(options.library));
  std::shared_ptr<Client> client(new Client(library, std::move(parsed)));
  PGC_RETURN_IF_ERROR(client->Open(options));
  return client;
}

absl::Status Client::Open(const Options& options) {
  PGC_ASSIGN_OR_RETURN(c::Authentication* const authentication, Authenticate());
  c::ClientConfiguration* const configuration = api().client_configuration_create();
  api().client_configuration_set_logger(configuration, &Log, nullptr);
  api().client_configuration_set_io_threads(configuration, 1);
  api().client_configuration_set_message_listener_threads(configuration, 1);
  api().client_configuration_set_operation_timeout_seconds(
      configuration, static_cast<int>(options.operation_timeout.count()));
  api().client_configuration_set_stats_interval_in_seconds(configuration, 0);
  if (authentication != nullptr) api().client_configuration_set_auth(configuration, authentication);
  // An OAuth 2.0 server may have TLS where the brokers have none. Where the library itself looks
  // for certificates is where the distribution has them that it was built on.
  if (url_.tls() || !url_.oauth2_file.empty()) {
    std::error_code none;
    const bool system = std::filesystem::exists(kSystemCertificates, none);
    const char* const certificates = !url_.tls_trust_certs.empty() ? url_.tls_trust_certs.c_str()
                                     : system                      ? kSystemCertificates
                                                                   : nullptr;
    if (certificates != nullptr) {
      api().client_configuration_set_tls_trust_certs_file_path(configuration, certificates);
    }
    api().client_configuration_set_tls_allow_insecure_connection(
        configuration, static_cast<int>(url_.tls_allow_insecure));
    api().client_configuration_set_validate_hostname(configuration,
                                                     static_cast<int>(url_.tls_validate_hostname));
  }
  absl::Status status;
  // The library throws where an address is none that it knows.
  try {
    client_ = api().client_create(url_.address.c_str(), configuration);
  } catch (const std::exception& error) {
    status = absl::InvalidArgumentError(fmt::format("{}: {}", url_.address, error.what()));
  }
  api().client_configuration_free(configuration);
  if (authentication != nullptr) api().authentication_free(authentication);
  return status;
}

absl::StatusOr<c::Authentication*> Client::Authenticate() {
  PGC_RETURN_IF_ERROR(CheckTlsFiles(url_));
  if (!url_.tls_cert.empty()) {
    return api().authentication_tls_create(url_.tls_cert.c_str(), url_.tls_key.c_str());
  }
  if (!url_.token.empty()) return api().authentication_token_create(url_.token.c_str());
  if (!url_.token_file.empty()) {
    PGC_RETURN_IF_ERROR(ReadTokenFile(url_.token_file).status());
    return api().authentication_token_create_with_supplier(&ReadToken, this);
  }
  if (url_.oauth2_file.empty()) return nullptr;
  PGC_ASSIGN_OR_RETURN(const std::string parameters, ReadOAuth2File(url_.oauth2_file));
  try {
    return api().authentication_oauth2_create(parameters.c_str());
  } catch (const std::exception&) {
    // What it threw may repeat the file's content.
    return absl::FailedPreconditionError(
        fmt::format("{} does not have what OAuth 2.0 needs", url_.oauth2_file));
  }
}

char* Client::ReadToken(void* client) {
  const std::string& path = static_cast<Client*>(client)->url_.token_file;
  const auto text = ReadTokenFile(path);
  if (!text.ok()) log::Warning("the token cannot be read", {{"file", path}});
  return strdup(text.ok() ? text->c_str() : "");
}

Client::~Client() {
  if (client_ == nullptr) return;
  (void)api().client_close(client_);
  api().client_free(client_);
}

absl::Status Client::CheckNotPartitioned(const std::string& topic) const {
  c::StringList* partitions = nullptr;
  PGC_RETURN_IF_ERROR(
      ToStatus(api(), api().client_get_topic_partitions(client_, topic.c_str(), &partitions),
               fmt::format("looking up the topic {}", topic)));
  const int count = api().string_list_size(partitions);
  api().string_list_free(partitions);
  if (count <= 1) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("the topic {} has {} partitions; the order of changes needs one that is not "
                  "partitioned",
                  topic, count));
}

}  // namespace pgc::pulsar
