#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "decode/event_decoder.h"
#include "pg/connection.h"
#include "source/postgres_source.h"

namespace pgc {

// What capture does differently for each of the plugins that write the server's stream. Not
// thread-safe, but for Watch, which one other thread may call.
class OutputPlugin {
 public:
  virtual ~OutputPlugin() = default;

  virtual std::string_view name() const = 0;
  // Whether it can send transactions in pieces while they are in progress.
  virtual bool sends_pieces() const = 0;
  // Whether it sends what pg_logical_emit_message writes.
  virtual bool sends_logical_messages() const = 0;

  // FailedPrecondition, with the way out, when the server is not set up for it. Changes nothing.
  virtual absl::Status Check(Connection& sql, const std::stop_token& stop) = 0;
  // The error when a log that has something cannot go on.
  virtual absl::Status CheckGoesOn(Connection& sql, const std::stop_token& stop) = 0;
  // Makes what it reads its choice of tables from.
  virtual absl::Status Prepare(Connection& sql, const std::stop_token& stop) = 0;
  // Warns of tables that it does not send, or not whole. FailedPrecondition of ours, without an
  // SQLSTATE, when it can send nothing any more.
  virtual absl::Status Watch(Connection& sql, const std::stop_token& stop) = 0;

  // The options of START_REPLICATION.
  virtual std::string StartOptions(int server_version, bool in_pieces) const = 0;
  // For one stream; what it waits for ends with `stop`.
  virtual std::unique_ptr<EventDecoder> NewDecoder(std::stop_token stop) const = 0;
};

// As PostgreSQL knows it.
std::string_view PluginName(DecodePlugin plugin);

// `slot` names the slot and, for pgoutput, the publication. FailedPrecondition when the options do
// not go together.
absl::StatusOr<std::unique_ptr<OutputPlugin>> NewOutputPlugin(const PostgresSourceOptions& options,
                                                              const std::string& slot);

}  // namespace pgc
