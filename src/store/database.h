#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fair_mutex.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
class Iterator;
class Status;
class WriteBatch;
}  // namespace rocksdb

namespace pgc {

// RocksDB with the options, the files and the errors of an embedded store.
//
// Thread-safe. After a write that failed, all further ones fail with the same error: what came
// after it must not be stored without it.
class Database {
 public:
  // `make`: a new one, in a folder that has none. DataLoss when something is missing or damaged.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::filesystem::path& dir,
                                                        bool make);
  ~Database();

  rocksdb::ColumnFamilyHandle* topics() const { return topics_; }
  rocksdb::ColumnFamilyHandle* blocks() const { return blocks_; }
  rocksdb::ColumnFamilyHandle* subscriptions() const { return subscriptions_; }
  rocksdb::ColumnFamilyHandle* floors() const { return floors_; }

  // Returns when all of the batch is on the disk.
  absl::Status Write(rocksdb::WriteBatch& batch);
  // Gives back the space of blocks with keys from `begin` to before `end`, which nobody needs: that
  // of whole files. What is left of it lies in files that have other blocks too.
  absl::Status DropBlocks(const std::string& begin, const std::string& end);
  // Why no further write is possible; ok while it is.
  absl::Status failure() const;

  std::unique_ptr<rocksdb::Iterator> Scan(rocksdb::ColumnFamilyHandle* in) const;
  // DataLoss, with the directory's name.
  absl::Status Damaged(std::string_view what) const;

 private:
  explicit Database(std::filesystem::path dir);
  absl::Status OpenFiles(bool make);
  absl::Status CheckSynced() const;
  void WriteSynced() PGC_REQUIRES(mutex_);
  absl::Status OpenError(const rocksdb::Status& status) const;
  absl::Status WriteError(const rocksdb::Status& status) const;

  const std::filesystem::path dir_;
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* topics_ = nullptr;
  rocksdb::ColumnFamilyHandle* blocks_ = nullptr;
  rocksdb::ColumnFamilyHandle* subscriptions_ = nullptr;
  rocksdb::ColumnFamilyHandle* floors_ = nullptr;
  int synced_fd_ = -1;

  // Acknowledgements get their turn beside a writer that is always there.
  mutable FairMutex mutex_;  // one write at a time: nothing is written after one that failed
  absl::Status failure_ PGC_GUARDED_BY(mutex_);
  std::atomic<bool> failed_ = false;  // whether failure_ is one, without waiting for a write
};

}  // namespace pgc
