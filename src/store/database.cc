#include "store/database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <vector>

#include "base/log.h"
#include "base/status_macros.h"
#include "store/crc32c.h"

namespace pgc {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr char kSyncedFile[] = "SYNCED";

// What SYNCED has: the number of the last change that was synced. RocksDB numbers them.
struct Synced {
  uint64_t sequence;
  uint32_t checksum;
  uint32_t padding;
};
static_assert(sizeof(Synced) == 16);

uint32_t Checksum(uint64_t sequence) {
  char bytes[sizeof sequence];
  std::memcpy(bytes, &sequence, sizeof sequence);
  return Crc32c({bytes, sizeof bytes});
}

// RocksDB's own log file would abort the process on a full disk: it asserts that nothing is written
// to a file after an error. What an operator needs of it is in the errors that it returns.
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

rocksdb::DBOptions DatabaseOptions(bool make) {
  rocksdb::DBOptions options;
  options.create_if_missing = make;
  options.create_missing_column_families = make;
  // An incomplete record at the end of the log was never acknowledged; anything else that does not
  // read is a damage, also where a later record reads.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.track_and_verify_wals_in_manifest = true;
  options.max_total_wal_size = 32 * kMiB;
  options.max_background_jobs = 2;
  // Files of the log are 16 MiB, so a large one has more of them than a process may open.
  options.max_open_files = 256;
  options.info_log = std::make_shared<RocksLog>();
  options.max_manifest_file_size = 16 * kMiB;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

rocksdb::ColumnFamilyOptions FamilyOptions(const std::shared_ptr<rocksdb::Cache>& cache,
                                           size_t write_buffer_bytes) {
  rocksdb::ColumnFamilyOptions options;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = write_buffer_bytes;
  options.max_write_buffer_number = 2;
  // What retention gives back is files that have been sorted in. Keys of a topic only grow, so that
  // this is mostly a rename.
  options.level0_file_num_compaction_trigger = 2;
  return options;
}

bool IsFull(const rocksdb::Status& status) {
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit) return true;
  if (!status.IsIOError()) return false;
  for (const int error : {ENOSPC, EFBIG, EDQUOT}) {
    if (status.ToString().find(std::strerror(error)) != std::string::npos) return true;
  }
  return false;
}

absl::Status Full(const std::filesystem::path& dir, const rocksdb::Status& status) {
  return absl::FailedPreconditionError(
      fmt::format("data directory {} is full: make room; capture goes on where it was ({})",
                  dir.string(), status.ToString()));
}

}  // namespace

Database::Database(std::filesystem::path dir) : dir_(std::move(dir)) {}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& dir,
                                                         bool make) {
  std::unique_ptr<Database> database(new Database(dir));
  PGC_RETURN_IF_ERROR(database->OpenFiles(make));
  PGC_RETURN_IF_ERROR(database->CheckSynced());
  return database;
}

absl::Status Database::OpenFiles(bool make) {
  const auto cache = rocksdb::NewLRUCache(8 * kMiB);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families{
      {rocksdb::kDefaultColumnFamilyName, FamilyOptions(cache, kMiB)},
      {"blocks", FamilyOptions(cache, 16 * kMiB)},
      {"subscriptions", FamilyOptions(cache, 4 * kMiB)},
      {"floors", FamilyOptions(cache, kMiB)}};
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(DatabaseOptions(make), dir_.string(), families, &handles, &opened);
  if (!status.ok()) return OpenError(status);
  db_.reset(opened);
  topics_ = handles[0];
  blocks_ = handles[1];
  subscriptions_ = handles[2];
  floors_ = handles[3];
  synced_fd_ = open((dir_ / kSyncedFile).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (synced_fd_ >= 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("data directory {} cannot be used: {}", dir_.string(), std::strerror(errno)));
}

Database::~Database() {
  if (synced_fd_ >= 0) close(synced_fd_);
  if (db_ == nullptr) return;
  for (auto* const family : {topics_, blocks_, subscriptions_, floors_}) {
    (void)db_->DestroyColumnFamilyHandle(family);
  }
  const rocksdb::Status status = db_->Close();
  if (!status.ok() && failure().ok()) {
    log::Warning("the data directory was not closed cleanly",
                 {{"dir", dir_.string()}, {"error", status.ToString()}});
  }
}

// Whatever was synced before must be there now: RocksDB takes a truncated write-ahead log or
// manifest for one whose end was never written.
absl::Status Database::CheckSynced() const {
  Synced synced{};
  if (pread(synced_fd_, &synced, sizeof synced, 0) != sizeof synced) return absl::OkStatus();
  if (synced.checksum != Checksum(synced.sequence)) return absl::OkStatus();
  const uint64_t found = db_->GetLatestSequenceNumber();
  if (found >= synced.sequence) return absl::OkStatus();
  return Damaged(fmt::format("its last {} changes are missing: a file is truncated, or an old one",
                             synced.sequence - found));
}

// Without a sync: after a loss of power the file may say less than is true, never more.
void Database::WriteSynced() {
  const uint64_t sequence = db_->GetLatestSequenceNumber();
  const Synced synced{.sequence = sequence, .checksum = Checksum(sequence), .padding = 0};
  // Where it fails, a truncated file is found out later, or not: no reason to stop.
  (void)!pwrite(synced_fd_, &synced, sizeof synced, 0);
}

absl::Status Database::Write(rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  FairLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  const rocksdb::Status status = db_->Write(options, &batch);
  if (status.ok()) {
    WriteSynced();
  } else {
    failure_ = WriteError(status);
    failed_ = true;
  }
  return failure_;
}

absl::Status Database::DropBlocks(const std::string& begin, const std::string& end) {
  const rocksdb::Slice from(begin);
  const rocksdb::Slice to(end);
  const rocksdb::RangePtr range(&from, &to);
  const rocksdb::Status status =
      rocksdb::DeleteFilesInRanges(db_.get(), blocks_, &range, 1, /*include_end=*/false);
  return status.ok() ? absl::OkStatus() : WriteError(status);
}

absl::Status Database::failure() const {
  if (!failed_) return absl::OkStatus();
  FairLock lock(mutex_);
  return failure_;
}

std::unique_ptr<rocksdb::Iterator> Database::Scan(rocksdb::ColumnFamilyHandle* in) const {
  return std::unique_ptr<rocksdb::Iterator>(db_->NewIterator(rocksdb::ReadOptions(), in));
}

absl::Status Database::Damaged(std::string_view what) const {
  return absl::DataLossError(fmt::format("data directory {}: {}", dir_.string(), what));
}

absl::Status Database::OpenError(const rocksdb::Status& status) const {
  if (IsFull(status)) return Full(dir_, status);
  const bool missing = status.IsPathNotFound() || status.IsNotFound() || status.IsInvalidArgument();
  if (status.IsCorruption() || missing) {
    return Damaged(fmt::format("a file is missing or damaged: {}", status.ToString()));
  }
  return absl::FailedPreconditionError(
      fmt::format("data directory {} cannot be used: {}", dir_.string(), status.ToString()));
}

absl::Status Database::WriteError(const rocksdb::Status& status) const {
  if (IsFull(status)) return Full(dir_, status);
  if (status.IsCorruption()) return Damaged(status.ToString());
  return absl::FailedPreconditionError(
      fmt::format("data directory {} cannot be written: mend it; capture goes on where it was ({})",
                  dir_.string(), status.ToString()));
}

}  // namespace pgc
