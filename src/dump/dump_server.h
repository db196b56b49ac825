// Reads rows of one PostgreSQL server, page range by page range, each with its place in the log.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/lsn.h"
#include "event/store.h"

namespace pgc {

struct DumpTable {
  std::string schema;
  std::string table;
  std::string published_schema;  // the name that its changes have
  std::string published_table;
  uint64_t bytes = 0;
};

struct DumpServerOptions {
  std::string url;
  // The log that the rows take a place in: the id of its row in pgcapture.sources.
  std::string topic;
  // Has that log; needed when the server is the source itself, and outlives the DumpServer.
  EventStore* store = nullptr;
  // The url is that of the log's source. A server that is neither this nor in recovery is a replica
  // that a sink keeps.
  bool is_source = false;
  // Changes of a partition have the name of its root.
  bool publishes_via_root = true;
  // Which tables are captured, where that is not all of them.
  std::function<bool(const DumpTable& table)> captures = nullptr;
  // Dumps that are read at once; each has a connection of its own, kept for the next.
  int connections = 4;
  // How long the server may be waited for in a dump with a condition or keys.
  std::chrono::milliseconds statement_timeout{60'000};
};

struct DumpRequest {
  std::string schema;
  std::string table;
  uint32_t page_begin = 0;
  uint32_t page_end = UINT32_MAX;    // included; UINT32_MAX: to the table's end
  Lsn min_lsn;                       // what the rows must show at least
  std::string where;                 // an SQL condition; empty: none
  std::vector<std::string> columns;  // empty: all
  std::vector<std::string> keys;     // rows with these keys only; empty: all
  // Only rows whose xmin is sweep_from or newer.
  bool sweep = false;
  uint64_t sweep_from = 0;
  uint32_t relfilenode = 0;  // that the table must have; 0: any
  // Where the server is the source, rows of a table with values out of line, or without a key, may
  // be placed by their snapshot instead of R, and then min_lsn does not count: see DumpHeader.
  bool place_by_snapshot = false;
  bool generated_columns = false;  // those that changes do not have too
  // A table that a replica or a standby does not have is one without rows and without a name, up to
  // what the server shows.
  bool no_table_is_empty = false;
};

// What is known of a dump before its first row.
struct DumpHeader {
  // Each commit of the log at or below it is visible in the rows (R).
  Lsn applied;
  // No commit above it is visible in them (U). Zero when it does not matter: it is the same, or the
  // table cannot have values out of line and has a key.
  Lsn upper;
  std::string snapshot;  // as pg_current_snapshot() prints it
  // The rows show those transactions of the log that the snapshot sees, also above R, and no other.
  bool by_snapshot = false;
  uint64_t snapshot_xmin = 0;
  uint64_t identity = 0;  // of the server (DumpServer::identity)
  uint32_t relfilenode = 0;
  uint32_t pages = 0;  // of the table
  bool sweep_needed = false;
  bool no_key = false;
  // The name that the table's changes have; empty where there is no table.
  std::string schema;
  std::string table;
  std::string store_position;  // of R, as the replica's sink knows it; empty: not known
};

// Receives a dump; an error ends it, and is what Read returns.
class DumpWriter {
 public:
  virtual ~DumpWriter() = default;
  // Called once, before any row.
  virtual absl::Status Begin(const DumpHeader& header) = 0;
  // Whole rows: each is the field `change` of an AgentDumpResponse (tag, length, Change), so the
  // bytes are those of a message. About 64 KiB, or one row that is larger.
  virtual absl::Status Rows(std::string_view changes, uint64_t count) = 0;
};

// One server that is dumped from: a replica kept by a sink, a physical standby, or the source.
//
// Thread-safe. Read blocks the calling thread until the dump is read or fails.
// Errors: NotFound: no such table, or its name is empty. InvalidArgument: what can never be dumped
// (a view, a foreign or partitioned table, page_begin above page_end, a column or condition that
// the server refuses). FailedPrecondition: the server is behind min_lsn. Aborted: the table has
// another relfilenode. Unavailable: the server is gone, or has no checkpoint of the topic yet, or
// the table is locked. ResourceExhausted: a statement took longer than it may.
class DumpServer {
 public:
  static std::unique_ptr<DumpServer> New(DumpServerOptions options);
  virtual ~DumpServer() = default;

  // All rows are of one snapshot. An empty dump has a header too.
  virtual absl::Status Read(const DumpRequest& request, DumpWriter& out, std::stop_token stop) = 0;

  // Tables that can be dumped, in order of their names: permanent ones that have pages, without
  // those of PostgreSQL and pgcapture.
  virtual absl::StatusOr<std::vector<DumpTable>> Tables(std::stop_token stop) = 0;

  // Whose pages these are: those of two servers with one identity are the same. Of a log's source
  // and of standbys it is the system identifier. A replica may be a copy of another, with that same
  // one, or have its own only by its database, and its pages have changed in their own way since:
  // there the place is mixed in. Known once the server was reached.
  virtual std::optional<uint64_t> identity() const = 0;
  // Dumps being read or waiting for a connection.
  virtual int in_use() const = 0;
};

}  // namespace pgc
