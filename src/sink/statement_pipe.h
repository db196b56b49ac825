#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "pg/connection.h"

namespace pgc {

// Sends statements without waiting for the answer of each (libpq's pipeline mode), prepared at
// their first use. Not thread-safe.
//
// Between Send and Finish the connection is in pipeline mode and not to be used otherwise. What is
// on its way is bounded by the kernel's buffers: Send waits until the socket has taken it.
class StatementPipe {
 public:
  struct Parameter {
    std::string_view bytes;
    bool is_null = false;
    bool is_text = false;
    uint32_t type = 0;  // 0: as the statement has it
  };
  static constexpr int64_t kAnyRows = -1;

  StatementPipe(Connection& connection, std::stop_token stop)
      : connection_(connection), stop_(std::move(stop)) {}

  // Queues a statement. `rows`: how many it must change. `tag` comes back with its error.
  absl::Status Send(const std::string& sql, std::span<const Parameter> parameters,
                    int64_t rows = kAnyRows, uint64_t tag = 0);

  struct Outcome {
    absl::Status status;      // of the first statement that failed
    uint64_t tag = 0;         // of it
    int64_t rows = 0;         // that the last statement changed
    bool wrong_rows = false;  // it changed another number of rows than it must
  };
  // Waits for all answers, and leaves pipeline mode. A statement behind one that failed was not
  // run. Unavailable when the connection is gone.
  Outcome Finish();

  // Forgets the prepared statements, here and on the server; not in pipeline mode.
  absl::Status Forget();
  size_t prepared() const { return names_.size(); }

 private:
  struct Sent {
    bool is_prepare = false;
    int64_t rows = kAnyRows;
    uint64_t tag = 0;
    std::string sql = {};  // of a prepare
  };
  absl::Status Start();
  absl::Status Flush();
  absl::Status Wait(short events);

  Connection& connection_;
  const std::stop_token stop_;
  bool piping_ = false;
  std::deque<Sent> sent_;
  uint64_t next_name_ = 0;
  absl::flat_hash_map<std::string, std::string> names_;  // by text and types
  std::string key_;
};

}  // namespace pgc
