// Messages of transactions that are still in progress, kept on disk until their commit.
//
// One file per transaction, named by its xid, of records (all little-endian):
//
//   u32 length   u32 CRC-32 of the bytes   bytes
//
// A file lives from a transaction's first message to its commit or abort; nothing in it is needed
// after a restart, because the server sends an unfinished transaction again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pgc {

// A file descriptor, closed with its owner.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;

  int get() const { return fd_; }

 private:
  int fd_;
};

// Reads the messages of one committed transaction, in the order in which they came. Not
// thread-safe; the file is deleted with it.
class SpooledTransaction {
 public:
  ~SpooledTransaction();
  SpooledTransaction(const SpooledTransaction&) = delete;
  SpooledTransaction& operator=(const SpooledTransaction&) = delete;

  // The next message, valid until the next call; nothing after the last. DataLoss, naming the
  // file, when it is not what was written.
  absl::StatusOr<std::optional<std::span<const uint8_t>>> Next();

 private:
  friend class TransactionSpool;
  SpooledTransaction(std::filesystem::path path, FileDescriptor file, uint64_t length);
  // Makes `length` bytes available at position_.
  absl::Status Fill(size_t length);
  absl::Status Damaged(std::string_view what) const;

  const std::filesystem::path path_;
  const FileDescriptor file_;
  uint64_t unread_;  // bytes of the file that are not in buffer_ yet
  std::string buffer_;
  size_t position_ = 0;
};

// Takes the messages of any number of transactions, a stretch of one at a time: Start, Append …,
// Stop. Not thread-safe.
//
// Memory: one write buffer, and about 40 bytes for each subtransaction that has changes. Errors:
// FailedPrecondition, naming the folder, when its disk is full or refuses; DataLoss when the calls
// do not follow the protocol, which a server's malformed stream would cause.
class TransactionSpool {
 public:
  // The server itself keeps far more for each of them.
  static constexpr size_t kMaxSubtransactions = 2'000'000;

  // Makes `folder` if it is missing, and deletes what an earlier process left in it.
  static absl::StatusOr<std::unique_ptr<TransactionSpool>> Open(
      const std::filesystem::path& folder);
  ~TransactionSpool();
  TransactionSpool(const TransactionSpool&) = delete;
  TransactionSpool& operator=(const TransactionSpool&) = delete;

  // A stretch of the transaction `xid` begins; `first` when it is its first one.
  absl::Status Start(uint32_t xid, bool first);
  // Whether there is something of the unfinished transaction `xid`.
  bool has(uint32_t xid) const { return transactions_.contains(xid); }
  // The xid of the stretch under way; zero when there is none.
  uint32_t started() const { return current_; }
  // A message, `kind` and `body`, of the transaction or of its subtransaction `subxid` (xid itself
  // when of none).
  absl::Status Append(uint32_t subxid, uint8_t kind, std::span<const uint8_t> body);
  absl::Status Stop();

  // The subtransaction `subxid` of `xid` is void, or the whole transaction when they are equal.
  absl::Status Abort(uint32_t xid, uint32_t subxid);
  // Hands out the messages that count. Aborted when the pieces do not tell which: the server gives
  // a logical message the xid of the whole transaction, also when a subtransaction wrote it, so one
  // before the first change of a subtransaction that is void may be its or not. The transaction has
  // to be had whole then.
  absl::StatusOr<std::unique_ptr<SpooledTransaction>> Commit(uint32_t xid);

  size_t transactions() const { return transactions_.size(); }
  uint64_t bytes() const { return bytes_; }  // of all unfinished transactions

 private:
  struct Subtransaction {
    uint32_t xid = 0;
    uint64_t begin = 0;  // where its first message lies
  };
  // Of the logical messages from there on it is not known which were rolled back with `subxid`.
  struct Doubt {
    uint64_t from = 0;
    uint32_t subxid = 0;
  };
  struct Transaction {
    uint64_t length = 0;  // what is after it in the file is void
    // In the order of their first messages. While a subtransaction is open all messages are its
    // own or its children's, so an abort voids all from its first message on.
    std::vector<Subtransaction> subtransactions;
    absl::flat_hash_map<uint32_t, size_t> places;  // in subtransactions, by xid
    // The first logical message since the newest change that was surely of no subtransaction.
    std::optional<uint64_t> unclear;
    std::optional<Doubt> doubt;
  };

  explicit TransactionSpool(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path PathOf(uint32_t xid) const;
  absl::Status AddSubtransaction(Transaction& transaction, uint32_t subxid);
  void Void(Transaction& transaction, size_t kept, uint64_t length);
  absl::Status Flush();
  absl::Status Failed(std::string_view what, const std::filesystem::path& path) const;

  const std::filesystem::path folder_;
  absl::flat_hash_map<uint32_t, Transaction> transactions_;
  size_t subtransactions_ = 0;
  uint64_t bytes_ = 0;

  uint32_t current_ = 0;  // xid of the stretch under way; zero is none
  FileDescriptor file_;   // of it
  std::string buffer_;    // of what is not written yet
};

}  // namespace pgc
