#include "base/log.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

namespace pgc::log {
namespace {

std::atomic<Format> g_format{Format::kText};
std::atomic<Level> g_level{Level::kInfo};

spdlog::logger& Logger() {
  static spdlog::logger* const logger = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    sink->set_pattern("%v");
    auto* made = new spdlog::logger("pgcapture", std::move(sink));
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

std::string_view Name(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "?";
}

std::string Now() {
  const auto now = std::chrono::system_clock::now();
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  (void)std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:03}Z", text, ms);
}

std::string Json(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Quoted when a reader could not tell where the value ends.
std::string TextValue(const std::string& value) {
  return value.empty() || value.find_first_of(" \"=\n\r\t\\") != std::string::npos ? Json(value)
                                                                                   : value;
}

}  // namespace

std::string FormatLine(Format format, Level level, std::string_view time, std::string_view message,
                       Fields fields) {
  if (format == Format::kJson) {
    std::string line = fmt::format(R"({{"time":{},"level":"{}","message":{})", Json(time),
                                   Name(level), Json(message));
    for (const Field& field : fields) {
      line += fmt::format(",{}:{}", Json(field.name), Json(field.value));
    }
    return line + "}";
  }
  std::string line = fmt::format("{} {:7} {}", time, Name(level), message);
  for (const Field& field : fields) {
    line += fmt::format(" {}={}", field.name, TextValue(field.value));
  }
  return line;
}

void Init(Format format, Level level) {
  g_format = format;
  g_level = level;
}

void Write(Level level, std::string_view message, Fields fields) {
  if (level < g_level.load()) return;
  Logger().log(spdlog::level::info, "{}", FormatLine(g_format, level, Now(), message, fields));
}

}  // namespace pgc::log
