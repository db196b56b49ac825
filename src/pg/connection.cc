#include "pg/connection.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "absl/strings/cord.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

// How often a wait looks at its stop token.
constexpr int kStopCheckMs = 50;
constexpr char kSqlStatePayload[] = "pgcapture.sqlstate";

std::string Trimmed(const char* message) {
  std::string text = message == nullptr ? "" : message;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// Waits until the socket is ready for `events`. False when stopped or past the deadline.
bool WaitSocket(PGconn* connection, short events, const std::stop_token& stop,
                Clock::time_point deadline) {
  while (!stop.stop_requested() && Clock::now() < deadline) {
    pollfd fd{.fd = PQsocket(connection), .events = events, .revents = 0};
    if (poll(&fd, 1, kStopCheckMs) != 0) return true;
  }
  return false;
}

// What libpq itself says when trying again cannot help; it has no SQLSTATE for these.
constexpr const char* kFinalTexts[] = {"no password supplied",
                                       "invalid connection option",
                                       "invalid port",
                                       "invalid sslmode",
                                       "could not translate host name",
                                       "invalid integer value",
                                       "does not support SSL",
                                       "certificate verify failed",
                                       "does not match host name",
                                       "root certificate file",
                                       "authentication method",
                                       "requires a password",
                                       "invalid URI",
                                       "missing \"=\" after",
                                       "invalid percent-encoded token",
                                       "unexpected character",
                                       "session is not read-write",
                                       "could not load",
                                       "definition of service file",
                                       "service file",
                                       "Unix-domain socket path",
                                       "password file",
                                       "expected authentication request"};

// The SQLSTATE in a verbose line like `… failed: FATAL:  28P01: password …`; empty when none.
std::string_view SqlStateIn(std::string_view line) {
  for (size_t at = line.find(":  "); at != std::string_view::npos; at = line.find(":  ", at + 1)) {
    const std::string_view rest = line.substr(at + 3);
    if (rest.size() > 7 && rest.substr(5, 2) == ": " &&
        std::all_of(rest.begin(), rest.begin() + 5,
                    [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); })) {
      return rest.substr(0, 5);
    }
  }
  return {};
}

absl::Status WithSqlState(absl::Status status, std::string_view sqlstate) {
  status.SetPayload(kSqlStatePayload, absl::Cord(std::string(sqlstate)));
  return status;
}

struct ConninfoFree {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

// At each comma; nothing of nothing.
std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; !text.empty() && begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

struct CancelDelete {
  void operator()(PGcancel* cancel) const { PQfreeCancel(cancel); }
};

std::vector<const char*> ValuesOf(std::span<const Connection::Parameter> parameters) {
  std::vector<const char*> values;
  values.reserve(parameters.size());
  for (const Connection::Parameter& parameter : parameters) {
    values.push_back(parameter.has_value() ? parameter->c_str() : nullptr);
  }
  return values;
}

// Its first two words.
std::string NameOf(const std::string& sql) {
  return sql.substr(0, sql.find_first_of(" \n", sql.find(' ') + 1));
}

}  // namespace

absl::Status StatusOfResult(const PGresult* result, std::string_view what) {
  const char* const state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* const primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  if (state == nullptr || std::strlen(state) != 5) {
    return absl::UnavailableError(
        fmt::format("{}: {}", what, Trimmed(PQresultErrorMessage(result))));
  }
  const char* const hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
  return WithSqlState(
      absl::Status(CodeOfSqlState(state),
                   fmt::format("{}: {} (SQLSTATE {}){}{}", what, primary == nullptr ? "?" : primary,
                               state, hint == nullptr ? "" : "; ", hint == nullptr ? "" : hint)),
      state);
}

std::string SqlStateOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kSqlStatePayload);
  return payload.has_value() ? std::string(*payload) : std::string();
}

// libpq gives no result, and so no SQLSTATE field, for a connection that was refused. Asked to be
// verbose it writes the SQLSTATE into its message, which holds whatever the server's language.
absl::Status StatusOfConnectError(std::string_view message) {
  std::string text;
  std::string state;
  bool retry = false;
  for (size_t begin = 0; begin < message.size();) {
    const size_t end = std::min(message.find('\n', begin), message.size());
    std::string_view line = message.substr(begin, end - begin);
    begin = end + 1;
    if (line.empty() || line.starts_with("LOCATION:")) continue;
    if (!text.empty()) text += "; ";
    const std::string_view found = SqlStateIn(line);
    if (found.empty()) {
      text += line;
      const bool final = std::any_of(
          std::begin(kFinalTexts), std::end(kFinalTexts),
          [line](const char* known) { return line.find(known) != std::string_view::npos; });
      // Only lines that begin an attempt count: others explain the one before.
      if (final ? line.find("Temporary failure") != std::string_view::npos
                : line.starts_with("connection to server")) {
        retry = true;
      }
      continue;
    }
    state = found;
    if (CodeOfSqlState(found) == absl::StatusCode::kUnavailable) retry = true;
    const size_t at = static_cast<size_t>(found.data() - line.data());
    text += line.substr(0, at);
    text += line.substr(at + 7);
  }
  absl::Status status(
      retry ? absl::StatusCode::kUnavailable : absl::StatusCode::kFailedPrecondition,
      fmt::format("cannot connect to PostgreSQL: {}", text));
  return state.empty() ? status : WithSqlState(std::move(status), state);
}

absl::StatusCode CodeOfSqlState(std::string_view sqlstate) {
  const std::string_view group = sqlstate.substr(0, 2);
  // 08 connection, 40 serialization and deadlock, 53 resources but for 53400, a limit in the
  // configuration, 57 shutdown, start-up and cancels that were not ours, 55P03 lock not available.
  if (group == "08" || group == "40" || (group == "53" && sqlstate != "53400") || group == "57" ||
      sqlstate == "55P03") {
    return absl::StatusCode::kUnavailable;
  }
  return absl::StatusCode::kFailedPrecondition;
}

void Result::Clear::operator()(pg_result* result) const { PQclear(result); }
Result::Result(pg_result* result) : result_(result) {}
int Result::rows() const { return PQntuples(result_.get()); }
int Result::columns() const { return PQnfields(result_.get()); }
uint32_t Result::TypeOid(int column) const { return PQftype(result_.get(), column); }
bool Result::IsNull(int row, int column) const {
  return PQgetisnull(result_.get(), row, column) != 0;
}
std::string_view Result::Text(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column),
          static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}
int64_t Result::Int(int row, int column) const {
  const std::string_view text = Text(row, column);
  int64_t value = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

void Connection::Finish::operator()(pg_conn* connection) const { PQfinish(connection); }

// The hosts of a URL with several, each with its port; empty for any other. libpq has no timeout
// for each of them where it does not block, and a machine that is gone does not refuse.
std::vector<Connection::Host> Connection::HostsOf(const std::string& url) {
  const std::unique_ptr<PQconninfoOption, ConninfoFree> all(PQconninfoParse(url.c_str(), nullptr));
  std::vector<std::string> names;
  std::vector<std::string> addresses;
  std::vector<std::string> ports;
  for (const PQconninfoOption* at = all.get(); at != nullptr && at->keyword != nullptr; ++at) {
    if (at->val == nullptr) continue;
    const std::string_view keyword = at->keyword;
    if (keyword == "host") names = Split(at->val);
    if (keyword == "hostaddr") addresses = Split(at->val);
    if (keyword == "port") ports = Split(at->val);
  }
  const size_t count = std::max(names.size(), addresses.size());
  const auto fits = [count](const std::vector<std::string>& list, size_t one) {
    return list.size() <= one || list.size() == count;
  };
  const auto whole = [](const std::vector<std::string>& list) {
    return std::find(list.begin(), list.end(), "") == list.end();
  };
  // What does not fit together, or has gaps, is for libpq.
  if (count < 2 || !fits(names, 0) || !fits(addresses, 0) || !fits(ports, 1) || !whole(names) ||
      !whole(addresses) || !whole(ports)) {
    return {};
  }
  std::vector<Host> hosts(count);
  for (size_t i = 0; i < count; ++i) {
    if (!names.empty()) hosts[i].name = names[i];
    if (!addresses.empty()) hosts[i].address = addresses[i];
    if (!ports.empty()) hosts[i].port = ports.size() == 1 ? ports[0] : ports[i];
  }
  return hosts;
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const std::string& url,
                                                             const ConnectionOptions& options,
                                                             std::stop_token stop) {
  const std::vector<Host> hosts = HostsOf(url);
  if (hosts.empty()) return OpenOne(url, nullptr, options, stop);
  absl::StatusCode code = absl::StatusCode::kFailedPrecondition;
  std::string messages;
  for (const Host& host : hosts) {
    auto connection = OpenOne(url, &host, options, stop);
    // A server that refuses is the one that was meant; one that cannot be used now may be not.
    if (connection.ok() || absl::IsCancelled(connection.status()) ||
        (absl::IsFailedPrecondition(connection.status()) &&
         !SqlStateOf(connection.status()).empty())) {
      return connection;
    }
    if (absl::IsUnavailable(connection.status())) code = absl::StatusCode::kUnavailable;
    messages += (messages.empty() ? "" : "; ") + std::string(connection.status().message());
  }
  return absl::Status(code, messages);
}

// `host`: of those of the URL, the one to try; nullptr when it has only one.
absl::StatusOr<std::unique_ptr<Connection>> Connection::OpenOne(const std::string& url,
                                                                const Host* host,
                                                                const ConnectionOptions& options,
                                                                const std::stop_token& stop) {
  std::vector<const char*> names;
  std::vector<const char*> values;
  const auto set = [&](const char* name, const char* value) {
    names.push_back(name);
    values.push_back(value);
  };
  // Before the URL, whose own settings win. A peer that is gone without a word is found within
  // half a minute.
  set("fallback_application_name", options.application_name.c_str());
  set("keepalives_idle", "10");
  set("keepalives_interval", "5");
  set("keepalives_count", "4");
  set("tcp_user_timeout", "30000");
  set("dbname", url.c_str());
  if (host != nullptr) {
    set("host", host->name.c_str());
    set("hostaddr", host->address.c_str());
    set("port", host->port.c_str());
  }
  if (options.replication) set("replication", "database");
  names.push_back(nullptr);
  values.push_back(nullptr);
  std::unique_ptr<Connection> connection(
      new Connection(PQconnectStartParams(names.data(), values.data(), 1)));
  PGconn* const raw = connection->raw();
  if (raw == nullptr) return absl::ResourceExhaustedError("out of memory");
  (void)PQsetErrorVerbosity(raw, PQERRORS_VERBOSE);
  // libpq would write notices to stderr, between the lines of the log.
  (void)PQsetNoticeReceiver(
      raw, [](void*, const PGresult*) {}, nullptr);
  const auto deadline = Clock::now() + options.connect_timeout;
  for (PostgresPollingStatusType next = PGRES_POLLING_WRITING;
       PQstatus(raw) != CONNECTION_BAD && next != PGRES_POLLING_OK; next = PQconnectPoll(raw)) {
    if (next == PGRES_POLLING_FAILED) break;
    if (!WaitSocket(raw, next == PGRES_POLLING_READING ? POLLIN : POLLOUT, stop, deadline)) {
      if (stop.stop_requested()) return absl::CancelledError("stopped");
      return absl::UnavailableError(
          fmt::format("cannot connect to PostgreSQL at {}:{}: timeout", PQhost(raw), PQport(raw)));
    }
  }
  if (PQstatus(raw) != CONNECTION_OK) {
    return StatusOfConnectError(Trimmed(PQerrorMessage(raw)));
  }
  (void)PQsetErrorVerbosity(raw, PQERRORS_DEFAULT);
  return connection;
}

absl::StatusOr<Result> Connection::Wait(std::string_view what, const std::stop_token& stop) {
  PGconn* const raw = connection_.get();
  bool cancelled = false;
  std::optional<Result> last;
  absl::Status failed;
  while (true) {
    while (PQisBusy(raw) != 0) {
      // After a cancel the server's answer is waited for, but not for ever.
      const auto deadline = Clock::now() + std::chrono::seconds(cancelled ? 5 : 3600 * 24);
      if (!WaitSocket(raw, POLLIN, cancelled ? std::stop_token() : stop, deadline)) {
        if (cancelled) return absl::CancelledError("stopped");
        cancelled = true;
        const std::unique_ptr<PGcancel, CancelDelete> cancel(PQgetCancel(raw));
        char ignored[256];
        (void)PQcancel(cancel.get(), ignored, sizeof ignored);
        continue;
      }
      if (PQconsumeInput(raw) == 0) return Error(what);
    }
    PGresult* const result = PQgetResult(raw);
    if (result == nullptr) break;
    Result owned(result);
    switch (PQresultStatus(result)) {
      case PGRES_COMMAND_OK:
      case PGRES_TUPLES_OK:
        break;
      case PGRES_COPY_BOTH:
        return owned;
      default:
        if (failed.ok()) failed = StatusOfResult(result, what);
    }
    last.emplace(std::move(owned));
  }
  if (cancelled) return absl::CancelledError("stopped");
  if (!failed.ok()) return failed;
  if (!last.has_value()) return Error(what);
  return *std::move(last);
}

absl::StatusOr<Result> Connection::Query(const std::string& sql,
                                         std::span<const Parameter> parameters,
                                         std::stop_token stop) {
  const std::vector<const char*> values = ValuesOf(parameters);
  // A walsender takes the simple protocol only.
  const int sent = parameters.empty()
                       ? PQsendQuery(raw(), sql.c_str())
                       : PQsendQueryParams(raw(), sql.c_str(), static_cast<int>(values.size()),
                                           nullptr, values.data(), nullptr, nullptr, 0);
  if (sent == 0) return Error(NameOf(sql));
  return Wait(NameOf(sql), stop);
}

absl::StatusOr<Result> Connection::QueryPrepared(const std::string& sql,
                                                 std::span<const Parameter> parameters,
                                                 std::stop_token stop) {
  auto found = prepared_.find(sql);
  if (found == prepared_.end()) {
    const std::string name = fmt::format("pgcapture_{}", ++last_prepared_);
    if (PQsendPrepare(raw(), name.c_str(), sql.c_str(), 0, nullptr) == 0) return Error(NameOf(sql));
    const absl::StatusOr<Result> done = Wait(NameOf(sql), stop);
    if (!done.ok()) return done.status();
    found = prepared_.emplace(sql, name).first;
  }
  const std::vector<const char*> values = ValuesOf(parameters);
  if (PQsendQueryPrepared(raw(), found->second.c_str(), static_cast<int>(values.size()),
                          values.data(), nullptr, nullptr, 0) == 0) {
    return Error(NameOf(sql));
  }
  absl::StatusOr<Result> result = Wait(NameOf(sql), stop);
  // It may be gone, or have results of other types by now: the next time it is prepared anew.
  if (!result.ok()) prepared_.erase(found);
  return result;
}

absl::Status Connection::Execute(const std::string& sql, std::stop_token stop) {
  return Query(sql, {}, std::move(stop)).status();
}

int Connection::server_version() const { return PQserverVersion(connection_.get()); }
int Connection::backend_pid() const { return PQbackendPID(connection_.get()); }
bool Connection::is_unix_socket() const {
  const char* const host = PQhost(connection_.get());
  return host != nullptr && (host[0] == '/' || host[0] == '@');
}

absl::Status Connection::Error(std::string_view what) const {
  return absl::UnavailableError(
      fmt::format("{}: {}", what, Trimmed(PQerrorMessage(connection_.get()))));
}

absl::Status Connection::EndError(std::string_view what) {
  PGresult* const raw_result = PQgetResult(connection_.get());
  const Result owned(raw_result);
  if (PQresultStatus(raw_result) == PGRES_FATAL_ERROR) return StatusOfResult(raw_result, what);
  return absl::UnavailableError(std::string(what));
}

std::string QuoteIdentifier(std::string_view name) {
  std::string quoted = "\"";
  for (const char c : name) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + "\"";
}

std::string QuoteTable(std::string_view schema, std::string_view name) {
  return QuoteIdentifier(schema) + "." + QuoteIdentifier(name);
}

std::string ArrayOf(std::span<const std::string> texts) {
  std::string array = "{";
  for (const std::string& text : texts) {
    if (array.size() > 1) array += ',';
    array += '"';
    for (const char c : text) {
      if (c == '"' || c == '\\') array += '\\';
      array += c;
    }
    array += '"';
  }
  return array + "}";
}

std::string QuoteLiteral(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') quoted += '\'';
    quoted += c;
  }
  return quoted + "'";
}

}  // namespace pgc
