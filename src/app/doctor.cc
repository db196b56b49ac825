#include "app/doctor.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/status_macros.h"
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

std::string Line(const Finding& finding, DoctorFormat format) {
  if (format == DoctorFormat::kJson) {
    return nlohmann::ordered_json{{"check", finding.check},
                                  {"level", Name(finding.level)},
                                  {"message", finding.message},
                                  {"remedy", finding.remedy}}
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  return fmt::format("{:8}{}: {}{}{}", Name(finding.level), finding.check, finding.message,
                     finding.remedy.empty() ? "" : " -> ", finding.remedy);
}

}  // namespace

absl::StatusOr<bool> RunDoctor(const PostgresSourceOptions& options,
                               const std::filesystem::path& data_dir, DoctorFormat format,
                               std::stop_token stop) {
  LogReader read_log;
  if (!data_dir.empty()) {
    read_log = [&] { return ReadCaptured(data_dir, options.topic); };
  }
  PGC_ASSIGN_OR_RETURN(const auto findings, Examine(options, read_log, std::move(stop)));
  bool well = true;
  for (const Finding& finding : findings) {
    std::puts(Line(finding, format).c_str());
    well = well && finding.level != Finding::Level::kMend;
  }
  return well;
}

}  // namespace pgc
