#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "testing/free_port.h"
#include "testing/subprocess.h"

namespace pgc {

// A `pgcapture serve` of the test's own, on one port of loopback over all its restarts. It ends
// with this object. Not thread-safe.
class ServeProcess {
 public:
  struct Options {
    std::string program;               // path of pgcapture
    std::string source;                // URL
    std::filesystem::path data_dir;    // made if missing
    std::vector<std::string> flags;    // further ones
    std::vector<std::string> wrapper;  // a command that runs the program, before its path
  };

  explicit ServeProcess(Options options);

  // Starts it and waits until it captures. Internal, with its log, when it ends before that or
  // takes longer than `timeout`.
  absl::Status Start(std::chrono::milliseconds timeout = std::chrono::seconds(60));
  // Starts it and does not wait.
  absl::Status Launch();
  void Kill();
  // SIGTERM; the exit code, or nothing when it has not ended after 10 s.
  std::optional<int> Stop();

  const std::string& address() const { return address_; }
  Subprocess& process() { return *process_; }

 private:
  const Options options_;
  const FreePort port_;
  const std::string address_;
  std::unique_ptr<Subprocess> process_;
};

}  // namespace pgc
