#include "decode/pglogical.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

constexpr uint8_t kStartupFormat = 1;
constexpr int kProtocolVersion = 1;
// Names of truncated tables that are held back for one event.
constexpr size_t kMaxTruncatedBytes = 1 << 20;

// `length` bytes of which the last is NUL, without it; nothing, and false in `ok`, otherwise.
std::span<const uint8_t> Terminated(ByteReader& in, size_t length, bool& ok) {
  const std::span<const uint8_t> bytes = in.Bytes(length);
  if (bytes.empty() || bytes.back() != 0) {
    ok = false;
    return {};
  }
  return bytes.first(bytes.size() - 1);
}

std::string Name(ByteReader& in, size_t length, bool& ok) {
  const std::span<const uint8_t> bytes = Terminated(in, length, ok);
  return {bytes.begin(), bytes.end()};
}

// Reads a tuple of `columns` values into `row`; false when it is not one.
bool ReadTuple(ByteReader& in, uint16_t columns, std::vector<FieldValue>& row) {
  if (in.U8() != 'T' || in.U16() != columns) return false;
  row.resize(columns);
  bool ok = true;
  for (FieldValue& value : row) {
    switch (in.U8()) {
      case 'n':
        value = {.kind = FieldValue::Kind::kNull, .bytes = {}};
        break;
      case 'u':
        value = {.kind = FieldValue::Kind::kAbsent, .bytes = {}};
        break;
      case 't':
        value = {.kind = FieldValue::Kind::kText, .bytes = Terminated(in, in.U32(), ok)};
        break;
      case 'b':
        value = {.kind = FieldValue::Kind::kBinary, .bytes = in.Bytes(in.U32())};
        break;
      default:  // 'i', the server's internal bytes, among them: it was not asked for
        return false;
    }
  }
  return ok && in.ok();
}

bool ReadOrigin(ByteReader& in) {
  (void)in.U8();
  (void)in.U64();
  bool ok = true;
  (void)Terminated(in, in.U8(), ok);
  return ok && in.done();
}

std::string_view Text(const FieldValue& value) {
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

// `a, b and 3 more`
std::string List(const std::vector<std::string>& names) {
  constexpr size_t kMost = 10;
  std::string list;
  for (size_t i = 0; i < names.size() && i < kMost; ++i) list += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kMost) list += fmt::format(" and {} more", names.size() - kMost);
  return list;
}

}  // namespace

absl::Status PglogicalDecoder::Decode(std::span<const uint8_t> message) {
  ByteReader in(message);
  const uint8_t kind = in.U8();
  if (!started_ && kind != 'S') {
    return absl::DataLossError("the stream of pglogical_output begins without its startup message");
  }
  switch (kind) {
    case 'S':
      return Startup(in);
    case 'B':
      return Begin(in);
    case 'C':
      return Commit(in);
    case 'I':
      return Insert(in);
    case 'U':
      return Update(in);
    case 'D':
      return Delete(in);
    case 'R':
      return ReadRelation(in);
    case 'O':
      return ReadOrigin(in) ? absl::OkStatus() : Malformed("Origin");
    default:
      return UnknownKind(message);
  }
}

absl::Status PglogicalDecoder::Startup(ByteReader& in) {
  if (started_) return Malformed("Startup", "a second one");
  const uint8_t format = in.U8();
  if (in.ok() && format != kStartupFormat) {
    return absl::FailedPreconditionError(
        fmt::format("pglogical_output starts with format {}, and only format {} is known: use "
                    "--decode-plugin pgoutput",
                    format, kStartupFormat));
  }
  int oldest = 0;
  int newest = 0;
  while (in.remaining() > 0) {
    const std::string_view key = in.CString();
    const std::string_view value = in.CString();
    if (key == "min_proto_version")
      std::from_chars(value.data(), value.data() + value.size(), oldest);
    if (key == "max_proto_version")
      std::from_chars(value.data(), value.data() + value.size(), newest);
  }
  // Two of the many keys that every version sends: without them the message was cut off.
  if (!in.done() || oldest == 0 || newest == 0) return Malformed("Startup");
  if (oldest > kProtocolVersion || newest < kProtocolVersion) {
    return absl::FailedPreconditionError(
        fmt::format("pglogical_output speaks versions {} to {} of its protocol, and capture knows "
                    "version {}: use --decode-plugin pgoutput",
                    oldest, newest, kProtocolVersion));
  }
  started_ = true;
  return absl::OkStatus();
}

absl::Status PglogicalDecoder::Begin(ByteReader& in) {
  (void)in.U8();
  const Lsn final_lsn{in.U64()};
  const PgTimestamp commit_time{in.I64()};
  const uint32_t xid = in.U32();
  if (!in.done()) return Malformed("Begin");
  begun_.Add(xid);
  return BeginTransaction(final_lsn, commit_time, xid);
}

absl::Status PglogicalDecoder::Commit(ByteReader& in) {
  (void)in.U8();
  const Lsn commit_lsn{in.U64()};
  const Lsn end_lsn{in.U64()};
  const PgTimestamp commit_time{in.I64()};
  if (!in.done()) return Malformed("Commit");
  PGC_RETURN_IF_ERROR(EmitTruncated());
  return CommitTransaction(commit_lsn, end_lsn, commit_time);
}

absl::Status PglogicalDecoder::ReadRelation(ByteReader& in) {
  if (!in_transaction()) return Malformed("Relation", "outside a transaction");
  (void)in.U8();
  Described described;
  described.oid = in.U32();
  bool ok = true;
  described.schema = Name(in, in.U8(), ok);
  described.name = Name(in, in.U8(), ok);
  ok = in.U8() == 'A' && ok;
  const uint16_t count = in.U16();
  for (uint16_t i = 0; i < count && in.ok() && ok; ++i) {
    Described::Column column;
    ok = in.U8() == 'C';
    column.is_key = (in.U8() & 1) != 0;
    ok = in.U8() == 'N' && ok;
    column.name = Name(in, in.U16(), ok);
    described.columns.push_back(std::move(column));
  }
  if (!ok || !in.done()) return Malformed("Relation");
  PGC_RETURN_IF_ERROR(FindQueue(described));
  if (!RelationCache::IsEmitted(described.table())) return Put(described, nullptr);
  described_ = std::move(described);
  return absl::OkStatus();
}

absl::Status PglogicalDecoder::Resume() {
  if (!described_.has_value()) return absl::OkStatus();
  const Described described = *std::exchange(described_, std::nullopt);
  PGC_ASSIGN_OR_RETURN(const CatalogTable catalog, read_catalog_(described.oid));
  Warn(described, catalog);
  return Put(described, &catalog);
}

absl::Status PglogicalDecoder::Put(const Described& described, const CatalogTable* catalog) {
  std::vector<TableEncoder::Column> columns;
  for (const Described::Column& column : described.columns) {
    uint32_t type_oid = 0;
    if (catalog != nullptr) {
      const auto found = catalog->columns.find(column.name);
      if (found != catalog->columns.end()) type_oid = found->second.type_oid;
    }
    columns.push_back({.name = column.name, .type_oid = type_oid, .is_key = column.is_key});
  }
  return relations().Put(described.oid, described.table(), columns);
}

void PglogicalDecoder::Warn(const Described& described, const CatalogTable& catalog) {
  std::vector<std::string> gone;
  std::vector<std::string> altered;
  for (const Described::Column& column : described.columns) {
    const auto found = catalog.columns.find(column.name);
    if (found == catalog.columns.end()) {
      gone.push_back(column.name);
    } else if (found->second.altered_by != 0 && !begun_.Has(found->second.altered_by)) {
      altered.push_back(column.name);
    }
  }
  const std::string known = fmt::format("{}|{}", List(gone), List(altered));
  if (known == "|") {
    warned_.erase(described.oid);
    return;
  }
  // The table is described again whenever the server's caches are told to forget it.
  if (std::exchange(warned_[described.oid], known) == known) return;
  const std::string table = fmt::format("{}.{}", described.schema, described.name);
  const std::string at = ToString(lsn());
  if (catalog.columns.empty()) {
    log::Warning(
        "the table was dropped after changes that are captured now: their values are "
        "passed on with type OID 0",
        {{"table", table}, {"lsn", at}});
    return;
  }
  if (!gone.empty()) {
    log::Warning(
        "columns were dropped or renamed after changes that are captured now: their values "
        "are passed on with type OID 0",
        {{"table", table}, {"columns", List(gone)}, {"lsn", at}});
  }
  if (!altered.empty()) {
    log::Warning(
        "columns may have been given another type after changes that are captured now: "
        "their values are passed on with the OID of the type that they have today",
        {{"table", table}, {"columns", List(altered)}, {"lsn", at}});
  }
}

absl::StatusOr<Relation*> PglogicalDecoder::ReadChanged(ByteReader& in) {
  (void)in.U8();
  return FindRelation(in.U32());
}

absl::Status PglogicalDecoder::Insert(ByteReader& in) {
  (void)in.U8();
  const uint32_t oid = in.U32();
  PGC_ASSIGN_OR_RETURN(Relation* const relation, FindRelation(oid));
  if (in.U8() != 'N' || !ReadTuple(in, relation->columns, new_row()) || !in.done()) {
    return Malformed("Insert");
  }
  if (queue_.has_value() && queue_->oid == oid) return TakeQueued();
  PGC_RETURN_IF_ERROR(EmitTruncated());
  return EmitInsert(*relation);
}

absl::Status PglogicalDecoder::Update(ByteReader& in) {
  PGC_ASSIGN_OR_RETURN(Relation* const relation, ReadChanged(in));
  uint8_t mark = in.U8();
  const bool has_old = mark == 'K';
  old_row().clear();
  if (has_old) {
    if (!ReadTuple(in, relation->columns, old_row())) return Malformed("Update");
    mark = in.U8();
  }
  if (mark != 'N' || !ReadTuple(in, relation->columns, new_row()) || !in.done()) {
    return Malformed("Update");
  }
  PGC_RETURN_IF_ERROR(EmitTruncated());
  return EmitUpdate(*relation, has_old && !relation->has_key);
}

absl::Status PglogicalDecoder::Delete(ByteReader& in) {
  PGC_ASSIGN_OR_RETURN(Relation* const relation, ReadChanged(in));
  if (in.U8() != 'K' || !ReadTuple(in, relation->columns, old_row()) || !in.done()) {
    return Malformed("Delete");
  }
  PGC_RETURN_IF_ERROR(EmitTruncated());
  return EmitDelete(*relation);
}

absl::Status PglogicalDecoder::FindQueue(const Described& described) {
  if (queue_.has_value() && queue_->oid == described.oid) queue_.reset();
  if (described.table() != TableName{.schema = "pglogical", .name = "queue"}) {
    return absl::OkStatus();
  }
  std::optional<size_t> type;
  std::optional<size_t> message;
  for (size_t i = 0; i < described.columns.size(); ++i) {
    if (described.columns[i].name == "message_type") type = i;
    if (described.columns[i].name == "message") message = i;
  }
  if (!type.has_value() || !message.has_value()) {
    return Malformed("Relation", "pglogical.queue without message_type and message");
  }
  queue_ = {.oid = described.oid, .type = *type, .message = *message};
  return absl::OkStatus();
}

// A row of the queue, in new_row(). Of those that are no TRUNCATE nothing is an event: what they
// tell a subscriber to run shows in the stream as changes.
absl::Status PglogicalDecoder::TakeQueued() {
  if (Text(new_row()[queue_->type]) != "T") return absl::OkStatus();
  const auto message =
      nlohmann::json::parse(Text(new_row()[queue_->message]), nullptr, /*allow_exceptions=*/false);
  const auto text = [&message](const char* key) -> const std::string* {
    if (!message.is_object() || !message.contains(key)) return nullptr;
    return message[key].get_ptr<const std::string*>();
  };
  const std::string* const schema = text("schema_name");
  const std::string* const name = text("table_name");
  if (schema == nullptr || name == nullptr) {
    return Malformed("Insert", "a TRUNCATE in pglogical.queue that names no table");
  }
  if (!RelationCache::IsEmitted({.schema = *schema, .name = *name})) return absl::OkStatus();
  truncated_bytes_ += schema->size() + name->size() + sizeof(TruncatedTable);
  truncated_.push_back({.schema = *schema, .name = *name});
  return truncated_bytes_ > kMaxTruncatedBytes ? EmitTruncated() : absl::OkStatus();
}

absl::Status PglogicalDecoder::EmitTruncated() {
  if (truncated_.empty()) return absl::OkStatus();
  std::vector<TableName> tables;
  for (const TruncatedTable& table : truncated_) {
    tables.push_back({.schema = table.schema, .name = table.name});
  }
  absl::Status status = EmitTruncate(tables, {});
  truncated_.clear();
  truncated_bytes_ = 0;
  return status;
}

}  // namespace pgc
