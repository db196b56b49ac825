#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "pg/connection.h"

namespace pgc {

// A walsender connection after START_REPLICATION: messages come in, status updates go out.
//
// One thread calls Read and Wait; Send, Flush and Wake are thread-safe. Nothing but Wait and the
// destructor waits for the server: a server that does not read cannot hold a caller. The
// destructor ends the stream in order, so that the slot is free at once, but waits for that no
// longer than half a second.
//
// Errors: Unavailable when the connection is gone or the server shuts down; what the server says
// otherwise when it ends the stream, by its SQLSTATE.
class ReplicationStream {
 public:
  // Takes the connection and starts streaming with `command`; the error carries the server's
  // SQLSTATE.
  static absl::StatusOr<std::unique_ptr<ReplicationStream>> Start(
      std::unique_ptr<Connection> connection, const std::string& command, std::stop_token stop);
  ~ReplicationStream();

  // Sees one message, valid during the call; false ends the Read.
  using Handler = std::function<bool(std::span<const uint8_t>)>;

  // Gives `handle` the messages that are there, at most a buffer of them; their bytes, 0 when
  // there was none.
  absl::StatusOr<size_t> Read(const Handler& handle);

  // Waits until there may be something to read, Wake was called, or `deadline` has passed.
  void Wait(std::chrono::steady_clock::time_point deadline);
  void Wake();

  // Queues a message and sends what the server takes. False when something is left: Flush later,
  // and send nothing before.
  absl::StatusOr<bool> Send(std::span<const uint8_t> message);
  absl::StatusOr<bool> Flush();

  bool is_unix_socket() const { return is_unix_socket_; }

 private:
  explicit ReplicationStream(std::unique_ptr<Connection> connection);
  absl::StatusOr<bool> FlushLocked() PGC_REQUIRES(mutex_);

  const bool is_unix_socket_;
  const int socket_;
  const int wake_;  // an eventfd
  // libpq's connections are not thread-safe. Held while messages are handled, never while waiting.
  Mutex mutex_;
  const std::unique_ptr<Connection> connection_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
