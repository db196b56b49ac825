#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "pulsar/c_api.h"
#include "pulsar/library.h"
#include "pulsar/service_url.h"

namespace pgc::pulsar {

// A connection pool to one Pulsar cluster, which its producers, readers and consumers share and
// keep alive. It reconnects by itself, and its log is ours.
//
// Thread-safe. Errors everywhere in this folder: Unavailable when it may pass by itself,
// FailedPrecondition when an operator must act, NotFound a topic that is not there.
class Client {
 public:
  struct Options {
    std::string library = {};  // path; empty: found as LoadLibrary says
    // What asks the cluster gives up after it.
    std::chrono::seconds operation_timeout{30};
  };

  // Connects to nothing yet. InvalidArgument as ParseServiceUrl.
  static absl::StatusOr<std::shared_ptr<Client>> Create(const std::string& url,
                                                        const Options& options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const c::Api& api() const { return library_->api; }
  c::Client* get() const { return client_; }
  const std::string& address() const { return url_.address; }

  // FailedPrecondition when the topic is partitioned: one order of all events needs one partition.
  absl::Status CheckNotPartitioned(const std::string& topic) const;

 private:
  Client(const Library* library, ServiceUrl url) : library_(library), url_(std::move(url)) {}
  absl::Status Open(const Options& options);
  absl::StatusOr<c::Authentication*> Authenticate();
  static char* ReadToken(void* client);

  const Library* const library_;
  const ServiceUrl url_;
  c::Client* client_ = nullptr;
};

}  // namespace pgc::pulsar
