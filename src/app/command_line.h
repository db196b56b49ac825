// How commands say what flags they take; each flag can also come from the environment.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "app/go_flags.h"

namespace pgc {

// A command of the program: its flags, and what it does with them.
class Command {
 public:
  virtual ~Command() = default;

  // Adds the command and its flags, whose values stay here.
  virtual CLI::App* AddTo(CLI::App& app) = 0;
  // What of the flags has other names in the Go program, where that has the command too.
  virtual const FlagNames* go_names() const { return nullptr; }
  // Runs it, once the flags are parsed: an exit code.
  virtual int Run() = 0;
};

// The environment variable of a flag: of `--data-dir` it is PGCAPTURE_DATA_DIR.
std::string EnvName(std::string_view flag);

// A flag with a value, whose default is what `value` has.
template <typename T>
CLI::Option* Option(CLI::App* command, const std::string& flag, T& value, const std::string& help) {
  return command->add_option(flag, value, help)->envname(EnvName(flag))->capture_default_str();
}

CLI::Option* Flag(CLI::App* command, const std::string& flag, bool& value, const std::string& help);

// A flag with a value for each of some names; `value` has the default.
template <typename T>
void Choice(CLI::App* command, const std::string& flag, const std::string& help,
            const std::vector<std::pair<std::string, T>>& values, T& value) {
  std::vector<std::string> names;
  std::string chosen;
  for (const auto& [name, of] : values) {
    names.push_back(name);
    if (of == value) chosen = name;
  }
  command
      ->add_option_function<std::string>(
          flag,
          [values, &value](const std::string& name) {
            for (const auto& [known, of] : values) {
              if (known == name) value = of;
            }
          },
          help)
      ->envname(EnvName(flag))
      ->default_str(chosen)
      ->check(CLI::IsMember(names));
}

// For URLs of PostgreSQL.
CLI::Validator IsPostgresUrl();
// The database to capture.
void AddSourceUrlTo(CLI::App* command, std::string& url);
void AddPulsarLibraryTo(CLI::App* command, std::string& path);

// Logs why it failed, if it did: the exit code.
int Finish(const absl::Status& status);
// `run` is asked to stop by SIGINT and SIGTERM. Called before other threads are made.
int RunUntilSignal(const std::function<absl::Status(const std::stop_token&)>& run);
// As RunUntilSignal; that all is well must be the answer too.
int CheckUntilSignal(const std::function<absl::StatusOr<bool>(const std::stop_token&)>& run);

}  // namespace pgc
