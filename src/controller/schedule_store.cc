#include "controller/schedule_store.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <cstdarg>
#include <cstdio>
#include <utility>

#include "base/big_endian.h"
#include "base/byte_reader.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

namespace fs = std::filesystem;

// The first byte of a key says what it is of.
constexpr char kCounters = 'n';
constexpr char kOnce = 'o';
constexpr char kUri = 'u';
constexpr char kPart = 's';
constexpr char kProgress = 'p';
constexpr size_t kMiB = size_t{1} << 20;

std::string Key(char kind, uint64_t schedule) {
  std::string key(1, kind);
  AppendBigEndian64(key, schedule);
  return key;
}
std::string Key(char kind, uint64_t schedule, uint32_t number) {
  std::string key = Key(kind, schedule);
  AppendBigEndian32(key, number);
  return key;
}
std::string UriKey(const std::string& uri) { return kUri + uri; }
std::string OnceKey(const std::string& uri) { return kOnce + uri; }

// RocksDB's own log file would abort the process on a full disk.
class RocksLog : public rocksdb::Logger {
 public:
  RocksLog() : Logger(rocksdb::WARN_LEVEL) {}

  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char text[1024];
    if (std::vsnprintf(text, sizeof text, format, arguments) < 0) return;
    log::Debug("rocksdb", {{"error", text}});
  }
};

rocksdb::Options Options() {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.write_buffer_size = 8 * kMiB;
  options.max_total_wal_size = 16 * kMiB;
  options.max_open_files = 64;
  options.max_background_jobs = 2;
  options.info_log = std::make_shared<RocksLog>();
  options.max_manifest_file_size = kMiB;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

absl::Status MakeFolder(const fs::path& dir) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) {
    return absl::FailedPreconditionError(
        fmt::format("the schedule's folder {} cannot be made: {}", dir.string(), error.message()));
  }
  if (fs::exists(dir / "CURRENT", error) || fs::is_empty(dir, error)) return absl::OkStatus();
  // What an attempt to make one left has RocksDB's names.
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename();
    const bool ours = name == "LOCK" || name == "IDENTITY" || name.starts_with("MANIFEST-") ||
                      name.starts_with("OPTIONS-") || name.ends_with(".dbtmp") ||
                      name.ends_with(".log");
    if (!ours) {
      return absl::FailedPreconditionError(
          fmt::format("the schedule's folder {} has something else in it: {}", dir.string(), name));
    }
  }
  return absl::OkStatus();
}

void DeleteAll(rocksdb::WriteBatch& batch, uint64_t schedule) {
  for (const char kind : {kPart, kProgress}) {
    (void)batch.DeleteRange(Key(kind, schedule), Key(kind, schedule + 1));
  }
}

}  // namespace

ScheduleStore::ScheduleStore(fs::path dir) : dir_(std::move(dir)) {}

ScheduleStore::~ScheduleStore() {
  if (db_ != nullptr) (void)db_->Close();
}

absl::StatusOr<std::unique_ptr<ScheduleStore>> ScheduleStore::Open(const fs::path& dir) {
  PGC_RETURN_IF_ERROR(MakeFolder(dir));
  std::unique_ptr<ScheduleStore> store(new ScheduleStore(dir));
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(Options(), dir.string(), &opened);
  store->db_.reset(opened);
  if (status.ok()) return store;
  if (status.IsCorruption()) return store->Damaged(status.ToString());
  return absl::FailedPreconditionError(
      fmt::format("the schedule's folder {} cannot be used: {}", dir.string(), status.ToString()));
}

absl::Status ScheduleStore::Damaged(std::string_view what) const {
  return absl::DataLossError(fmt::format(
      "the schedule's folder {} is damaged: {}; without it, no dump is scheduled: remove it, and "
      "schedule again",
      dir_.string(), what));
}

absl::Status ScheduleStore::Load(Counters& counters,
                                 const std::function<absl::Status(Stored)>& take) {
  std::string bytes;
  if (db_->Get({}, std::string(1, kCounters), &bytes).ok()) {
    const auto record = ParseSchedule(bytes);
    if (!record.ok()) return Damaged(std::string(record.status().message()));
    counters = {.next_schedule = record->schedule, .next_job = record->first_job};
  }
  const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator({}));
  for (at->Seek(std::string(1, kUri)); at->Valid() && at->key()[0] == kUri; at->Next()) {
    Stored stored;
    stored.uri = at->key().ToString().substr(1);
    const auto record = ParseSchedule({at->value().data(), at->value().size()});
    if (!record.ok()) return Damaged(std::string(record.status().message()));
    stored.record = *record;
    if (record->active) {
      PGC_RETURN_IF_ERROR(LoadParts(stored));
      PGC_RETURN_IF_ERROR(LoadProgress(stored));
    }
    const absl::Status taken = take(std::move(stored));
    if (absl::IsDataLoss(taken)) return Damaged(std::string(taken.message()));
    PGC_RETURN_IF_ERROR(taken);
  }
  return at->status().ok() ? absl::OkStatus() : Damaged(at->status().ToString());
}

absl::Status ScheduleStore::LoadParts(Stored& stored) const {
  JobsParser parser;
  for (uint32_t part = 0; part < stored.record.parts; ++part) {
    std::string bytes;
    const rocksdb::Status status = db_->Get({}, Key(kPart, stored.record.schedule, part), &bytes);
    if (!status.ok()) return Damaged(fmt::format("a part of a list: {}", status.ToString()));
    const absl::Status added = parser.Add(bytes);
    if (!added.ok()) return Damaged(std::string(added.message()));
  }
  stored.jobs = std::move(parser).Finish();
  return absl::OkStatus();
}

absl::Status ScheduleStore::LoadProgress(Stored& stored) const {
  const std::string prefix = Key(kProgress, stored.record.schedule);
  const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator({}));
  for (at->Seek(prefix); at->Valid() && at->key().starts_with(prefix); at->Next()) {
    const std::string_view key(at->key().data(), at->key().size());
    const std::string_view number = key.substr(prefix.size());
    ByteReader in({reinterpret_cast<const uint8_t*>(number.data()), number.size()});
    const uint32_t job = in.U32();
    auto progress = ParseProgress({at->value().data(), at->value().size()});
    if (!in.done()) return Damaged("a key of another length");
    if (!progress.ok()) return Damaged(std::string(progress.status().message()));
    stored.progress.emplace_back(job, *std::move(progress));
  }
  return at->status().ok() ? absl::OkStatus() : Damaged(at->status().ToString());
}

absl::Status ScheduleStore::Replace(const std::string& uri, uint64_t before, ScheduleRecord& record,
                                    const JobList& jobs, const Counters& counters, bool once) {
  rocksdb::WriteBatch batch;
  if (before != 0) DeleteAll(batch, before);
  const std::vector<std::string> parts = EncodeJobs(jobs);
  record.parts = static_cast<uint32_t>(parts.size());
  for (uint32_t part = 0; part < record.parts; ++part) {
    (void)batch.Put(Key(kPart, record.schedule, part), parts[part]);
  }
  ScheduleRecord next;
  next.schedule = counters.next_schedule;
  next.first_job = counters.next_job;
  (void)batch.Put(std::string(1, kCounters), EncodeSchedule(next));
  (void)batch.Put(UriKey(uri), EncodeSchedule(record));
  if (once) {
    ScheduleRecord number;
    number.schedule = record.schedule;
    (void)batch.Put(OnceKey(uri), EncodeSchedule(number));
  }
  return Write(batch);
}

absl::Status ScheduleStore::SaveRecord(const std::string& uri, const ScheduleRecord& record) {
  rocksdb::WriteBatch batch;
  (void)batch.Put(UriKey(uri), EncodeSchedule(record));
  return Write(batch);
}

absl::Status ScheduleStore::Remove(const std::string& uri, uint64_t schedule) {
  rocksdb::WriteBatch batch;
  (void)batch.Delete(UriKey(uri));
  if (schedule != 0) DeleteAll(batch, schedule);
  return Write(batch);
}

absl::Status ScheduleStore::SaveProgress(const std::vector<Progress>& progress) {
  rocksdb::WriteBatch batch;
  for (const Progress& of : progress) {
    (void)batch.Put(Key(kProgress, of.schedule, of.job), of.bytes);
  }
  return Write(batch);
}

absl::StatusOr<std::vector<std::pair<std::string, uint64_t>>> ScheduleStore::LoadOnce() const {
  std::vector<std::pair<std::string, uint64_t>> uris;
  const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator({}));
  for (at->Seek(std::string(1, kOnce)); at->Valid() && at->key()[0] == kOnce; at->Next()) {
    const auto record = ParseSchedule({at->value().data(), at->value().size()});
    if (!record.ok()) return Damaged(std::string(record.status().message()));
    uris.emplace_back(at->key().ToString().substr(1), record->schedule);
  }
  if (!at->status().ok()) return Damaged(at->status().ToString());
  return uris;
}

absl::Status ScheduleStore::ForgetOnce(const std::string& uri) {
  rocksdb::WriteBatch batch;
  (void)batch.Delete(OnceKey(uri));
  return Write(batch);
}

absl::Status ScheduleStore::Write(rocksdb::WriteBatch& batch) {
  if (!failure_.ok()) return failure_;
  rocksdb::WriteOptions options;
  options.sync = true;
  const rocksdb::Status status = db_->Write(options, &batch);
  if (status.ok()) return absl::OkStatus();
  failure_ = absl::FailedPreconditionError(
      fmt::format("the schedule's folder {} cannot be written: mend it, and start again ({})",
                  dir_.string(), status.ToString()));
  return failure_;
}

}  // namespace pgc
