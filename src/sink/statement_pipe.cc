#include "sink/statement_pipe.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include <charconv>
#include <memory>
#include <utility>

#include "base/status_macros.h"

namespace pgc {
namespace {

constexpr int kStopCheckMs = 50;

struct Clear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using OwnedResult = std::unique_ptr<PGresult, Clear>;

int64_t RowsOf(const PGresult* result) {
  const std::string_view text = PQcmdTuples(const_cast<PGresult*>(result));
  int64_t rows = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), rows);
  return rows;
}

}  // namespace

absl::Status StatementPipe::Start() {
  if (piping_) return absl::OkStatus();
  PGconn* const raw = connection_.raw();
  if (PQsetnonblocking(raw, 1) != 0 || PQenterPipelineMode(raw) != 1) {
    return connection_.Error("entering pipeline mode");
  }
  piping_ = true;
  return absl::OkStatus();
}

absl::Status StatementPipe::Wait(short events) {
  while (!stop_.stop_requested()) {
    pollfd fd{.fd = PQsocket(connection_.raw()), .events = events, .revents = 0};
    if (poll(&fd, 1, kStopCheckMs) == 0) continue;
    // The server does not read while it cannot write.
    if ((fd.revents & ~POLLOUT) != 0 && PQconsumeInput(connection_.raw()) == 0) {
      return connection_.Error("applying changes");
    }
    return absl::OkStatus();
  }
  return absl::CancelledError("stopped");
}

absl::Status StatementPipe::Flush() {
  while (true) {
    const int left = PQflush(connection_.raw());
    if (left == 0) return absl::OkStatus();
    if (left < 0) return connection_.Error("applying changes");
    PGC_RETURN_IF_ERROR(Wait(POLLIN | POLLOUT));
  }
}

absl::Status StatementPipe::Send(const std::string& sql, std::span<const Parameter> parameters,
                                 int64_t rows, uint64_t tag) {
  PGC_RETURN_IF_ERROR(Start());
  PGconn* const raw = connection_.raw();
  const auto count = static_cast<int>(parameters.size());
  key_.assign(sql);
  for (const Parameter& parameter : parameters) {
    key_ += '\0';
    key_ += std::to_string(parameter.type);
  }
  auto name = names_.find(key_);
  if (name == names_.end()) {
    std::vector<Oid> types;
    for (const Parameter& parameter : parameters) types.push_back(parameter.type);
    name = names_.emplace(key_, fmt::format("pgc{}", next_name_++)).first;
    if (PQsendPrepare(raw, name->second.c_str(), sql.c_str(), count, types.data()) != 1) {
      return connection_.Error("preparing a statement");
    }
    sent_.push_back({.is_prepare = true, .tag = tag, .sql = key_});
  }
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
  values.reserve(parameters.size());
  lengths.reserve(parameters.size());
  formats.reserve(parameters.size());
  // A value in text ends where its NUL byte is; views have none.
  std::deque<std::string> texts;
  for (const Parameter& parameter : parameters) {
    const char* bytes = parameter.bytes.data() == nullptr ? "" : parameter.bytes.data();
    if (parameter.is_text) bytes = texts.emplace_back(parameter.bytes).c_str();
    values.push_back(parameter.is_null ? nullptr : bytes);
    lengths.push_back(static_cast<int>(parameter.bytes.size()));
    // Asked to read a NULL in binary, a type that has no binary form refuses.
    formats.push_back(parameter.is_text || parameter.is_null ? 0 : 1);
  }
  if (PQsendQueryPrepared(raw, name->second.c_str(), count, values.data(), lengths.data(),
                          formats.data(), 1) != 1) {
    return connection_.Error("sending a statement");
  }
  sent_.push_back({.rows = rows, .tag = tag});
  return Flush();
}

StatementPipe::Outcome StatementPipe::Finish() {
  Outcome outcome;
  if (!piping_) return outcome;
  PGconn* const raw = connection_.raw();
  const auto fail = [&outcome](absl::Status status) {
    outcome.status = std::move(status);
    return outcome;
  };
  if (PQpipelineSync(raw) != 1) return fail(connection_.Error("applying changes"));
  if (absl::Status status = Flush(); !status.ok()) return fail(std::move(status));
  while (true) {
    while (PQisBusy(raw) != 0) {
      if (absl::Status status = Wait(POLLIN); !status.ok()) return fail(std::move(status));
    }
    const OwnedResult result(PQgetResult(raw));
    if (result == nullptr) {
      if (PQstatus(raw) != CONNECTION_OK) return fail(connection_.Error("applying changes"));
      continue;  // between the answers of two statements
    }
    const ExecStatusType kind = PQresultStatus(result.get());
    if (kind == PGRES_PIPELINE_SYNC) break;
    const Sent sent = sent_.empty() ? Sent{} : std::move(sent_.front());
    if (!sent_.empty()) sent_.pop_front();
    if (kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK) {
      if (sent.is_prepare) continue;
      outcome.rows = RowsOf(result.get());
      if (sent.rows != kAnyRows && outcome.rows != sent.rows && outcome.status.ok()) {
        outcome.status = absl::AbortedError(
            fmt::format("{} rows were found instead of {}", outcome.rows, sent.rows));
        outcome.tag = sent.tag;
        outcome.wrong_rows = true;
      }
      continue;
    }
    if (sent.is_prepare) names_.erase(sent.sql);
    if (kind == PGRES_PIPELINE_ABORTED || !outcome.status.ok()) continue;
    outcome.status = StatusOfResult(result.get(), "applying changes");
    outcome.tag = sent.tag;
    if (absl::IsUnavailable(outcome.status) && PQstatus(raw) != CONNECTION_OK) return outcome;
  }
  sent_.clear();
  if (PQexitPipelineMode(raw) != 1) return fail(connection_.Error("leaving pipeline mode"));
  (void)PQsetnonblocking(raw, 0);
  piping_ = false;
  return outcome;
}

absl::Status StatementPipe::Forget() {
  if (names_.empty()) return absl::OkStatus();
  names_.clear();
  return connection_.Execute("DEALLOCATE ALL", stop_);
}

}  // namespace pgc
