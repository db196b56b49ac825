// What the controller's database holds, as bytes: docs/dumps.md says what is kept, this is how.
//
// Numbers are varints, a text is its length and its bytes, a record begins with its version.
// The Parse functions give DataLoss, naming what is wrong, whatever the bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/schedule.h"

namespace pgc {

// Of a uri.
struct ScheduleRecord {
  uint64_t schedule = 0;  // the number of its parts
  uint64_t first_job = 0;
  uint32_t parts = 0;
  bool paused = false;
  bool active = false;  // not stopped
  int64_t cool_down_ns = 0;

  bool operator==(const ScheduleRecord&) const = default;
};
std::string EncodeSchedule(const ScheduleRecord& record);
absl::StatusOr<ScheduleRecord> ParseSchedule(std::string_view bytes);

std::string EncodeProgress(const JobProgress& progress);
absl::StatusOr<JobProgress> ParseProgress(std::string_view bytes);

// The list as parts of about 64 KiB, which are parsed one after the other.
std::vector<std::string> EncodeJobs(const JobList& list);

class JobsParser {
 public:
  absl::Status Add(std::string_view part);
  JobList Finish() &&;

 private:
  JobList list_;
};

}  // namespace pgc
