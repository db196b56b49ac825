// What the catalog says of a table that is to be dumped.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dump/dump_server.h"
#include "event/lsn.h"
#include "pg/connection.h"

namespace pgc {

// Where the server stood before the snapshot is taken.
struct ServerFacts {
  bool in_recovery = false;
  Lsn replayed;              // in recovery: all before it is applied
  bool has_sources = false;  // there is a table pgcapture.sources
  bool has_table = false;    // that was asked for
};

// Looks for the table, outside of a transaction. InvalidArgument when it can never be dumped.
absl::StatusOr<ServerFacts> FindTable(Connection& sql, const DumpRequest& request,
                                      const std::stop_token& stop);

// Up to where the log was applied to a replica, and where that is in the store.
struct AppliedPlace {
  Lsn applied;
  std::string store_position;
};
// Nothing when nothing was applied.
absl::StatusOr<std::optional<AppliedPlace>> ReadCheckpoint(Connection& sql,
                                                           const DumpServerOptions& options,
                                                           const std::stop_token& stop);

struct TableFacts {
  uint32_t oid = 0;
  uint32_t published_oid = 0;  // of its root, when its changes have that one's name
  std::string published_schema;
  std::string published_table;
  std::string snapshot;
  std::optional<Lsn> checkpoint;  // of the topic
  std::string store_position;     // of the checkpoint
  uint32_t relfilenode = 0;
  uint64_t block_bytes = 0;
  uint64_t pages = 0;
  bool toast = false;
  bool no_key = false;
};

// The first query of the transaction, after the table was locked: it takes the snapshot.
absl::StatusOr<TableFacts> ReadTable(Connection& sql, const DumpServerOptions& options,
                                     const DumpRequest& request, bool has_sources,
                                     const std::stop_token& stop);

struct DumpColumn {
  std::string name;
  uint32_t type_oid = 0;
  bool as_text = false;  // its type has no binary form
};

// The columns that a change of the table has, in its order, or those of them that were asked for.
// InvalidArgument when one that was asked for does not exist.
absl::StatusOr<std::vector<DumpColumn>> ReadColumns(Connection& sql, const TableFacts& table,
                                                    const DumpRequest& request,
                                                    const std::stop_token& stop);

struct KeyColumn {
  std::string name;
  std::string type;  // for a cast
};
// Of the primary key, else of the replica identity. InvalidArgument when there is neither.
absl::StatusOr<std::vector<KeyColumn>> ReadKey(Connection& sql, const TableFacts& table,
                                               const std::stop_token& stop);

// See DumpServer::Tables.
absl::StatusOr<std::vector<DumpTable>> ListTables(Connection& sql, bool publishes_via_root,
                                                  const std::stop_token& stop);

}  // namespace pgc
