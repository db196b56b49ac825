#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "event/pipeline.h"

namespace pgc {

// The output plugins that can be decoded (docs/pglogical.md).
enum class DecodePlugin : uint8_t { kPgOutput, kPglogical };

struct PostgresSourceOptions {
  std::string url;                       // of the database to capture
  std::string replication_url;           // the same for the walsender; empty: as `url`
  std::string topic = "pgcapture";       // names slot and publication (docs/contract.md, section 3)
  std::vector<std::string> tables;       // schema.table; empty: all
  std::vector<std::string> skip_tables;  // publishes all others; not together with `tables`
  // Changes of a partitioned table have its name, and not the partition's; kPgOutput only.
  bool via_partition_root = true;
  bool replica_identity_full = false;  // gives tables without a usable replica identity one
  bool no_ddl = false;                 // DDL need not be captured
  DecodePlugin decode_plugin = DecodePlugin::kPgOutput;
  // kPglogical sends the tables of these, and takes none of the three choices of tables above.
  std::vector<std::string> replication_sets{"default", "default_insert_only"};
  std::chrono::milliseconds heartbeat_interval{10'000};
  // How often the positions of sequences that have moved are written; kPgOutput only.
  std::chrono::milliseconds sequence_interval{10'000};
  // Where transactions that the server sends while they are in progress wait for their commit;
  // made if missing. Empty: the server keeps each until its commit and sends it whole.
  std::filesystem::path spool_dir;
};

// A PostgreSQL database as an EventSource: makes publication and slot, streams, confirms.
//
// Open checks the server before it changes anything on it. What an operator must mend is
// FailedPrecondition, changes that are gone or unreadable are DataLoss, and all that may pass by
// itself (the server restarts, the connection breaks) is Unavailable.
//
// A transaction that was not acknowledged is sent again to the next source of the same slot; one
// that was is not. While the pipeline's thread is elsewhere, threads of the source's own keep the
// connection alive and write heartbeats and the positions of sequences. The destructor frees the
// slot.
std::unique_ptr<EventSource> NewPostgresSource(PostgresSourceOptions options);

}  // namespace pgc
