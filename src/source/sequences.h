#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pg/connection.h"

namespace pgc {

// Writes where the sequences of a database stand into its WAL, so that their positions have a place
// in the stream: PostgreSQL's logical decoding has none for them.
//
// All of the database but temporary ones and those of schema pgcapture, at first and when asked;
// between that those that have moved since this object wrote them. Those that the role may not read
// are left out, and counted once in the log. A sequence that is being dropped or altered is left to
// the next round. Used by one thread but for WriteAll.
class Sequences {
 public:
  // What a connection for Round needs, in SQL: nothing waits long for a sequence that is locked,
  // and nothing runs that has taken the place of a sequence meanwhile.
  static constexpr char kSetup[] =
      "SET lock_timeout = '100ms'; SET row_security = off;"
      "SELECT pg_catalog.set_config(name, 'view, foreign-table', false)"
      " FROM pg_catalog.pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";

  Sequences();

  // What the messages begin with, as EventDecoder::set_sequences needs it.
  const std::string& secret() const { return secret_; }

  // The next round writes all. From any thread.
  void WriteAll() { write_all_ = true; }

  // Reads all, and writes what is due. Does nothing yet when rounds take so long that they would
  // keep a connection busy for more than a twentieth of the time; half of it when asked for all.
  absl::Status Round(Connection& sql, const std::stop_token& stop);

 private:
  struct Sequence {
    uint32_t oid = 0;
    std::string schema;
    std::string name;
  };
  // Of a sequence when it was written; its names as a hash.
  struct Written {
    size_t names = 0;
    int64_t last_value = 0;
    bool is_called = false;

    bool operator==(const Written&) const = default;
  };

  absl::Status ReadAndWrite(Connection& sql, const std::stop_token& stop);
  absl::StatusOr<std::vector<Sequence>> List(Connection& sql, const std::stop_token& stop);
  absl::Status Read(Connection& sql, std::span<const Sequence> batch, const std::stop_token& stop);
  absl::Status ReadOneByOne(Connection& sql, std::span<const Sequence> batch,
                            const std::stop_token& stop);
  void Take(const Sequence& sequence, int64_t last_value, bool is_called);
  absl::Status Write(Connection& sql, const std::stop_token& stop);

  const std::string secret_;
  std::atomic<bool> write_all_ = true;
  std::chrono::steady_clock::time_point next_;
  std::chrono::steady_clock::time_point next_at_once_;
  size_t listed_ = 0;                               // in the last round
  absl::flat_hash_map<uint32_t, Written> written_;  // by oid
  // What is to be written next: the bytes of a `Sequences`, and what they leave in written_.
  std::string pending_;
  std::vector<std::pair<uint32_t, Written>> pending_written_;
  bool unreadable_logged_ = false;
};

}  // namespace pgc
