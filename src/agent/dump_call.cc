#include "agent/dump_call.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "rpc/grpc_status.h"

namespace pgc {
namespace {

absl::Status WentAway() { return absl::CancelledError("the peer went away"); }

absl::Status NotTheServer(uint64_t is, uint64_t wanted) {
  return absl::UnavailableError(fmt::format("a server is {}, not {}", is, wanted));
}

}  // namespace

void StreamDumpCall::Start(AgentDump dump) {
  dump_ = std::move(dump);
  server = dump_.server;
  self_ = shared_from_this();
  pool_.Submit(self_);
}

void StreamDumpCall::Refuse(const absl::Status& status) {
  self_ = shared_from_this();
  MutexLock lock(mutex_);
  EndWith(status);
}

void StreamDumpCall::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  writing_ = false;
  reply_.Clear();
  if (!chunks_.empty() && chunks_.front().sent == chunks_.front().bytes.size()) {
    in_flight_ -= chunks_.front().bytes.size();
    chunks_.pop_front();
    changed_.NotifyAll();
  }
  if (!ok) EndWith(WentAway());
  Pump();
}

void StreamDumpCall::OnCancel() {
  {
    MutexLock lock(mutex_);
    EndWith(WentAway());
  }
  pool_.Cancel(*this);
}

void StreamDumpCall::OnDone() { const auto last = std::move(self_); }

absl::Status StreamDumpCall::RunOn(DumpServer& dump_server, std::stop_token stop) {
  stop_ = stop;
  return dump_server.Read(dump_.request, *this, std::move(stop));
}

bool StreamDumpCall::may_begin_anew() const {
  MutexLock lock(mutex_);
  return !begun_;
}

absl::Status StreamDumpCall::Begin(const DumpHeader& header) {
  if (server.has_value() && header.identity != *server) {
    return NotTheServer(header.identity, *server);
  }
  head_ = framing_ == Framing::kPages ? ToProto(header).SerializeAsString() : "";
  return absl::OkStatus();
}

absl::Status StreamDumpCall::Rows(std::string_view changes, uint64_t /*count*/) {
  const auto deadline = std::chrono::steady_clock::now() + limits_.stall_timeout;
  MutexLock lock(mutex_);
  const size_t size = head_.size() + changes.size();
  const bool room = changed_.WaitUntil(mutex_, stop_, deadline, [&]() PGC_REQUIRES(mutex_) {
    return ended_.has_value() || in_flight_ == 0 || in_flight_ + size <= limits_.bytes_in_flight;
  });
  if (ended_.has_value() || stop_.stop_requested()) return WentAway();
  if (!room) {
    EndWith(absl::ResourceExhaustedError(fmt::format(
        "the dump's rows were not taken for {} s, and its snapshot cannot be held for "
        "ever",
        std::chrono::duration_cast<std::chrono::seconds>(limits_.stall_timeout).count())));
    return *ended_;
  }
  Enqueue(head_, changes);
  head_.clear();
  Pump();
  return absl::OkStatus();
}

void StreamDumpCall::Done(absl::Status status) {
  MutexLock lock(mutex_);
  if (ended_.has_value()) return;
  if (!status.ok()) {
    EndWith(status);
    return;
  }
  if (framing_ == Framing::kPages) {
    pb::AgentDumpResponse last;
    last.set_last(true);
    Enqueue(head_, last.SerializeAsString());
  }
  ended_ = absl::OkStatus();
  Pump();
}

void StreamDumpCall::Enqueue(std::string_view head, std::string_view rows) {
  if (head.empty() && rows.empty()) return;
  // Fields may follow one another in any order: a message is its parts one behind the other.
  grpc_slice bytes = grpc_slice_malloc(head.size() + rows.size());
  uint8_t* const out = GRPC_SLICE_START_PTR(bytes);
  if (!head.empty()) std::memcpy(out, head.data(), head.size());
  if (!rows.empty()) std::memcpy(out + head.size(), rows.data(), rows.size());
  in_flight_ += head.size() + rows.size();
  chunks_.push_back({.bytes = grpc::Slice(bytes, grpc::Slice::STEAL_REF)});
  begun_ = true;
}

// Goes on with what waits, or ends the call after it.
void StreamDumpCall::Pump() {
  if (writing_ || finished_) return;
  if (!chunks_.empty()) {
    const absl::Status taken = TakeMessage();
    if (taken.ok()) {
      writing_ = true;
      StartWrite(&reply_);
      return;
    }
    EndWith(taken);
  }
  if (ended_.has_value() && !finished_) {
    finished_ = true;
    Finish(ToGrpc(*ended_));
  }
}

// The next message, into reply_.
absl::Status StreamDumpCall::TakeMessage() {
  Chunk& chunk = chunks_.front();
  size_t end = chunk.bytes.size();
  if (framing_ == Framing::kRows) {
    const std::string_view rest(reinterpret_cast<const char*>(chunk.bytes.begin()) + chunk.sent,
                                chunk.bytes.size() - chunk.sent);
    size_t prefix = 0;
    const auto change = FirstChange(rest, &prefix);
    if (!change.has_value()) return absl::InternalError("what was read is no row");
    chunk.sent += prefix;
    end = chunk.sent + change->size();
  }
  const grpc::Slice message = chunk.bytes.sub(chunk.sent, end);
  chunk.sent = end;
  reply_ = grpc::ByteBuffer(&message, 1);
  return absl::OkStatus();
}

// Ends the call, without what waits.
void StreamDumpCall::EndWith(const absl::Status& status) {
  if (finished_ || (ended_.has_value() && !ended_->ok())) return;
  ended_ = status;
  // The one that is being written is gone for good; OnWriteDone finds no chunk.
  chunks_.clear();
  in_flight_ = 0;
  changed_.NotifyAll();
  if (writing_) return;
  finished_ = true;
  Finish(ToGrpc(status));
}

void UnaryDumpCall::Start() {
  self_ = shared_from_this();
  pool_.Submit(self_);
}

void UnaryDumpCall::Refuse(const absl::Status& status) {
  self_ = shared_from_this();
  MutexLock lock(mutex_);
  EndWith(status);
}

void UnaryDumpCall::OnCancel() {
  {
    MutexLock lock(mutex_);
    EndWith(WentAway());
  }
  pool_.Cancel(*this);
}

void UnaryDumpCall::OnDone() { const auto last = std::move(self_); }

void UnaryDumpCall::Done(absl::Status status) {
  MutexLock lock(mutex_);
  EndWith(status);
}

void UnaryDumpCall::EndWith(const absl::Status& status) {
  if (std::exchange(finished_, true)) return;
  if (status.ok()) Answer();
  Finish(ToGrpc(status));
}

DumpCall::DumpCall(DumpPool& pool, size_t max_bytes, AgentDump dump, grpc::ByteBuffer& response)
    : UnaryDumpCall(pool), max_bytes_(max_bytes), dump_(std::move(dump)), response_(response) {
  server = dump_.server;
}

absl::Status DumpCall::RunOn(DumpServer& dump_server, std::stop_token stop) {
  rows_.clear();
  bytes_ = 0;
  return dump_server.Read(dump_.request, *this, std::move(stop));
}

absl::Status DumpCall::Begin(const DumpHeader& header) {
  if (server.has_value() && header.identity != *server) {
    return NotTheServer(header.identity, *server);
  }
  return absl::OkStatus();
}

absl::Status DumpCall::Rows(std::string_view changes, uint64_t /*count*/) {
  bytes_ += changes.size();
  if (bytes_ > max_bytes_) {
    return absl::ResourceExhaustedError(
        fmt::format("the rows of these pages are more than {} bytes, the most that Dump answers: "
                    "ask for them by StreamDump, or for fewer pages",
                    max_bytes_));
  }
  rows_.emplace_back(changes.data(), changes.size());
  return absl::OkStatus();
}

void DumpCall::Answer() { response_ = grpc::ByteBuffer(rows_.data(), rows_.size()); }

absl::Status ListTablesCall::RunOn(DumpServer& dump_server, std::stop_token stop) {
  PGC_ASSIGN_OR_RETURN(tables_, dump_server.Tables(std::move(stop)));
  return absl::OkStatus();
}

void ListTablesCall::Answer() {
  for (const DumpTable& table : tables_) {
    pb::ListTablesResponse::Table& answer = *response_.add_tables();
    answer.set_schema(table.schema);
    answer.set_table(table.table);
    answer.set_published_schema(table.published_schema);
    answer.set_published_table(table.published_table);
    answer.set_bytes(table.bytes);
  }
}

}  // namespace pgc
