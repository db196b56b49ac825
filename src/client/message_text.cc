#include "client/message_text.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "event/checkpoint.h"
#include "value/json_text.h"
#include "value/value_json.h"

namespace pgc {
namespace {

using Row = google::protobuf::RepeatedPtrField<pb::Field>;

Checkpoint CheckpointOf(const pb::CaptureMessage& message) {
  return {.lsn = Lsn{message.checkpoint().lsn()}, .seq = message.checkpoint().seq()};
}

bool IsDump(const pb::CaptureMessage& message) { return message.checkpoint().lsn() == 0; }

// An operation that this version does not know is a number.
std::string OperationOf(const pb::Change& change) {
  return pb::Change::Operation_IsValid(change.op()) ? pb::Change::Operation_Name(change.op())
                                                    : std::to_string(change.op());
}

void AppendValue(std::string& out, const pb::Field& field) {
  switch (field.value_case()) {
    case pb::Field::kBinary:
      AppendValueJson(out, field.oid(), ValueFormat::kBinary, field.binary());
      break;
    case pb::Field::kText:
      AppendValueJson(out, field.oid(), ValueFormat::kText, field.text());
      break;
    case pb::Field::VALUE_NOT_SET:
      out += "null";
      break;
  }
}

void AppendRow(std::string& out, const Row& row) {
  out += '{';
  for (const pb::Field& field : row) {
    if (out.back() != '{') out += ',';
    AppendJsonString(out, field.name());
    out += ':';
    AppendValue(out, field);
  }
  out += '}';
}

constexpr uint32_t kBytea = 17;
constexpr uint32_t kTimestamptz = 1184;

// Bytes as PostgreSQL shows a bytea, as a JSON string.
std::string BytesJson(std::string_view bytes) {
  std::string out;
  AppendValueJson(out, kBytea, ValueFormat::kBinary, bytes);
  return out;
}

// Microseconds since 2000 as PostgreSQL shows a timestamptz, as a JSON string.
std::string TimeJson(uint64_t us) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(us >> (56 - 8 * i));
  std::string out;
  AppendValueJson(out, kTimestamptz, ValueFormat::kBinary, bytes);
  return out;
}

// A JSON string as SQL quotes text; what JSON escapes but quotes stays escaped.
void AppendQuoted(std::string& out, std::string_view json) {
  out += '\'';
  for (json = json.substr(1, json.size() - 2); !json.empty(); json.remove_prefix(1)) {
    if (json.front() == '\'') {
      out += "''";
    } else if (json.starts_with("\\\"")) {
      out += '"';
      json.remove_prefix(1);
    } else if (json.front() == '\\') {
      out += json.substr(0, 2);
      json.remove_prefix(1);
    } else {
      out += json.front();
    }
  }
  out += '\'';
}

void AppendRowText(std::string& out, const Row& row) {
  std::string value;
  for (const pb::Field& field : row) {
    if (out.back() != '(') out += ' ';
    // A name may hold anything, a line end too.
    value.clear();
    AppendJsonString(value, field.name());
    const bool plain = value.size() == field.name().size() + 2 &&
                       field.name().find_first_of(" =()'") == std::string::npos;
    out += plain ? field.name() : value;
    out += '=';
    value.clear();
    AppendValue(value, field);
    if (value.front() == '"') {
      AppendQuoted(out, value);
    } else {
      out += value;
    }
  }
}

// A name without what would break the line.
std::string OnOneLine(std::string_view name) {
  std::string quoted;
  AppendJsonString(quoted, name);
  return quoted.substr(1, quoted.size() - 2);
}

void AppendChangeJson(std::string& out, const pb::CaptureMessage& message) {
  const pb::Change& change = message.change();
  out += fmt::format(R"("op":"{}",)", OperationOf(change));
  if (IsDump(message)) out += R"("dump":true,)";
  // Its version, where several readers share a subscription.
  if (message.dump_lsn() != 0) {
    out += fmt::format(R"("dump_lsn":"{}",)", ToString(Lsn{message.dump_lsn()}));
  }
  out += R"("schema":)";
  AppendJsonString(out, change.schema());
  out += R"(,"table":)";
  AppendJsonString(out, change.table());
  out += R"(,"new":)";
  AppendRow(out, change.new_());
  out += R"(,"old":)";
  AppendRow(out, change.old());
}

void AppendTruncateJson(std::string& out, const pb::Truncate& truncate) {
  out += R"("op":"TRUNCATE","tables":[)";
  for (const auto& relation : truncate.relations()) {
    if (out.back() != '[') out += ',';
    out += R"({"schema":)";
    AppendJsonString(out, relation.schema());
    out += R"(,"table":)";
    AppendJsonString(out, relation.table());
    out += '}';
  }
  out += fmt::format(R"(],"cascade":{},"restart_identity":{})", truncate.cascade(),
                     truncate.restart_identity());
}

void AppendChangeText(std::string& out, const pb::Change& change, bool is_dump) {
  out += fmt::format("{}{} {}.{}", OperationOf(change), is_dump ? " (dump)" : "",
                     OnOneLine(change.schema()), OnOneLine(change.table()));
  if (!change.old().empty()) {
    out += " old(";
    AppendRowText(out, change.old());
    out += ')';
  }
  AppendRowText(out, change.new_());
}

// A row of the extension's log of DDL: what was run says more than the row.
bool IsDdl(const pb::Change& change) {
  return change.op() == pb::Change::INSERT && change.schema() == "pgcapture" &&
         change.table() == "ddl_logs";
}

std::string ValueOf(const Row& row, std::string_view name) {
  std::string value = "null";
  for (const pb::Field& field : row) {
    if (field.name() != name) continue;
    value.clear();
    AppendValue(value, field);
  }
  return value;
}

void AppendDdlText(std::string& out, const pb::Change& change) {
  out += "DDL ";
  if (const std::string tags = ValueOf(change.new_(), "tags"); tags != "null") {
    for (const char c : tags) {
      if (c == ',') out += ", ";
      if (std::string_view("[],\"").find(c) == std::string_view::npos) out += c;
    }
    out += ' ';
  }
  if (ValueOf(change.new_(), "exact") == "false") out += "(not exact) ";
  const std::string query = ValueOf(change.new_(), "query");
  if (query.front() == '"') {
    AppendQuoted(out, query);
  } else {
    out += query;
  }
}

void AppendTruncateText(std::string& out, const pb::Truncate& truncate) {
  out += "TRUNCATE";
  const char* before = " ";
  for (const auto& relation : truncate.relations()) {
    out += fmt::format("{}{}.{}", std::exchange(before, ", "), OnOneLine(relation.schema()),
                       OnOneLine(relation.table()));
  }
  if (truncate.cascade()) out += " cascade";
  if (truncate.restart_identity()) out += " restart_identity";
}

}  // namespace

std::string MessageToJson(const pb::CaptureMessage& message) {
  const Checkpoint checkpoint = CheckpointOf(message);
  std::string out =
      fmt::format(R"({{"lsn":"{}","seq":{},)", ToString(checkpoint.lsn), checkpoint.seq);
  if (message.has_begin()) {
    out += fmt::format(R"("op":"BEGIN","xid":{},"time":{})", message.begin().remote_xid(),
                       TimeJson(message.begin().commit_time()));
  } else if (message.has_commit()) {
    out += fmt::format(R"("op":"COMMIT","end_lsn":"{}","time":{})",
                       ToString(Lsn{message.commit().end_lsn()}),
                       TimeJson(message.commit().commit_time()));
  } else if (message.has_truncate()) {
    AppendTruncateJson(out, message.truncate());
  } else if (message.has_logical_message()) {
    const pb::LogicalMessage& logical = message.logical_message();
    out += fmt::format(R"("op":"MESSAGE","transactional":{},"prefix":)", logical.transactional());
    AppendJsonString(out, logical.prefix());
    out += R"(,"content":)" + BytesJson(logical.content());
  } else {
    AppendChangeJson(out, message);
  }
  out += '}';
  return out;
}

std::string MessageToText(const pb::CaptureMessage& message) {
  const Checkpoint checkpoint = CheckpointOf(message);
  std::string out = ToKey(checkpoint) + " ";
  if (message.has_begin()) {
    out += fmt::format("BEGIN xid={} time=", message.begin().remote_xid());
    AppendQuoted(out, TimeJson(message.begin().commit_time()));
  } else if (message.has_commit()) {
    out += fmt::format("COMMIT end_lsn={} time=", ToString(Lsn{message.commit().end_lsn()}));
    AppendQuoted(out, TimeJson(message.commit().commit_time()));
  } else if (message.has_truncate()) {
    AppendTruncateText(out, message.truncate());
  } else if (message.has_logical_message()) {
    const pb::LogicalMessage& logical = message.logical_message();
    out += fmt::format("MESSAGE {} ", OnOneLine(logical.prefix()));
    AppendQuoted(out, BytesJson(logical.content()));
  } else if (IsDdl(message.change())) {
    AppendDdlText(out, message.change());
  } else {
    AppendChangeText(out, message.change(), IsDump(message));
  }
  return out;
}

}  // namespace pgc
