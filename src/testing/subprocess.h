#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"

namespace pgc {

// A child process whose output is collected line by line. It is killed with this object, and by
// the kernel when the test ends without a destructor. Thread-safe but for Wait and destruction.
class Subprocess {
 public:
  struct Options {
    std::vector<std::string> args;         // the program and its arguments
    std::vector<std::string> environment;  // NAME=VALUE, beside that of this process
    bool as_postgres = false;              // run as the user postgres when this process is root
    std::string directory;                 // to start in; empty: that of this process
  };

  static absl::StatusOr<std::unique_ptr<Subprocess>> Start(const Options& options);
  ~Subprocess();

  pid_t pid() const { return pid_; }
  void Signal(int signal);
  // The exit code, or minus the signal that ended it; nothing when it still runs at the deadline.
  std::optional<int> Wait(std::chrono::milliseconds timeout);

  // The first line, of stdout or stderr, with `text` in it, once there is one.
  std::optional<std::string> WaitForLine(const std::string& text,
                                         std::chrono::milliseconds timeout);
  std::vector<std::string> output_lines() const;  // stdout
  std::string errors() const;                     // stderr

 private:
  Subprocess() = default;
  void Collect(int fd, bool is_output, const std::stop_token& stop);

  pid_t pid_ = -1;
  std::optional<int> exit_code_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<std::string> output_ PGC_GUARDED_BY(mutex_);
  std::vector<std::string> errors_ PGC_GUARDED_BY(mutex_);
  int open_streams_ PGC_GUARDED_BY(mutex_) = 2;
  std::jthread readers_[2];
};

// Runs a program to its end; its output, or an error with what it wrote to stderr.
absl::StatusOr<std::string> Run(const Subprocess::Options& options,
                                std::chrono::milliseconds timeout = std::chrono::seconds(60));

}  // namespace pgc
