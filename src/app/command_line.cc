#include "app/command_line.h"

#include <cctype>

#include "app/exit_code.h"
#include "app/signals.h"
#include "base/log.h"
#include "pg/url.h"

namespace pgc {

std::string EnvName(std::string_view flag) {
  std::string name = "PGCAPTURE_";
  for (const char c : flag.substr(2)) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

CLI::Option* Flag(CLI::App* command, const std::string& flag, bool& value,
                  const std::string& help) {
  return command->add_flag(flag, value, help)->envname(EnvName(flag));
}

CLI::Validator IsPostgresUrl() {
  return {[](const std::string& text) {
            return std::string(
                IsConnectionString(text) ? "" : "not a URL: postgres://user@host/database");
          },
          ""};
}

void AddSourceUrlTo(CLI::App* command, std::string& url) {
  Option(command, "--source", url,
         "URL of the database to capture: postgres://user:password@host:port/database")
      ->required()
      ->check(IsPostgresUrl());
}

void AddPulsarLibraryTo(CLI::App* command, std::string& path) {
  Option(
      command, "--pulsar-library", path,
      "with Pulsar: Apache's client library, libpulsar.so (default: the system's, or one beside\n"
      "the program)");
}

int Finish(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  log::Error(std::string(status.message()));
  return kExitFailed;
}

int RunUntilSignal(const std::function<absl::Status(const std::stop_token&)>& run) {
  StopOnSignal signals;
  return Finish(run(signals.source().get_token()));
}

int CheckUntilSignal(const std::function<absl::StatusOr<bool>(const std::stop_token&)>& run) {
  StopOnSignal signals;
  const auto well = run(signals.source().get_token());
  if (!well.ok()) return Finish(well.status());
  return *well ? kExitOk : kExitFailed;
}

}  // namespace pgc
