#include "client/change_json.h"

#include <fmt/format.h>

#include <string_view>

#include "event/checkpoint.h"
#include "value/json_text.h"
#include "value/value_json.h"

namespace pgc {
namespace {

using Row = google::protobuf::RepeatedPtrField<pb::Field>;

Checkpoint CheckpointOf(const pb::CaptureMessage& message) {
  return {.lsn = Lsn{message.checkpoint().lsn()}, .seq = message.checkpoint().seq()};
}

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

}  // namespace

std::string ChangeToJson(const pb::CaptureMessage& message) {
  const pb::Change& change = message.change();
  const Checkpoint checkpoint = CheckpointOf(message);
  std::string out = fmt::format(R"({{"lsn":"{}","seq":{},"op":"{}",)", ToString(checkpoint.lsn),
                                checkpoint.seq, OperationOf(change));
  if (checkpoint.lsn == Lsn{}) out += R"("dump":true,)";
  out += R"("schema":)";
  AppendJsonString(out, change.schema());
  out += R"(,"table":)";
  AppendJsonString(out, change.table());
  out += R"(,"new":)";
  AppendRow(out, change.new_());
  out += R"(,"old":)";
  AppendRow(out, change.old());
  out += '}';
  return out;
}

std::string ChangeToText(const pb::CaptureMessage& message) {
  const pb::Change& change = message.change();
  const Checkpoint checkpoint = CheckpointOf(message);
  std::string out = fmt::format("{} {}{} {}.{}", ToKey(checkpoint), OperationOf(change),
                                checkpoint.lsn == Lsn{} ? " (dump)" : "",
                                OnOneLine(change.schema()), OnOneLine(change.table()));
  if (!change.old().empty()) {
    out += " old(";
    AppendRowText(out, change.old());
    out += ')';
  }
  AppendRowText(out, change.new_());
  return out;
}

}  // namespace pgc
