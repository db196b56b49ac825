#include "source/transaction_spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/status_macros.h"

namespace pgc {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
// PostgreSQL's own limit of what it sends at once.
constexpr uint32_t kMaxMessageBytes = (1U << 30) - 1;
constexpr std::string_view kSuffix = ".spool";
constexpr uint8_t kLogicalMessage = 'M';

struct RecordHeader {
  uint32_t length = 0;
  uint32_t crc = 0;
};

uint32_t Checksum(uint8_t kind, std::span<const uint8_t> body) {
  uLong crc = crc32_z(crc32_z(0, nullptr, 0), &kind, 1);
  // zlib takes a null pointer, which an empty body may have, for a new beginning.
  if (!body.empty()) crc = crc32_z(crc, body.data(), body.size());
  return static_cast<uint32_t>(crc);
}

absl::Status OutOfPlace(std::string_view what, uint32_t xid) {
  return absl::DataLossError(
      fmt::format("malformed replication stream: {} of transaction {} out of place", what, xid));
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (fd_ >= 0 && fd_ != other.fd_) close(fd_);
  fd_ = std::exchange(other.fd_, -1);
  return *this;
}

SpooledTransaction::SpooledTransaction(std::filesystem::path path, FileDescriptor file,
                                       uint64_t length)
    : path_(std::move(path)), file_(std::move(file)), unread_(length) {}

SpooledTransaction::~SpooledTransaction() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

absl::Status SpooledTransaction::Damaged(std::string_view what) const {
  return absl::DataLossError(fmt::format(
      "the spooled transaction {} cannot be read back: {}; start again, and the server sends it "
      "once more",
      path_.string(), what));
}

absl::Status SpooledTransaction::Fill(size_t length) {
  if (buffer_.size() - position_ >= length) return absl::OkStatus();
  buffer_.erase(0, std::exchange(position_, 0));
  const size_t have = buffer_.size();
  if (length - have > unread_) return Damaged("it is cut off");
  const auto want =
      static_cast<size_t>(std::min<uint64_t>(std::max(length - have, kBufferBytes), unread_));
  buffer_.resize(have + want);
  for (size_t done = 0; done < want;) {
    const ssize_t got = read(file_.get(), buffer_.data() + have + done, want - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Damaged(std::strerror(errno));
    if (got == 0) return Damaged("it is cut off");
    done += static_cast<size_t>(got);
  }
  unread_ -= want;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::span<const uint8_t>>> SpooledTransaction::Next() {
  if (unread_ == 0 && position_ == buffer_.size()) return std::nullopt;
  RecordHeader header;
  PGC_RETURN_IF_ERROR(Fill(sizeof header));
  std::memcpy(&header, buffer_.data() + position_, sizeof header);
  if (header.length == 0 || header.length > kMaxMessageBytes) return Damaged("a length is wrong");
  PGC_RETURN_IF_ERROR(Fill(sizeof header + header.length));
  const std::span<const uint8_t> message(
      reinterpret_cast<const uint8_t*>(buffer_.data()) + position_ + sizeof header, header.length);
  if (Checksum(message[0], message.subspan(1)) != header.crc) return Damaged("a checksum is wrong");
  position_ += sizeof header + header.length;
  return message;
}

absl::StatusOr<std::unique_ptr<TransactionSpool>> TransactionSpool::Open(
    const std::filesystem::path& folder) {
  std::unique_ptr<TransactionSpool> spool(new TransactionSpool(folder));
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  std::vector<std::filesystem::path> leftovers;
  for (auto at = std::filesystem::directory_iterator(folder, error);
       !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    if (at->path().extension() == kSuffix) leftovers.push_back(at->path());
  }
  for (const auto& path : leftovers) {
    if (!error) std::filesystem::remove(path, error);
  }
  if (error) {
    return absl::FailedPreconditionError(
        fmt::format("cannot use the spool folder {}: {}", folder.string(), error.message()));
  }
  return spool;
}

TransactionSpool::~TransactionSpool() {
  std::error_code ignored;
  for (const auto& [xid, transaction] : transactions_) {
    std::filesystem::remove(PathOf(xid), ignored);
  }
}

std::filesystem::path TransactionSpool::PathOf(uint32_t xid) const {
  return folder_ / fmt::format("{}{}", xid, kSuffix);
}

absl::Status TransactionSpool::Failed(std::string_view what,
                                      const std::filesystem::path& path) const {
  const int error = errno;
  return absl::FailedPreconditionError(fmt::format(
      "cannot {} {}: {}{}", what, path.string(), std::strerror(error),
      error == ENOSPC ? "; make room there, or choose another folder with --spool-dir" : ""));
}

absl::Status TransactionSpool::Start(uint32_t xid, bool first) {
  if (current_ != 0 || xid == 0) return OutOfPlace("a stretch", xid);
  if (first == transactions_.contains(xid)) {
    return OutOfPlace(first ? "a second beginning" : "a later stretch without the first", xid);
  }
  const std::filesystem::path path = PathOf(xid);
  file_ = FileDescriptor(
      open(path.c_str(), O_WRONLY | O_CLOEXEC | (first ? O_CREAT | O_TRUNC : 0), 0600));
  if (file_.get() < 0) return Failed("open", path);
  const auto length = static_cast<off_t>(transactions_[xid].length);
  if (lseek(file_.get(), length, SEEK_SET) != length) return Failed("write", path);
  current_ = xid;
  return absl::OkStatus();
}

absl::Status TransactionSpool::AddSubtransaction(Transaction& transaction, uint32_t subxid) {
  auto& all = transaction.subtransactions;
  // A parent that goes on after its child has its place already.
  if (!transaction.places.try_emplace(subxid, all.size()).second) return absl::OkStatus();
  if (subtransactions_ >= kMaxSubtransactions) {
    return absl::ResourceExhaustedError(
        fmt::format("the transactions in progress have more than {} subtransactions (last: {} of "
                    "transaction {})",
                    kMaxSubtransactions, subxid, current_));
  }
  all.push_back({.xid = subxid, .begin = transaction.length});
  ++subtransactions_;
  return absl::OkStatus();
}

absl::Status TransactionSpool::Append(uint32_t subxid, uint8_t kind,
                                      std::span<const uint8_t> body) {
  if (current_ == 0 || body.size() >= kMaxMessageBytes) return OutOfPlace("a message", subxid);
  Transaction& transaction = transactions_[current_];
  if (subxid != current_) {
    PGC_RETURN_IF_ERROR(AddSubtransaction(transaction, subxid));
  } else if (kind != kLogicalMessage) {
    transaction.unclear.reset();
  } else if (!transaction.unclear.has_value()) {
    transaction.unclear = transaction.length;
  }
  const RecordHeader header{.length = static_cast<uint32_t>(1 + body.size()),
                            .crc = Checksum(kind, body)};
  buffer_.append(reinterpret_cast<const char*>(&header), sizeof header);
  buffer_ += static_cast<char>(kind);
  buffer_.append(reinterpret_cast<const char*>(body.data()), body.size());
  transaction.length += sizeof header + header.length;
  bytes_ += sizeof header + header.length;
  return buffer_.size() < kBufferBytes ? absl::OkStatus() : Flush();
}

absl::Status TransactionSpool::Flush() {
  for (size_t done = 0; done < buffer_.size();) {
    const ssize_t wrote = write(file_.get(), buffer_.data() + done, buffer_.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return Failed("write", PathOf(current_));
    done += static_cast<size_t>(wrote);
  }
  if (buffer_.capacity() > 4 * kBufferBytes) buffer_ = std::string();
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status TransactionSpool::Stop() {
  if (current_ == 0) return OutOfPlace("an end", 0);
  PGC_RETURN_IF_ERROR(Flush());
  file_ = FileDescriptor();
  current_ = 0;
  return absl::OkStatus();
}

absl::Status TransactionSpool::Abort(uint32_t xid, uint32_t subxid) {
  const auto found = transactions_.find(xid);
  if (current_ != 0 || found == transactions_.end()) return OutOfPlace("an abort", xid);
  Transaction& transaction = found->second;
  if (xid == subxid) {
    subtransactions_ -= transaction.subtransactions.size();
    bytes_ -= transaction.length;
    transactions_.erase(found);
    std::error_code ignored;
    std::filesystem::remove(PathOf(xid), ignored);
    return absl::OkStatus();
  }
  const auto place = transaction.places.find(subxid);
  // Without a change there is nothing to void, unless there was a message.
  const bool known = place != transaction.places.end();
  const size_t kept = known ? place->second : transaction.subtransactions.size();
  const uint64_t length = known ? transaction.subtransactions[kept].begin : transaction.length;
  // The whole transaction may be void, too: the server says that last.
  if (transaction.unclear.has_value() && *transaction.unclear < length && !transaction.doubt) {
    transaction.doubt = {.from = *transaction.unclear, .subxid = subxid};
  }
  Void(transaction, kept, length);
  return absl::OkStatus();
}

// Leaves the first `kept` subtransactions and `length` bytes.
void TransactionSpool::Void(Transaction& transaction, size_t kept, uint64_t length) {
  auto& all = transaction.subtransactions;
  for (size_t i = kept; i < all.size(); ++i) transaction.places.erase(all[i].xid);
  subtransactions_ -= all.size() - kept;
  all.resize(kept);
  bytes_ -= transaction.length - length;
  transaction.length = length;
  transaction.unclear.reset();
  if (transaction.doubt && transaction.doubt->from >= length) transaction.doubt.reset();
}

absl::StatusOr<std::unique_ptr<SpooledTransaction>> TransactionSpool::Commit(uint32_t xid) {
  const auto found = transactions_.find(xid);
  if (current_ != 0 || found == transactions_.end()) return OutOfPlace("a commit", xid);
  if (const auto& doubt = found->second.doubt) {
    return absl::AbortedError(fmt::format(
        "it is unclear which logical messages of transaction {} were rolled back with {}", xid,
        doubt->subxid));
  }
  const std::filesystem::path path = PathOf(xid);
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return Failed("open", path);
  const uint64_t length = found->second.length;
  subtransactions_ -= found->second.subtransactions.size();
  bytes_ -= length;
  transactions_.erase(found);
  return std::unique_ptr<SpooledTransaction>(new SpooledTransaction(path, std::move(file), length));
}

}  // namespace pgc
