#include "pg/replication_stream.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kEndTimeout{500};

struct FreeCopyData {
  void operator()(char* data) const { PQfreemem(data); }
};

int MillisecondsUntil(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
}

bool WaitToRead(PGconn* connection, Clock::time_point deadline) {
  const bool unsent = PQflush(connection) == 1;
  pollfd ready{.fd = PQsocket(connection),
               .events = static_cast<short>(unsent ? POLLIN | POLLOUT : POLLIN),
               .revents = 0};
  return poll(&ready, 1, MillisecondsUntil(deadline)) > 0 && PQconsumeInput(connection) != 0;
}

// Tells the server that the copy is over, and reads until the command is: only then has it let go
// of the slot.
void EndCopy(PGconn* connection) {
  if (PQstatus(connection) != CONNECTION_OK || PQputCopyEnd(connection, nullptr) <= 0) return;
  const auto deadline = Clock::now() + kEndTimeout;
  while (true) {
    char* data = nullptr;
    const int length = PQgetCopyData(connection, &data, 1);
    if (length > 0) PQfreemem(data);
    if (length < 0) break;
    if (length == 0 && !WaitToRead(connection, deadline)) return;
    if (Clock::now() >= deadline) return;
  }
  while (true) {
    while (PQisBusy(connection) != 0) {
      if (!WaitToRead(connection, deadline)) return;
    }
    PGresult* const result = PQgetResult(connection);
    if (result == nullptr) return;
    // A result that does not end, as of a server that ignores our end of the copy.
    const bool copying =
        PQresultStatus(result) == PGRES_COPY_IN || PQresultStatus(result) == PGRES_COPY_BOTH;
    PQclear(result);
    if (copying) return;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ReplicationStream>> ReplicationStream::Start(
    std::unique_ptr<Connection> connection, const std::string& command, std::stop_token stop) {
  PGC_ASSIGN_OR_RETURN(const Result result, connection->Query(command, {}, std::move(stop)));
  (void)result;
  if (PQsetnonblocking(connection->raw(), 1) != 0) return connection->Error("START_REPLICATION");
  return std::unique_ptr<ReplicationStream>(new ReplicationStream(std::move(connection)));
}

namespace {

// A sender that meets a closed window is cheap, one that meets an open window is not
// (docs/decisions/read-pace.md). The kernel would let the window of a near server grow to
// megabytes, which takes long to fill each time that the reader has emptied it. Where the way is
// longer, the window is what keeps it full, and is left alone.
void KeepWindowSmall(int socket) {
  constexpr uint32_t kNearUs = 500;
  constexpr int kBufferBytes = 48 << 10;
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return;
  if (info.tcpi_rtt > kNearUs) return;
  (void)setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &kBufferBytes, sizeof kBufferBytes);
}

}  // namespace

ReplicationStream::ReplicationStream(std::unique_ptr<Connection> connection)
    : is_unix_socket_(connection->is_unix_socket()),
      socket_(PQsocket(connection->raw())),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      connection_(std::move(connection)) {
  if (!is_unix_socket_) KeepWindowSmall(socket_);
}

ReplicationStream::~ReplicationStream() {
  {
    MutexLock lock(mutex_);
    EndCopy(connection_->raw());
  }
  close(wake_);
}

absl::StatusOr<size_t> ReplicationStream::Read(const Handler& handle) {
  MutexLock lock(mutex_);
  PGconn* const raw = connection_->raw();
  size_t bytes = 0;
  bool consumed = false;
  while (true) {
    char* data = nullptr;
    const int length = PQgetCopyData(raw, &data, 1);
    if (length > 0) {
      const std::unique_ptr<char, FreeCopyData> owned(data);
      bytes += static_cast<size_t>(length);
      if (!handle({reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(length)}))
        return bytes;
      continue;
    }
    if (length < 0) return connection_->EndError("the server ended the replication stream");
    if (consumed) return bytes;
    // Once a call, so that the mutex is free between buffers.
    if (PQconsumeInput(raw) == 0) return connection_->Error("the replication stream broke");
    consumed = true;
  }
}

void ReplicationStream::Wait(Clock::time_point deadline) {
  pollfd ready[] = {{.fd = socket_, .events = POLLIN, .revents = 0},
                    {.fd = wake_, .events = POLLIN, .revents = 0}};
  if (poll(ready, 2, MillisecondsUntil(deadline)) <= 0) return;
  uint64_t count = 0;
  if ((ready[1].revents & POLLIN) != 0) (void)!read(wake_, &count, sizeof count);
}

void ReplicationStream::Wake() {
  const uint64_t one = 1;
  (void)!write(wake_, &one, sizeof one);
}

absl::StatusOr<bool> ReplicationStream::Send(std::span<const uint8_t> message) {
  MutexLock lock(mutex_);
  const int put = PQputCopyData(connection_->raw(), reinterpret_cast<const char*>(message.data()),
                                static_cast<int>(message.size()));
  if (put < 0) return connection_->Error("cannot send a status update");
  return FlushLocked();
}

absl::StatusOr<bool> ReplicationStream::Flush() {
  MutexLock lock(mutex_);
  return FlushLocked();
}

absl::StatusOr<bool> ReplicationStream::FlushLocked() {
  const int left = PQflush(connection_->raw());
  if (left < 0) return connection_->Error("cannot send a status update");
  // libpq reads while it cannot write: what it got then, no poll of the socket will show.
  if (left > 0) Wake();
  return left == 0;
}

}  // namespace pgc
