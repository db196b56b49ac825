#include "sink/row_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/big_endian.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

using Parameter = StatementPipe::Parameter;
using Values = std::span<const FieldValue>;

bool IsPresent(const FieldValue& value) { return value.kind != FieldValue::Kind::kAbsent; }

std::string_view View(const FieldValue& value) {
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

// Whether a statement may name the column as one to write.
bool IsWritten(const TargetColumn& column, const FieldValue& value) {
  return IsPresent(value) && !column.generated;
}

bool IsKey(const TargetTable& table, size_t column) {
  return std::find(table.key.begin(), table.key.end(), column) != table.key.end();
}

// `UPDATE ONLY t`: a partitioned table has no rows of its own, any other only its own.
std::string_view Only(const TargetTable& table) { return table.partitioned ? "" : "ONLY "; }

class List {
 public:
  explicit List(std::string_view separator = ", ") : separator_(separator) {}
  void Add(std::string_view item) {
    if (!text_.empty()) text_ += separator_;
    text_ += item;
  }
  bool empty() const { return text_.empty(); }
  const std::string& text() const { return text_; }

 private:
  const std::string_view separator_;
  std::string text_;
};

// Appends a value after its length, with the target's OIDs in it. InvalidArgument when it is no
// value of its type.
absl::Status AppendValue(std::string& out, const TargetColumn& column, const FieldValue& value) {
  AppendBigEndian32(out, static_cast<uint32_t>(value.bytes.size()));
  const size_t at = out.size();
  out += View(value);
  if (column.shape != nullptr &&
      !TranslateOids(*column.shape,
                     {reinterpret_cast<uint8_t*>(out.data()) + at, value.bytes.size()})) {
    return absl::InvalidArgumentError(
        fmt::format("the type {} of column {} is not on the target what it is on the source",
                    column.type, QuoteIdentifier(column.name)));
  }
  return absl::OkStatus();
}

// An array of the table's row type, in PostgreSQL's binary format.
class RowArray {
 public:
  RowArray(const TargetTable& table, std::string& out) : table_(table), out_(out) {
    out_.clear();
    AppendBigEndian32(out_, 1);  // dimensions
    AppendBigEndian32(out_, 0);  // no element is NULL
    AppendBigEndian32(out_, table.row_type_oid);
    AppendBigEndian32(out_, 0);  // elements, see Finish
    AppendBigEndian32(out_, 1);  // lower bound
  }

  // A row of those columns that `wanted` says, NULL elsewhere.
  template <typename Wanted>
  absl::Status Add(Values row, const Wanted& wanted) {
    ++rows_;
    const size_t at = out_.size();
    AppendBigEndian32(out_, 0);
    AppendBigEndian32(out_, static_cast<uint32_t>(table_.columns.size()));
    for (size_t i = 0; i < table_.columns.size(); ++i) {
      const TargetColumn& column = table_.columns[i];
      AppendBigEndian32(out_, column.type_oid);
      if (row[i].kind == FieldValue::Kind::kBinary && wanted(i)) {
        PGC_RETURN_IF_ERROR(AppendValue(out_, column, row[i]));
      } else {
        AppendBigEndian32(out_, UINT32_MAX);
      }
    }
    Put(at, static_cast<uint32_t>(out_.size() - at - 4));
    return absl::OkStatus();
  }
  Parameter Finish() {
    Put(12, rows_);
    return {.bytes = out_};
  }
  size_t bytes() const { return out_.size(); }

 private:
  void Put(size_t at, uint32_t number) {
    for (size_t i = 0; i < 4; ++i) out_[at + i] = static_cast<char>(number >> (24 - 8 * i));
  }

  const TargetTable& table_;
  std::string& out_;
  uint32_t rows_ = 0;
};

// `t."id" OPERATOR("pg_catalog".=) v."id" AND …` for the key of a table.
std::string KeyCondition(const TargetTable& table, std::string_view by, std::string_view prefix) {
  List condition(" AND ");
  for (const size_t i : table.key) {
    const TargetColumn& column = table.columns[i];
    condition.Add(fmt::format("t.{} {} {}.{}", QuoteIdentifier(column.name), column.equals, by,
                              QuoteIdentifier(fmt::format("{}{}", prefix, column.name))));
  }
  return condition.text();
}

// What an UPDATE sets, of the columns that the row has.
std::string SetList(const TargetTable& table, Values row, bool with_key, std::string_view prefix) {
  List set;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const TargetColumn& column = table.columns[i];
    if (!IsWritten(column, row[i]) || column.identity_always || (!with_key && IsKey(table, i))) {
      continue;
    }
    set.Add(fmt::format("{} = v.{}", QuoteIdentifier(column.name),
                        QuoteIdentifier(fmt::format("{}{}", prefix, column.name))));
  }
  if (set.empty()) {
    const std::string key = QuoteIdentifier(table.columns[table.key[0]].name);
    set.Add(fmt::format("{} = t.{}", key, key));
  }
  return set.text();
}

// A column GENERATED ALWAYS AS IDENTITY takes no value in an UPDATE: the row must have it.
std::string IdentityCondition(const TargetTable& table, Values row, std::string_view prefix) {
  std::string condition;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const TargetColumn& column = table.columns[i];
    if (!column.identity_always || !IsPresent(row[i])) continue;
    condition += fmt::format(" AND t.{} = v.{}", QuoteIdentifier(column.name),
                             QuoteIdentifier(fmt::format("{}{}", prefix, column.name)));
  }
  return condition;
}

// The parameters of a statement for one row.
class OneRow {
 public:
  explicit OneRow(const RowBatch& batch) : batch_(batch) {}

  // `$1`, of the type that the value has.
  absl::Status Add(size_t column, const FieldValue& value, std::string& name) {
    const TargetColumn& target = batch_.table().columns[column];
    name = fmt::format("${}", parameters_.size() + 1);
    const uint32_t source = batch_.source_type(column);
    const bool is_text = value.kind == FieldValue::Kind::kText;
    Parameter parameter{
        .bytes = View(value),
        .is_null = value.kind == FieldValue::Kind::kNull,
        .is_text = is_text,
        .type = source < kFirstUserOid && source != 0 && !is_text ? source : target.type_oid};
    if (target.shape != nullptr && value.kind == FieldValue::Kind::kBinary) {
      std::string& bytes = copies_.emplace_back();
      PGC_RETURN_IF_ERROR(AppendValue(bytes, target, value));
      parameter.bytes = std::string_view(bytes).substr(4);
    }
    parameters_.push_back(parameter);
    return absl::OkStatus();
  }
  const std::vector<Parameter>& parameters() const { return parameters_; }

 private:
  const RowBatch& batch_;
  std::vector<Parameter> parameters_;
  std::deque<std::string> copies_;
};

// `WHERE` of the row that has these values: by its key, else by all there is.
absl::StatusOr<std::string> FindOne(const RowBatch& batch, Values row, OneRow& one) {
  const TargetTable& table = batch.table();
  bool has_key = !table.key.empty();
  for (const size_t i : table.key) {
    has_key = has_key && IsPresent(row[i]) && row[i].kind != FieldValue::Kind::kNull;
  }
  List condition(" AND ");
  std::string parameter;
  const auto equals = [&](size_t i, std::string_view of) -> absl::Status {
    const TargetColumn& column = table.columns[i];
    PGC_RETURN_IF_ERROR(one.Add(i, row[i], parameter));
    condition.Add(fmt::format("{}.{} {} {}::{}", of, QuoteIdentifier(column.name), column.equals,
                              parameter, column.type));
    return absl::OkStatus();
  };
  if (has_key) {
    for (const size_t i : table.key) PGC_RETURN_IF_ERROR(equals(i, "t"));
    return condition.text();
  }
  // The image of the row: it compares values of types that have no equality, and NULLs. Of a table
  // without a key the old row is the whole one; else it is what another index identifies a row by.
  const bool by_all = table.key.empty();
  List columns;
  List values;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const TargetColumn& column = table.columns[i];
    if (IsPresent(row[i])) {
      PGC_RETURN_IF_ERROR(one.Add(i, row[i], parameter));
      values.Add(fmt::format("{}::{}", parameter, column.type));
    } else if (by_all && !column.generated && table.MayBeOfSource(i)) {
      values.Add(fmt::format("NULL::{}", column.type));  // NULLs of an old row are not sent
    } else {
      continue;
    }
    columns.Add(fmt::format("m.{}", QuoteIdentifier(column.name)));
  }
  for (const size_t i : table.indexed) {
    if (!IsPresent(row[i]) || row[i].kind == FieldValue::Kind::kNull) continue;
    PGC_RETURN_IF_ERROR(equals(i, "m"));
  }
  condition.Add(fmt::format("ROW({})::record OPERATOR(pg_catalog.*=) ROW({})::record",
                            columns.text(), values.text()));
  // Of rows that are the same in all, one is meant; of what another index identifies, it is the
  // only one.
  const std::string_view limit = by_all ? " LIMIT 1" : "";
  if (table.partitioned) {
    return fmt::format(
        "(t.tableoid, t.ctid) IN (SELECT m.tableoid, m.ctid FROM {} AS m WHERE {}{})", table.quoted,
        condition.text(), limit);
  }
  return fmt::format("t.ctid = ANY (ARRAY(SELECT m.ctid FROM ONLY {} AS m WHERE {}{}))",
                     table.quoted, condition.text(), limit);
}

bool IsSame(Values a, Values b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const bool is_null = a[i].kind != FieldValue::Kind::kBinary;
    if (is_null != (b[i].kind != FieldValue::Kind::kBinary)) return false;
    if (!is_null && View(a[i]) != View(b[i])) return false;
  }
  return true;
}

// The columns by whose equality a row can be found.
std::vector<bool> FoundBy(const TargetTable& table, Values row) {
  std::vector<bool> columns(row.size());
  for (size_t i = 0; i < row.size(); ++i) {
    columns[i] = row[i].kind == FieldValue::Kind::kBinary && !table.columns[i].hash_equals.empty();
  }
  return columns;
}

}  // namespace

absl::Status RowWriter::Send(const RowBatch& batch, const RowRun& run) {
  PGC_RETURN_IF_ERROR(SendDeletes(batch, run.deletes));
  PGC_RETURN_IF_ERROR(SendImageDeletes(batch, run.image_deletes));
  PGC_RETURN_IF_ERROR(SendUpdates(batch, run.updates, false));
  PGC_RETURN_IF_ERROR(SendUpdates(batch, run.key_updates, true));
  PGC_RETURN_IF_ERROR(SendInserts(batch, run.inserts));
  for (const uint32_t number : run.singles) PGC_RETURN_IF_ERROR(SendOne(batch, number));
  return absl::OkStatus();
}

size_t RowWriter::SameColumns(const RowBatch& batch, Rows rows) const {
  const Values first = batch.row(rows[0].new_row);
  size_t count = 1;
  for (size_t bytes = 0; count < rows.size() && count < kRowsPerStatement; ++count) {
    const Values row = batch.row(rows[count].new_row);
    for (size_t i = 0; i < row.size(); ++i) {
      if (IsPresent(row[i]) != IsPresent(first[i])) return count;
      bytes += row[i].bytes.size();
    }
    if (bytes > kBytesPerStatement) return count;
  }
  return count;
}

absl::Status RowWriter::SendInserts(const RowBatch& batch, Rows rows) {
  const TargetTable& table = batch.table();
  while (!rows.empty()) {
    const size_t count = SameColumns(batch, rows);
    const Values first = batch.row(rows[0].new_row);
    List columns;
    List values;
    for (size_t i = 0; i < first.size(); ++i) {
      if (!IsWritten(table.columns[i], first[i])) continue;
      columns.Add(QuoteIdentifier(table.columns[i].name));
      values.Add("v." + QuoteIdentifier(table.columns[i].name));
    }
    RowArray array(table, array_);
    for (size_t i = 0; i < count; ++i) {
      PGC_RETURN_IF_ERROR(array.Add(batch.row(rows[i].new_row),
                                    [&](size_t c) { return !table.columns[c].generated; }));
    }
    const Parameter parameter = array.Finish();
    PGC_RETURN_IF_ERROR(
        pipe_.Send(fmt::format("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM "
                               "pg_catalog.unnest($1::{}[]) AS v",
                               table.quoted, columns.text(), values.text(), table.quoted),
                   {&parameter, 1}, static_cast<int64_t>(count)));
    rows = rows.subspan(count);
  }
  return absl::OkStatus();
}

absl::Status RowWriter::SendUpdates(const RowBatch& batch, Rows rows, bool moves_key) {
  const TargetTable& table = batch.table();
  const auto all = [](size_t) { return true; };
  const auto key = [&table](size_t i) { return IsKey(table, i); };
  while (!rows.empty()) {
    const size_t count = SameColumns(batch, rows);
    const Values first = batch.row(rows[0].new_row);
    RowArray array(table, array_);
    for (size_t i = 0; i < count; ++i) {
      PGC_RETURN_IF_ERROR(array.Add(batch.row(rows[i].new_row), all));
    }
    if (!moves_key) {
      const Parameter parameter = array.Finish();
      PGC_RETURN_IF_ERROR(pipe_.Send(
          fmt::format("UPDATE {}{} AS t SET {} FROM pg_catalog.unnest($1::{}[]) AS v WHERE {}{}",
                      Only(table), table.quoted, SetList(table, first, false, ""), table.quoted,
                      KeyCondition(table, "v", ""), IdentityCondition(table, first, "")),
          {&parameter, 1}, static_cast<int64_t>(count)));
    } else {
      RowArray before(table, second_array_);
      for (size_t i = 0; i < count; ++i) {
        PGC_RETURN_IF_ERROR(before.Add(batch.row(rows[i].old_row), key));
      }
      const Parameter parameters[] = {array.Finish(), before.Finish()};
      List names;
      for (const std::string_view prefix : {"n", "o"}) {
        for (const TargetColumn& column : table.columns) {
          names.Add(QuoteIdentifier(fmt::format("{}{}", prefix, column.name)));
        }
      }
      PGC_RETURN_IF_ERROR(pipe_.Send(
          fmt::format("UPDATE {}{} AS t SET {} FROM ROWS FROM (pg_catalog.unnest($1::{}[]), "
                      "pg_catalog.unnest($2::{}[])) AS v ({}) WHERE {}{}",
                      Only(table), table.quoted, SetList(table, first, true, "n"), table.quoted,
                      table.quoted, names.text(), KeyCondition(table, "v", "o"),
                      IdentityCondition(table, first, "n")),
          parameters, static_cast<int64_t>(count)));
    }
    rows = rows.subspan(count);
  }
  return absl::OkStatus();
}

absl::Status RowWriter::SendDeletes(const RowBatch& batch, Rows rows) {
  const TargetTable& table = batch.table();
  const auto key = [&table](size_t i) { return IsKey(table, i); };
  while (!rows.empty()) {
    RowArray array(table, array_);
    size_t count = 0;
    while (count < rows.size() && count < kRowsPerStatement && array.bytes() < kBytesPerStatement) {
      PGC_RETURN_IF_ERROR(array.Add(batch.row(rows[count++].old_row), key));
    }
    const Parameter parameter = array.Finish();
    PGC_RETURN_IF_ERROR(pipe_.Send(
        fmt::format("DELETE FROM {}{} AS t USING pg_catalog.unnest($1::{}[]) AS v WHERE {}",
                    Only(table), table.quoted, table.quoted, KeyCondition(table, "v", "")),
        {&parameter, 1}, static_cast<int64_t>(count)));
    rows = rows.subspan(count);
  }
  return absl::OkStatus();
}

absl::Status RowWriter::SendImageDeletes(const RowBatch& batch, Rows rows) {
  // Those that can be found by the same columns, each with how often it is to be deleted.
  std::map<std::vector<bool>, std::vector<Image>> images;
  for (size_t i = 0; i < rows.size();) {
    const Values row = batch.row(rows[i].old_row);
    uint32_t count = 1;
    while (i + count < rows.size() && IsSame(row, batch.row(rows[i + count].old_row))) ++count;
    images[FoundBy(batch.table(), row)].push_back({.row = rows[i].old_row, .count = count});
    i += count;
  }
  for (const auto& [columns, list] : images) {
    for (std::span<const Image> left = list; !left.empty();) {
      size_t sent = 0;
      PGC_RETURN_IF_ERROR(SendImages(batch, columns, left, sent));
      left = left.subspan(sent);
    }
  }
  return absl::OkStatus();
}

absl::Status RowWriter::SendImages(const RowBatch& batch, const std::vector<bool>& found_by,
                                   std::span<const Image> images, size_t& sent) {
  const TargetTable& table = batch.table();
  const auto is_compared = [&table](size_t i) {
    return !table.columns[i].generated && table.MayBeOfSource(i);
  };
  RowArray array(table, array_);
  int64_t rows = 0;
  std::string counts;
  for (sent = 0; sent < images.size() && sent < kRowsPerStatement; ++sent) {
    if (sent > 0 && array.bytes() >= kBytesPerStatement) break;
    PGC_RETURN_IF_ERROR(array.Add(batch.row(images[sent].row), is_compared));
    AppendBigEndian32(counts, 4);
    AppendBigEndian32(counts, images[sent].count);
    rows += images[sent].count;
  }
  second_array_.clear();
  for (const uint32_t field : {1U, 0U, 23U, static_cast<uint32_t>(sent), 1U}) {
    AppendBigEndian32(second_array_, field);
  }
  second_array_ += counts;

  List names;
  List compared;
  List wanted;
  List condition(" AND ");
  bool has_index = false;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const TargetColumn& column = table.columns[i];
    const std::string name = QuoteIdentifier(column.name);
    const std::string value = QuoteIdentifier("c" + column.name);
    names.Add(value);
    if (!is_compared(i)) continue;
    compared.Add("m." + name);
    wanted.Add("v." + value);
    if (!found_by[i]) continue;
    condition.Add(fmt::format("m.{} {} v.{}", name, column.hash_equals, value));
    has_index = has_index ||
                std::find(table.indexed.begin(), table.indexed.end(), i) != table.indexed.end();
  }
  const std::string found = fmt::format(
      "(SELECT m.tableoid AS t, m.ctid AS c, v.n, pg_catalog.row_number() OVER (PARTITION BY v.o) "
      "AS k FROM {}{} AS m JOIN ROWS FROM (pg_catalog.unnest($1::{}[]), "
      "pg_catalog.unnest($2::pg_catalog.int4[])) WITH ORDINALITY AS v ({}, n, o) ON {} AND "
      "ROW({})::record OPERATOR(pg_catalog.*=) ROW({})::record) AS f WHERE f.k <= f.n",
      Only(table), table.quoted, table.quoted, names.text(), condition.text(), compared.text(),
      wanted.text());
  const std::string statement =
      table.partitioned
          ? fmt::format(
                "DELETE FROM {} AS t WHERE (t.tableoid, t.ctid) IN (SELECT f.t, f.c FROM {})",
                table.quoted, found)
          : fmt::format("DELETE FROM ONLY {} AS t WHERE t.ctid = ANY (ARRAY(SELECT f.c FROM {}))",
                        table.quoted, found);
  const Parameter parameters[] = {array.Finish(), {.bytes = second_array_}};
  // The plan is kept from when the table was small, which a nested loop over all of it would fit.
  const bool hashes = !has_index || table.partitioned;
  if (hashes) PGC_RETURN_IF_ERROR(SetHashJoins(true));
  PGC_RETURN_IF_ERROR(pipe_.Send(statement, parameters, rows));
  return hashes ? SetHashJoins(false) : absl::OkStatus();
}

absl::Status RowWriter::SetHashJoins(bool on) {
  PGC_RETURN_IF_ERROR(
      pipe_.Send(fmt::format("SET LOCAL enable_hashjoin = {}", on ? "on" : "off"), {}));
  return pipe_.Send(fmt::format("SET LOCAL enable_nestloop = {}", on ? "off" : "on"), {});
}

absl::Status RowWriter::SendAsInsert(const RowBatch& batch, uint32_t number,
                                     OnExisting on_existing) {
  const TargetTable& table = batch.table();
  const Values row = batch.row(batch.changes()[number].new_row);
  OneRow one(batch);
  List columns;
  List values;
  List set;
  std::string parameter;
  for (size_t i = 0; i < row.size(); ++i) {
    if (!IsWritten(table.columns[i], row[i])) continue;
    PGC_RETURN_IF_ERROR(one.Add(i, row[i], parameter));
    const std::string name = QuoteIdentifier(table.columns[i].name);
    columns.Add(name);
    values.Add(parameter);
    if (!table.columns[i].identity_always && !IsKey(table, i)) {
      set.Add(fmt::format("{} = EXCLUDED.{}", name, name));
    }
  }
  std::string conflict;
  if (on_existing == OnExisting::kOverwrite && !table.key.empty()) {
    List key;
    for (const size_t i : table.key) key.Add(QuoteIdentifier(table.columns[i].name));
    if (set.empty()) set.Add(fmt::format("{} = EXCLUDED.{}", key.text(), key.text()));
    conflict = fmt::format(" ON CONFLICT ({}) DO UPDATE SET {}", key.text(), set.text());
  }
  return pipe_.Send(fmt::format("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({}){}",
                                table.quoted, columns.text(), values.text(), conflict),
                    one.parameters(), 1, number);
}

absl::Status RowWriter::SendAsReplace(const RowBatch& batch, uint32_t number) {
  const TargetTable& table = batch.table();
  const RowChange& change = batch.changes()[number];
  const Values row = batch.row(change.new_row);
  OneRow one(batch);
  PGC_ASSIGN_OR_RETURN(
      const std::string where,
      FindOne(batch, change.old_row != RowChange::kNoRow ? batch.row(change.old_row) : row, one));
  List columns;
  List values;
  std::string parameter;
  for (size_t i = 0; i < row.size(); ++i) {
    const TargetColumn& column = table.columns[i];
    if (column.generated) continue;
    const std::string name = QuoteIdentifier(column.name);
    columns.Add(name);
    if (IsPresent(row[i])) {
      PGC_RETURN_IF_ERROR(one.Add(i, row[i], parameter));
      values.Add(fmt::format("{}::{}", parameter, column.type));
    } else {
      values.Add("gone." + name);
    }
  }
  return pipe_.Send(
      fmt::format("WITH gone AS (DELETE FROM {}{} AS t WHERE {} RETURNING t.*) INSERT INTO {} ({}) "
                  "OVERRIDING SYSTEM VALUE SELECT {} FROM gone",
                  Only(table), table.quoted, where, table.quoted, columns.text(), values.text()),
      one.parameters(), 1, number);
}

absl::Status RowWriter::SendOne(const RowBatch& batch, uint32_t number, OnExisting on_existing) {
  const TargetTable& table = batch.table();
  const RowChange& change = batch.changes()[number];
  if (change.op == Operation::kInsert) return SendAsInsert(batch, number, on_existing);
  OneRow one(batch);
  List set;
  std::string parameter;
  if (change.op == Operation::kUpdate) {
    const Values row = batch.row(change.new_row);
    for (size_t i = 0; i < row.size(); ++i) {
      const TargetColumn& column = table.columns[i];
      if (!IsWritten(column, row[i]) || column.identity_always) continue;
      PGC_RETURN_IF_ERROR(one.Add(i, row[i], parameter));
      set.Add(fmt::format("{} = {}", QuoteIdentifier(column.name), parameter));
    }
  }
  // Without a key, an old row that is not sent is one of NULLs.
  const std::vector<FieldValue> nulls(table.key.empty() ? table.columns.size() : 0);
  const Values found_by = change.old_row != RowChange::kNoRow ? batch.row(change.old_row)
                          : table.key.empty()                 ? Values(nulls)
                                                              : batch.row(change.new_row);
  PGC_ASSIGN_OR_RETURN(const std::string where, FindOne(batch, found_by, one));
  std::string identity;
  if (change.op == Operation::kUpdate) {
    const Values row = batch.row(change.new_row);
    for (size_t i = 0; i < row.size(); ++i) {
      if (!table.columns[i].identity_always || !IsPresent(row[i])) continue;
      PGC_RETURN_IF_ERROR(one.Add(i, row[i], parameter));
      identity += fmt::format(" AND t.{} = {}", QuoteIdentifier(table.columns[i].name), parameter);
    }
    if (set.empty()) {
      const std::string any = QuoteIdentifier(table.columns[0].name);
      set.Add(fmt::format("{} = t.{}", any, any));
    }
  }
  const std::string statement =
      change.op == Operation::kUpdate
          ? fmt::format("UPDATE {}{} AS t SET {} WHERE {}{}", Only(table), table.quoted, set.text(),
                        where, identity)
          : fmt::format("DELETE FROM {}{} AS t WHERE {}", Only(table), table.quoted, where);
  return pipe_.Send(statement, one.parameters(), 1, number);
}

}  // namespace pgc
