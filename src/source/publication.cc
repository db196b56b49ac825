#include "source/publication.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/status_macros.h"
#include "source/ddl_capture.h"
#include "source/slot.h"

namespace pgc {
namespace {

constexpr char kInsufficientPrivilege[] = "42501";
// From this version on, decoding passes over a publication that is not there.
constexpr int kSkipsMissingVersion = 180000;

constexpr char kPublication[] =
    "SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot"
    " FROM pg_publication WHERE pubname = $1";

// A filter of rows or a list of columns (15 and newer) leaves out what nobody asked to leave out.
constexpr char kPublished[] =
    "SELECT r.prrelid, format('%s.%s', n.nspname, c.relname),"
    " coalesce(to_jsonb(r)->>'prqual', to_jsonb(r)->>'prattrs') IS NOT NULL"
    " FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid"
    " JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE p.pubname = $1 ORDER BY 1";
constexpr char kPublishedSchemas[] =
    "SELECT count(*) FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid"
    " WHERE p.pubname = $1";

constexpr char kDdlLogs[] = "SELECT to_regclass('pgcapture.ddl_logs')::oid";

// Rows that were written to the catalogs whose rows tables and publications are; NULL where the
// server does not count. Costs next to nothing, unlike a look at every table.
constexpr char kCatalogChanges[] =
    "SELECT CASE WHEN current_setting('track_counts')::bool THEN"
    " sum(pg_stat_get_tuples_inserted(c) + pg_stat_get_tuples_updated(c)"
    " + pg_stat_get_tuples_deleted(c)) END"
    " FROM unnest('{pg_catalog.pg_class,pg_catalog.pg_index,pg_catalog.pg_inherits,"
    "pg_catalog.pg_publication,pg_catalog.pg_publication_rel}'::regclass[]) c";

struct Publication {
  bool exists = false;
  bool all_tables = false;
  bool all_operations = false;
  bool via_partition_root = false;
  bool schemas = false;
  std::vector<uint32_t> tables;       // ascending
  std::vector<std::string> narrowed;  // tables with a row filter or a column list
};

absl::StatusOr<Publication> ReadPublication(Connection& sql, const std::string& name,
                                            const std::stop_token& stop) {
  Publication found;
  const Connection::Parameter parameters[] = {name};
  PGC_ASSIGN_OR_RETURN(const Result row, sql.Query(kPublication, parameters, stop));
  if (row.rows() == 0) return found;
  found.exists = true;
  found.all_tables = row.Bool(0, 0);
  found.all_operations = row.Bool(0, 1);
  found.via_partition_root = row.Bool(0, 2);
  PGC_ASSIGN_OR_RETURN(const Result tables, sql.Query(kPublished, parameters, stop));
  for (int i = 0; i < tables.rows(); ++i) {
    found.tables.push_back(static_cast<uint32_t>(tables.Int(i, 0)));
    if (tables.Bool(i, 2)) found.narrowed.emplace_back(tables.Text(i, 1));
  }
  if (sql.server_version() >= 150000) {
    PGC_ASSIGN_OR_RETURN(const Result schemas, sql.Query(kPublishedSchemas, parameters, stop));
    found.schemas = schemas.Int(0, 0) > 0;
  }
  return found;
}

struct Wanted {
  bool via_partition_root = true;
  bool all_tables = false;
  std::vector<Table> tables;
};

absl::StatusOr<Wanted> ReadWanted(Connection& sql, const PublicationOptions& options,
                                  const std::stop_token& stop) {
  Wanted wanted;
  wanted.via_partition_root = options.via_partition_root;
  wanted.all_tables = options.choice.kind == TableChoice::Kind::kAll;
  if (wanted.all_tables) return wanted;
  PGC_ASSIGN_OR_RETURN(wanted.tables, ListedTables(sql, options.choice, stop));
  if (options.ddl) {
    PGC_ASSIGN_OR_RETURN(const Result ddl_logs, sql.Query(kDdlLogs, {}, stop));
    if (!ddl_logs.IsNull(0, 0)) {
      wanted.tables.push_back(
          {.oid = static_cast<uint32_t>(ddl_logs.Int(0, 0)), .name = {"pgcapture", "ddl_logs"}});
    }
  }
  return wanted;
}

bool Fits(const Publication& found, const Wanted& wanted) {
  if (!found.exists || !found.all_operations || found.all_tables != wanted.all_tables ||
      found.via_partition_root != wanted.via_partition_root) {
    return false;
  }
  if (wanted.all_tables) return true;
  std::vector<uint32_t> oids;
  for (const Table& table : wanted.tables) oids.push_back(table.oid);
  std::sort(oids.begin(), oids.end());
  return !found.schemas && found.narrowed.empty() && found.tables == oids;
}

// The statements that make it fit, as one transaction: decoding looks a publication up as of each
// change, so there must be no moment without it.
std::string Statements(const std::string& name, const Publication& found, const Wanted& wanted) {
  const std::string with =
      fmt::format("publish = 'insert, update, delete, truncate', publish_via_partition_root = {}",
                  wanted.via_partition_root);
  const std::string quoted = QuoteIdentifier(name);
  std::string tables;
  for (const Table& table : wanted.tables) {
    // What inherits from a table is listed by itself, if it is wanted.
    tables += fmt::format("{} ONLY {}", tables.empty() ? "" : ",",
                          QuoteTable(table.name.schema, table.name.name));
  }
  std::string what = " FOR ALL TABLES";
  if (!wanted.all_tables) what = tables.empty() ? "" : " FOR TABLE" + tables;
  std::string create = fmt::format("CREATE PUBLICATION {}{} WITH ({})", quoted, what, with);
  if (!found.exists) return create;
  // SET TABLE takes no empty list.
  if (found.all_tables != wanted.all_tables || (!wanted.all_tables && tables.empty())) {
    return fmt::format("DROP PUBLICATION {}; {}", quoted, create);
  }
  std::string alter = fmt::format("ALTER PUBLICATION {} SET ({})", quoted, with);
  if (!wanted.all_tables)
    alter += fmt::format("; ALTER PUBLICATION {} SET TABLE{}", quoted, tables);
  return alter;
}

absl::Status Apply(Connection& sql, const PublicationOptions& options, const Publication& found,
                   const Wanted& wanted, const std::stop_token& stop) {
  if (!found.narrowed.empty()) {
    std::string tables;
    for (size_t i = 0; i < found.narrowed.size() && i < 20; ++i) {
      tables += (i == 0 ? "" : ", ") + found.narrowed[i];
    }
    log::Warning("the publication had row filters or column lists, which are removed",
                 {{"publication", options.name}, {"table", tables}});
  }
  const std::string statements = Statements(options.name, found, wanted);
  absl::Status status = sql.Execute(statements, stop);
  if (SqlStateOf(status) == kInsufficientPrivilege) {
    // A list of thousands of tables is no message.
    constexpr size_t kMostBytes = 1000;
    return absl::FailedPreconditionError(fmt::format(
        "the publication '{}' cannot be made by this role: {}; let a superuser run: {}{}",
        options.name, std::string(status.message()), statements.substr(0, kMostBytes),
        statements.size() > kMostBytes ? "…" : ""));
  }
  PGC_RETURN_IF_ERROR(status);
  log::Info(found.exists ? "changed the publication" : "made the publication",
            {{"publication", options.name},
             {"tables", wanted.all_tables ? "all" : std::to_string(wanted.tables.size())}});
  return absl::OkStatus();
}

absl::Status CheckIdentities(Connection& sql, const PublicationOptions& options, bool fits,
                             const std::stop_token& stop) {
  // Where nothing changes there is nothing to prevent; the watch over new tables names them.
  if (fits && !options.replica_identity_full) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(const std::vector<Table> without,
                       TablesWithoutIdentity(sql, options.choice, stop));
  if (without.empty()) return absl::OkStatus();
  if (options.replica_identity_full) return SetIdentityFull(sql, without, stop);
  std::vector<QualifiedName> names;
  for (const Table& table : without) names.push_back(table.name);
  return absl::FailedPreconditionError(fmt::format(
      "{} table{} no usable replica identity, and PostgreSQL would refuse UPDATE and DELETE on "
      "{} once published: {}. Give them a primary key or a replica identity, or start with "
      "--replica-identity-full, --tables or --skip-tables",
      names.size(), names.size() == 1 ? " has" : "s have", names.size() == 1 ? "it" : "them",
      ToString(names)));
}

}  // namespace

absl::Status EnsurePublication(Connection& sql, const PublicationOptions& options,
                               const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Publication found, ReadPublication(sql, options.name, stop));
  PGC_ASSIGN_OR_RETURN(Wanted wanted, ReadWanted(sql, options, stop));
  PGC_RETURN_IF_ERROR(CheckIdentities(sql, options, Fits(found, wanted), stop));
  if (options.ddl) {
    PGC_RETURN_IF_ERROR(EnsureDdlCapture(sql, stop));
    // Its table is there now.
    PGC_ASSIGN_OR_RETURN(wanted, ReadWanted(sql, options, stop));
  }
  return Fits(found, wanted) ? absl::OkStatus() : Apply(sql, options, found, wanted, stop);
}

absl::Status CheckPublicationLives(Connection& sql, const std::string& name,
                                   const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Publication found, ReadPublication(sql, name, stop));
  if (found.exists) return absl::OkStatus();
  if (sql.server_version() >= kSkipsMissingVersion) return PublicationWasMissing(name, Lsn{});
  log::Warning(
      "the publication was dropped while the slot lived, and is made again: capture ends if a "
      "published table was changed meanwhile",
      {{"publication", name}});
  return absl::OkStatus();
}

absl::Status PublicationWasMissing(const std::string& name, Lsn captured) {
  return absl::DataLossError(fmt::format(
      "the publication '{}' was dropped while the replication slot lived, and PostgreSQL cannot "
      "decode what was changed without it: changes{} are gone; {}",
      name, captured == Lsn{} ? " made since" : " after " + ToString(captured), kBeginAnew));
}

absl::Status TableWatch::Look(Connection& sql, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Result changes, sql.Query(kCatalogChanges, {}, stop));
  if (!seen_.empty() && changes.Text(0, 0) == seen_) return absl::OkStatus();
  PGC_ASSIGN_OR_RETURN(const Publication found, ReadPublication(sql, options_.name, stop));
  if (!found.exists) {
    return absl::FailedPreconditionError(fmt::format(
        "the publication '{}' was dropped: start again, and it is made again; what is changed "
        "until then in its tables cannot be captured",
        options_.name));
  }
  std::vector<uint32_t> missing;
  if (options_.choice.kind != TableChoice::Kind::kAll) {
    PGC_ASSIGN_OR_RETURN(const Wanted wanted, ReadWanted(sql, options_, stop));
    for (const Table& table : wanted.tables) {
      if (std::binary_search(found.tables.begin(), found.tables.end(), table.oid)) continue;
      missing.push_back(table.oid);
      if (reported_.contains(table.oid)) continue;
      log::Warning("a new table is not captured until the next start",
                   {{"table", ToString(table.name)}, {"publication", options_.name}});
    }
  }
  PGC_ASSIGN_OR_RETURN(const std::vector<Table> without,
                       TablesWithoutIdentity(sql, options_.choice, stop));
  absl::flat_hash_set<uint32_t> reported(missing.begin(), missing.end());
  for (const Table& table : without) {
    if (!reported.insert(table.oid).second || reported_.contains(table.oid)) continue;
    log::Warning(
        "a table has no usable replica identity, and PostgreSQL refuses UPDATE and DELETE on it: "
        "give it a primary key or a replica identity",
        {{"table", ToString(table.name)}, {"publication", options_.name}});
  }
  reported_ = std::move(reported);
  seen_ = changes.Text(0, 0);
  return absl::OkStatus();
}

}  // namespace pgc
