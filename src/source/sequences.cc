#include "source/sequences.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <random>
#include <utility>

#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "decode/event_decoder.h"
#include "event/encoder.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

// Planning takes the square of it: 16 us a sequence here, three times that with 250. It is also
// what a statement locks at once.
constexpr size_t kBatch = 50;
// Of a message; a sequence can have twice 63 bytes of names, more in other encodings.
constexpr size_t kMessageBytes = 64 << 10;
// A round may take a twentieth of the time.
constexpr int kRestPerRound = 19;
constexpr std::chrono::milliseconds kLeastRest{50};
constexpr size_t kFewSequences = 1'000;

constexpr char kLockNotAvailable[] = "55P03";

// Whoever holds this lock may be about to drop or rename it, and would be waited for.
constexpr char kList[] =
    "SELECT c.oid, n.nspname, c.relname,"
    " pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
    "  AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT')"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname <> 'pgcapture'"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'relation'"
    "  AND l.mode = 'AccessExclusiveLock' AND l.relation = c.oid AND l.database ="
    "  (SELECT d.oid FROM pg_catalog.pg_database d"
    "   WHERE d.datname = pg_catalog.current_database()))";

// The heartbeat behind it: before PostgreSQL 17 nothing else flushes the message at once.
constexpr char kWrite[] =
    "SELECT pg_catalog.pg_logical_emit_message(false, 'pgcapture.sequences', $1::bytea),"
    " pg_catalog.pg_logical_emit_message(true, 'pgcapture.heartbeat', '')";

std::string MakeSecret() {
  std::random_device random;
  std::string secret;
  while (secret.size() < EventDecoder::kSequencesSecretBytes) {
    secret += static_cast<char>(random() & 0xFF);
  }
  return secret;
}

std::string Hex(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex = "\\x";
  hex.reserve(2 + 2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 0xF];
  }
  return hex;
}

// What may happen to a sequence between being listed and being read: dropped, renamed, replaced,
// locked, taken away from the role.
bool IsOfOneSequence(const absl::Status& status) {
  const std::string state = SqlStateOf(status);
  for (const char* expected :
       {"42P01", "3F000", "42703", "42809", "42501", "55000", kLockNotAvailable}) {
    if (state == expected) return true;
  }
  return false;
}

}  // namespace

Sequences::Sequences() : secret_(MakeSecret()) {}

absl::Status Sequences::Round(Connection& sql, const std::stop_token& stop) {
  if (!write_all_ && Clock::now() < next_) return absl::OkStatus();
  // Whoever asks all the time gets half of it.
  PauseUntil(next_at_once_, stop);
  // Forgets what was written; the oids of sequences that are gone must not fill the memory either.
  if (write_all_.exchange(false) || written_.size() > 2 * listed_ + kFewSequences) written_.clear();
  const Clock::time_point begun = Clock::now();
  PGC_RETURN_IF_ERROR(ReadAndWrite(sql, stop));
  const Clock::time_point now = Clock::now();
  next_at_once_ = now + (now - begun) + kLeastRest;
  next_ = now + kRestPerRound * (now - begun);
  return absl::OkStatus();
}

absl::Status Sequences::ReadAndWrite(Connection& sql, const std::stop_token& stop) {
  pending_.clear();
  pending_written_.clear();
  PGC_ASSIGN_OR_RETURN(const std::vector<Sequence> sequences, List(sql, stop));
  for (size_t at = 0; at < sequences.size(); at += kBatch) {
    const auto batch = std::span(sequences).subspan(at, std::min(kBatch, sequences.size() - at));
    absl::Status status = Read(sql, batch, stop);
    if (IsOfOneSequence(status)) status = ReadOneByOne(sql, batch, stop);
    PGC_RETURN_IF_ERROR(status);
    if (pending_.size() >= kMessageBytes) PGC_RETURN_IF_ERROR(Write(sql, stop));
  }
  if (!pending_.empty()) PGC_RETURN_IF_ERROR(Write(sql, stop));
  return absl::OkStatus();
}

absl::Status Sequences::ReadOneByOne(Connection& sql, std::span<const Sequence> batch,
                                     const std::stop_token& stop) {
  for (size_t i = 0; i < batch.size(); ++i) {
    absl::Status status = Read(sql, batch.subspan(i, 1), stop);
    if (!status.ok() && !IsOfOneSequence(status)) return status;
    // Were many of them locked, each would be waited for. The next list leaves them out.
    if (SqlStateOf(status) == kLockNotAvailable) return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Sequences::Sequence>> Sequences::List(Connection& sql,
                                                                 const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Result rows, sql.Query(kList, {}, stop));
  std::vector<Sequence> sequences;
  size_t unreadable = 0;
  listed_ = static_cast<size_t>(rows.rows());
  for (int row = 0; row < rows.rows(); ++row) {
    if (rows.IsNull(row, 3)) continue;  // dropped meanwhile
    if (!rows.Bool(row, 3)) {
      ++unreadable;
      continue;
    }
    sequences.push_back({.oid = static_cast<uint32_t>(rows.Int(row, 0)),
                         .schema = std::string(rows.Text(row, 1)),
                         .name = std::string(rows.Text(row, 2))});
  }
  if (unreadable > 0 && !std::exchange(unreadable_logged_, true)) {
    log::Info("the positions of some sequences are not captured: the role may not read them",
              {{"sequences", std::to_string(unreadable)}});
  }
  return sequences;
}

absl::Status Sequences::Read(Connection& sql, std::span<const Sequence> batch,
                             const std::stop_token& stop) {
  std::string query;
  for (size_t i = 0; i < batch.size(); ++i) {
    query += fmt::format("{}SELECT {}, last_value, is_called FROM {}", i == 0 ? "" : " UNION ALL ",
                         i, QuoteTable(batch[i].schema, batch[i].name));
  }
  PGC_ASSIGN_OR_RETURN(const Result rows, sql.Query(query, {}, stop));
  for (int row = 0; row < rows.rows(); ++row) {
    const auto i = static_cast<size_t>(rows.Int(row, 0));
    if (i < batch.size()) Take(batch[i], rows.Int(row, 1), rows.Bool(row, 2));
  }
  return absl::OkStatus();
}

void Sequences::Take(const Sequence& sequence, int64_t last_value, bool is_called) {
  const size_t names = std::hash<std::string>()(sequence.schema + '\0' + sequence.name);
  const Written now{.names = names, .last_value = last_value, .is_called = is_called};
  const auto found = written_.find(sequence.oid);
  if (found != written_.end() && found->second == now) return;
  AppendSequence(pending_, {.schema = sequence.schema,
                            .name = sequence.name,
                            .last_value = last_value,
                            .is_called = is_called});
  pending_written_.emplace_back(sequence.oid, now);
}

absl::Status Sequences::Write(Connection& sql, const std::stop_token& stop) {
  const Connection::Parameter content = Hex(secret_ + pending_);
  PGC_RETURN_IF_ERROR(sql.Query(kWrite, std::span(&content, 1), stop).status());
  for (const auto& [oid, written] : pending_written_) written_[oid] = written;
  pending_.clear();
  pending_written_.clear();
  return absl::OkStatus();
}

}  // namespace pgc
