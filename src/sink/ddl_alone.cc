#include "sink/ddl_alone.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

// The path is the source's: an operator of somebody else may be on it.
constexpr char kIndex[] =
    "SELECT i.indisvalid, n.nspname, c.relname FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
    " WHERE i.indexrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)";

// The schema of an index is that of its table.
constexpr char kSchema[] =
    "SELECT n.nspname FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
    " WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)";

constexpr char kPartition[] =
    "SELECT i.inhdetachpending FROM pg_catalog.pg_inherits i"
    " WHERE i.inhparent OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)"
    " AND i.inhrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($2)";

constexpr char kBothThere[] =
    "SELECT pg_catalog.to_regclass($1) IS NOT NULL AND pg_catalog.to_regclass($2) IS NOT NULL";

using Parameters = std::vector<Connection::Parameter>;

absl::Status CreateIndex(Connection& target, const DdlStep& step, const std::stop_token& stop) {
  std::string index = step.relation;
  if (!step.table.empty()) {
    PGC_ASSIGN_OR_RETURN(const Result schema, target.Query(kSchema, Parameters{step.table}, stop));
    if (schema.rows() == 1) index = QuoteIdentifier(schema.Text(0, 0)) + "." + index;
  }
  if (!index.empty()) {
    PGC_ASSIGN_OR_RETURN(const Result found, target.Query(kIndex, Parameters{index}, stop));
    if (found.rows() == 1 && found.Bool(0, 0)) {
      log::Info("the index is there already", {{"index", index}});
      return absl::OkStatus();
    }
    if (found.rows() == 1) {
      log::Info("an index that was not finished is made again", {{"index", index}});
      PGC_RETURN_IF_ERROR(target.Execute(
          "DROP INDEX CONCURRENTLY " + QuoteTable(found.Text(0, 1), found.Text(0, 2)), stop));
    }
  }
  return target.Execute(step.sql, stop);
}

absl::Status Detach(Connection& target, const DdlStep& step, const std::stop_token& stop) {
  constexpr int kSince = 140000;
  if (target.server_version() < kSince) return target.Execute(step.sql, stop);
  const Parameters names = {step.table, step.relation};
  PGC_ASSIGN_OR_RETURN(const Result found, target.Query(kPartition, names, stop));
  if (found.rows() == 1) {
    return target.Execute(step.sql + (found.Bool(0, 0) ? "FINALIZE" : "CONCURRENTLY"), stop);
  }
  PGC_ASSIGN_OR_RETURN(const Result there, target.Query(kBothThere, names, stop));
  // With one of them missing the server says which.
  if (!there.Bool(0, 0)) return target.Execute(step.sql + "CONCURRENTLY", stop);
  log::Info("the partition is detached already", {{"table", step.relation}});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunAlone(Connection& target, const DdlStep& step, const std::stop_token& stop) {
  switch (step.kind) {
    case DdlStep::Kind::kCreateIndexAlone:
      return CreateIndex(target, step, stop);
    case DdlStep::Kind::kDetachAlone:
      return Detach(target, step, stop);
    default:
      return target.Execute(step.sql, stop);
  }
}

}  // namespace pgc
