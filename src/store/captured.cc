#include "store/captured.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <memory>
#include <string>

#include "store/records.h"

namespace pgc {

absl::StatusOr<ResumePoint> ReadCaptured(const std::filesystem::path& dir, std::string_view topic) {
  std::error_code error;
  // RocksDB's own list of its files.
  if (!std::filesystem::exists(dir / "CURRENT", error)) {
    if (!error) return ResumePoint();
    return absl::FailedPreconditionError(
        fmt::format("data directory {} cannot be read: {}", dir.string(), error.message()));
  }
  rocksdb::DB* opened = nullptr;
  // Topics are in the default column family, which can be opened alone.
  rocksdb::Status status = rocksdb::DB::OpenForReadOnly(rocksdb::Options(), dir.string(), &opened);
  const std::unique_ptr<rocksdb::DB> database(opened);
  std::string bytes;
  if (status.ok()) {
    status =
        database->Get(rocksdb::ReadOptions(), rocksdb::Slice(topic.data(), topic.size()), &bytes);
    if (status.IsNotFound()) return ResumePoint();
  }
  if (!status.ok()) {
    return absl::FailedPreconditionError(
        fmt::format("data directory {} cannot be read: {}", dir.string(), status.ToString()));
  }
  const auto record = ParseTopic(bytes);
  if (!record.ok()) {
    return absl::DataLossError(fmt::format("data directory {}: topic {}: {}", dir.string(), topic,
                                           std::string(record.status().message())));
  }
  return ResumePoint{
      .last = record->head.last, .captured = record->head.captured, .origin = record->head.origin};
}

}  // namespace pgc
