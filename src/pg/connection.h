#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// libpq's own types; its header stays in the .cc files.
struct pg_conn;
struct pg_result;

namespace pgc {

// The rows of one statement, as text. Movable; keeps its own memory.
class Result {
 public:
  explicit Result(pg_result* result);

  int rows() const;
  int columns() const;
  uint32_t TypeOid(int column) const;
  bool IsNull(int row, int column) const;
  // Empty for NULL. Valid as long as the result.
  std::string_view Text(int row, int column) const;
  // The number in a column that has one; 0 for NULL.
  int64_t Int(int row, int column) const;
  bool Bool(int row, int column) const { return Text(row, column) == "t"; }

 private:
  struct Clear {
    void operator()(pg_result* result) const;
  };
  std::unique_ptr<pg_result, Clear> result_;
};

struct ConnectionOptions {
  std::string application_name = "pgcapture";
  bool replication = false;                           // a walsender of the URL's database
  std::chrono::milliseconds connect_timeout{10'000};  // of each host of the URL
};

// A session of a PostgreSQL server. Not thread-safe.
//
// Errors carry the server's text and SQLSTATE, never the connection string or the statement's
// values. Unavailable: the server cannot be reached, restarts, or the connection is gone.
// FailedPrecondition: the server refuses (credentials, privileges, a missing object, a setting).
// A statement under way is cancelled when `stop` is requested (Cancelled).
class Connection {
 public:
  using Parameter = std::optional<std::string>;

  // With several hosts in the URL, each is tried in turn, for `connect_timeout`.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& url,
                                                          const ConnectionOptions& options = {},
                                                          std::stop_token stop = {});

  // One statement, with $1, $2, … for the parameters.
  absl::StatusOr<Result> Query(const std::string& sql, std::span<const Parameter> parameters = {},
                               std::stop_token stop = {});

  // The same for a statement of a few that this session has again and again: the server plans it
  // once.
  absl::StatusOr<Result> QueryPrepared(const std::string& sql,
                                       std::span<const Parameter> parameters,
                                       std::stop_token stop = {});

  // Statements separated by `;`, in one transaction unless they say otherwise.
  absl::Status Execute(const std::string& sql, std::stop_token stop = {});

  int server_version() const;  // 150004 is 15.4
  int backend_pid() const;
  bool is_unix_socket() const;
  pg_conn* raw() { return connection_.get(); }

  // The connection's own error as a status; `what` names what was being done.
  absl::Status Error(std::string_view what) const;
  // The error with which the server ended what it was sending; Unavailable when it gave none.
  absl::Status EndError(std::string_view what);

 private:
  struct Finish {
    void operator()(pg_conn* connection) const;
  };
  struct Host {
    std::string name;
    std::string address;
    std::string port;
  };
  explicit Connection(pg_conn* connection) : connection_(connection) {}
  static std::vector<Host> HostsOf(const std::string& url);
  static absl::StatusOr<std::unique_ptr<Connection>> OpenOne(const std::string& url,
                                                             const Host* host,
                                                             const ConnectionOptions& options,
                                                             const std::stop_token& stop);
  absl::StatusOr<Result> Wait(std::string_view what, const std::stop_token& stop);

  std::unique_ptr<pg_conn, Finish> connection_;
  std::map<std::string, std::string> prepared_;  // names by statements
  int last_prepared_ = 0;
};

// `"a""b"`: any text as an identifier.
std::string QuoteIdentifier(std::string_view name);
// `"a"."b"`
std::string QuoteTable(std::string_view schema, std::string_view name);
// `'a''b'`: any text without a NUL as a literal, also in replication commands.
std::string QuoteLiteral(std::string_view text);
// `{"a","b"}`: the value of a parameter of an array type.
std::string ArrayOf(std::span<const std::string> texts);

// What the server says in a result that is an error; Unavailable when it has no SQLSTATE.
absl::Status StatusOfResult(const pg_result* result, std::string_view what);
// The SQLSTATE that the server gave with an error; empty when it came from elsewhere.
std::string SqlStateOf(const absl::Status& status);

// What an error with this SQLSTATE means for the caller; exposed for tests.
absl::StatusCode CodeOfSqlState(std::string_view sqlstate);
// The status of what libpq says, verbosely, about a connection that failed; exposed for tests.
absl::Status StatusOfConnectError(std::string_view message);

}  // namespace pgc
