// pgcapture: the command line. Which command it is, and what all of them take.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/commands.h"
#include "app/exit_code.h"
#include "base/log.h"
#include "commit.h"
#include "pg/url.h"

#ifndef PGC_VERSION
#error "PGC_VERSION comes from the build"
#endif

namespace pgc {
namespace {

const std::map<std::string, log::Level> kLogLevels{{"debug", log::Level::kDebug},
                                                   {"info", log::Level::kInfo},
                                                   {"warning", log::Level::kWarning},
                                                   {"error", log::Level::kError}};

struct LogOptions {
  std::string format = "auto";
  std::string level = "info";

  void AddTo(CLI::App* command) {
    Option(command, "--log-format", format, "text, json, or auto: text on a terminal")
        ->check(CLI::IsMember({"auto", "text", "json"}));
    Option(command, "--log-level", level, "debug, info, warning or error")
        ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  }
  void Apply() const {
    const bool text = format == "text" || (format == "auto" && isatty(STDERR_FILENO) != 0);
    log::Init(text ? log::Format::kText : log::Format::kJson, kLogLevels.at(level));
  }
};

// Hides passwords of URLs in what `ps` shows of this process; the flags have been read by then.
void MaskArguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string masked = MaskPassword(argv[i]);
    const size_t room = std::strlen(argv[i]);
    if (masked == argv[i]) continue;
    std::memset(argv[i], 0, room);
    std::memcpy(argv[i], masked.data(), std::min(room, masked.size()));
  }
}

// A command, and where its flags are parsed.
struct Subcommand {
  std::unique_ptr<Command> command;
  CLI::App* app = nullptr;
};

std::vector<Subcommand> AddCommandsTo(CLI::App& app) {
  std::vector<Subcommand> all;
  for (auto* const make :
       {NewServeCommand, NewCaptureCommand, NewApplyCommand, NewTailCommand, NewTopicsCommand,
        NewDumpCommand, NewControllerCommand, NewGatewayCommand, NewAgentCommand,
        NewConfigureCommand, NewInstallCommand, NewDoctorCommand}) {
    auto command = make();
    CLI::App* const added = command->AddTo(app);
    all.push_back({.command = std::move(command), .app = added});
  }
  return all;
}

// Commands that the Go program has too take its names of flags.
void Parse(CLI::App& app, const std::vector<Subcommand>& subcommands, int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const Subcommand& subcommand : subcommands) {
    if (arguments.empty() || !subcommand.app->check_name(arguments[0])) continue;
    const FlagNames* const names = subcommand.command->go_names();
    if (names != nullptr) arguments = FromGoFlags(arguments, *names);
  }
  std::reverse(arguments.begin(), arguments.end());
  app.parse(std::move(arguments));
}

int Main(int argc, char** argv) {
  CLI::App app{
      "Change data capture for PostgreSQL: an ordered log of every committed change,\n"
      "streamed to any number of consumers over gRPC.\n"
      "Every flag can also be given as an environment variable: --data-dir is\n"
      "PGCAPTURE_DATA_DIR."};
  app.name("pgcapture");
  app.require_subcommand(1);
  const std::vector<Subcommand> subcommands = AddCommandsTo(app);
  LogOptions logs;
  for (const Subcommand& subcommand : subcommands) logs.AddTo(subcommand.app);
  app.add_subcommand("version", "Prints version, commit and build.");
  try {
    Parse(app, subcommands, argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  MaskArguments(argc, argv);
  for (const Subcommand& subcommand : subcommands) {
    if (!subcommand.app->parsed()) continue;
    logs.Apply();
    return subcommand.command->Run();
  }
  std::printf("version: %s (%s) %s\n", PGC_VERSION, PGC_COMMIT, PGC_BUILD);
  return kExitOk;
}

}  // namespace
}  // namespace pgc

int main(int argc, char** argv) { return pgc::Main(argc, argv); }
