#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/schedule.h"
#include "controller/schedule_records.h"

namespace rocksdb {
class DB;
class WriteBatch;
}  // namespace rocksdb

namespace pgc {

// The schedules of a controller in a folder: of each uri a record, its list of jobs in parts, and
// the progress of each job that has begun. Beside them, which uris were scheduled once.
//
// Not thread-safe. What a call has written is on the disk when it returns; after one that failed,
// all further ones fail with its error.
// FailedPrecondition: in use, full, not writable, not a schedule. DataLoss: damaged.
class ScheduleStore {
 public:
  struct Stored {
    std::string uri;
    ScheduleRecord record;
    JobList jobs;
    std::vector<std::pair<uint32_t, JobProgress>> progress;
  };
  struct Progress {
    uint64_t schedule = 0;
    uint32_t job = 0;
    std::string bytes;
  };
  struct Counters {
    uint64_t next_schedule = 1;
    uint64_t next_job = 1;
  };

  // Makes the folder when it is missing.
  static absl::StatusOr<std::unique_ptr<ScheduleStore>> Open(const std::filesystem::path& dir);
  ~ScheduleStore();

  // Everything, a uri at a time.
  absl::Status Load(Counters& counters, const std::function<absl::Status(Stored)>& take);

  // Replaces the schedule of `uri`, number `before` (0: none), by another. With `once`, LoadOnce
  // has the uri from then on, whatever becomes of the schedule.
  absl::Status Replace(const std::string& uri, uint64_t before, ScheduleRecord& record,
                       const JobList& jobs, const Counters& counters, bool once = false);
  absl::Status SaveRecord(const std::string& uri, const ScheduleRecord& record);
  absl::Status Remove(const std::string& uri, uint64_t schedule);
  absl::Status SaveProgress(const std::vector<Progress>& progress);

  // With the numbers of the schedules that they had then.
  absl::StatusOr<std::vector<std::pair<std::string, uint64_t>>> LoadOnce() const;
  absl::Status ForgetOnce(const std::string& uri);

 private:
  explicit ScheduleStore(std::filesystem::path dir);
  absl::Status Write(rocksdb::WriteBatch& batch);
  absl::Status Damaged(std::string_view what) const;
  absl::Status LoadParts(Stored& stored) const;
  absl::Status LoadProgress(Stored& stored) const;

  const std::filesystem::path dir_;
  std::unique_ptr<rocksdb::DB> db_;
  absl::Status failure_;
};

}  // namespace pgc
