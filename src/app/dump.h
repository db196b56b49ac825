#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pgc {

enum class DumpAction { kSchedule, kStop, kPause, kResume, kCoolDown, kStatus };

struct DumpCommandOptions {
  std::string controller = "127.0.0.1:10001";
  std::string agent;  // that knows which tables there are; empty: at the controller's address
  std::string uri = "pgcapture";
  DumpAction action = DumpAction::kSchedule;
  std::vector<std::string> tables;  // `schema.table`, `table` of public, or with * and ? in either
  std::string pages;                // `A-B`, `A-` or `A`; empty: all
  uint32_t pages_per_dump = 0;      // 0: the controller's choice
  std::string where;
  std::vector<std::string> columns;
  std::vector<std::string> keys;
  bool wait = false;
  std::chrono::nanoseconds cool_down{0};
  bool json = false;
  bool terminal = false;  // `progress` is one: it has a bar instead of lines
  std::FILE* output = stdout;
  std::FILE* progress = stderr;
  std::chrono::milliseconds look_interval{500};
};

// `5s`, `1m30s`, `250ms`. InvalidArgument otherwise.
absl::StatusOr<std::chrono::nanoseconds> ParseDuration(const std::string& text);

// `*` is any text and `?` any character; both also stand for dots.
bool MatchesGlob(std::string_view pattern, std::string_view text);

// Schedules dumps at a controller, or tells of them. With `wait`, until all is acknowledged: false
// when a table's dump failed, with the reasons on `progress`, or when it was stopped, which leaves
// the schedule.
// Errors: those of the controller and the agent, by address. InvalidArgument: a malformed option, a
// pattern without a table.
absl::StatusOr<bool> RunDump(const DumpCommandOptions& options, std::stop_token stop);

}  // namespace pgc
