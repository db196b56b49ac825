#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "testing/free_port.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc {

// An Apache Pulsar broker of the test's own (scripts/pulsar): in a temporary folder, on ports of
// loopback that stay its own over its restarts. It ends with this object. Not thread-safe.
class PulsarBroker {
 public:
  using Settings = std::map<std::string, std::string>;

  // `settings` are added to the configuration.
  static absl::StatusOr<std::unique_ptr<PulsarBroker>> Start(const Settings& settings = {});
  ~PulsarBroker();

  const std::string& url() const { return url_; }
  int port() const { return port_.number(); }
  pid_t pid() const { return java_; }
  // The client library that scripts/pulsar has fetched.
  static std::string Library();

  // A call of its administration: the answer's body, or an error with it unless it is 2xx.
  absl::StatusOr<std::string> Admin(std::string_view method, std::string_view path,
                                    std::string_view body = "");
  // Moves a topic, `public/default/t`, out of the broker's memory: producers and consumers
  // reconnect.
  absl::Status Unload(std::string_view topic);

  absl::Status Stop();  // in good order
  void Kill();          // SIGKILL
  // Again, with the data that is there; waits until it is ready. It ends with the calling thread.
  absl::Status Launch();
  void Signal(int signal);  // to the broker itself

 private:
  PulsarBroker() = default;

  const FreePort port_;
  const FreePort admin_port_;
  TempDir folder_;
  Settings settings_;
  std::string url_;
  pid_t java_ = 0;
  std::unique_ptr<Subprocess> process_;
};

}  // namespace pgc
