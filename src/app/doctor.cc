#include "app/doctor.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "pulsar/client.h"
#include "pulsar/library.h"
#include "source/doctor.h"
#include "store/captured.h"

namespace pgc {
namespace {

std::string_view Name(Finding::Level level) {
  switch (level) {
    case Finding::Level::kFine:
      return "ok";
    case Finding::Level::kWarning:
      return "warning";
    case Finding::Level::kMend:
      return "mend";
  }
  return "?";
}

std::string Line(const Finding& finding, bool json) {
  if (json) {
    return nlohmann::ordered_json{{"check", finding.check},
                                  {"level", Name(finding.level)},
                                  {"message", finding.message},
                                  {"remedy", finding.remedy}}
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  return fmt::format("{:8}{}: {}{}{}", Name(finding.level), finding.check, finding.message,
                     finding.remedy.empty() ? "" : " -> ", finding.remedy);
}

// Whether a Pulsar cluster can have the topic; asks it, and changes nothing there.
std::vector<Finding> ExaminePulsar(const DoctorOptions& options) {
  constexpr std::chrono::seconds kPatience{10};
  using Level = Finding::Level;
  std::vector<Finding> findings;
  const auto library = pulsar::LoadLibrary(options.pulsar_library);
  if (!library.ok()) {
    findings.push_back({.level = Level::kMend,
                        .check = "pulsar_library",
                        .message = std::string(library.status().message()),
                        .remedy = "see docs/pulsar.md"});
    return findings;
  }
  findings.push_back({.level = Level::kFine,
                      .check = "pulsar_library",
                      .message = (*library)->path,
                      .remedy = ""});
  const auto client = pulsar::Client::Create(
      options.store, {.library = options.pulsar_library, .operation_timeout = kPatience});
  const absl::Status status =
      client.ok() ? (*client)->CheckNotPartitioned(options.source.topic) : client.status();
  findings.push_back(
      status.ok()
          ? Finding{.level = Level::kFine,
                    .check = "pulsar",
                    .message = fmt::format("{} answers, and the topic '{}' is not partitioned",
                                           (*client)->address(), options.source.topic),
                    .remedy = ""}
          : Finding{
                .level = Level::kMend,
                .check = "pulsar",
                .message = std::string(status.message()),
                .remedy = "correct --store or --topic (docs/pulsar.md), or look at the cluster"});
  return findings;
}

}  // namespace

absl::StatusOr<bool> RunDoctor(const DoctorOptions& options, std::stop_token stop) {
  LogReader read_log;
  if (!options.data_dir.empty()) {
    read_log = [&] { return ReadCaptured(options.data_dir, options.source.topic); };
  }
  PGC_ASSIGN_OR_RETURN(auto findings, Examine(options.source, read_log, std::move(stop)));
  if (!options.store.empty()) {
    for (Finding& finding : ExaminePulsar(options)) findings.push_back(std::move(finding));
  }
  bool well = true;
  for (const Finding& finding : findings) {
    std::puts(Line(finding, options.json).c_str());
    well = well && finding.level != Finding::Level::kMend;
  }
  return well;
}

}  // namespace pgc
