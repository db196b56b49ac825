#include "source/pglogical.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "source/names.h"

namespace pgc {
namespace {

using Level = Finding::Level;

// A library's own setting is there in a session that called nothing of it only when it was
// preloaded; shared_preload_libraries itself is shown to few roles.
constexpr char kServer[] =
    "SELECT getdatabaseencoding(),"
    " EXISTS (SELECT FROM pg_settings WHERE name = 'pglogical.conflict_resolution'),"
    " (SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries'),"
    " (SELECT extversion FROM pg_extension WHERE extname = 'pglogical'),"
    " current_user,"
    " (SELECT bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, "
    "'SELECT'))"
    "  FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid"
    "  WHERE n.nspname = 'pglogical'"
    "  AND c.relname IN ('local_node', 'replication_set', 'replication_set_table'))";

constexpr char kNodes[] = "SELECT count(*) FROM pglogical.local_node";

constexpr char kMissingSets[] =
    "SELECT string_agg(w.name, ', '),"
    " (SELECT string_agg(s.set_name::text, ', ' ORDER BY s.set_name) FROM"
    "  pglogical.replication_set s JOIN pglogical.local_node n ON n.node_id = s.set_nodeid)"
    " FROM unnest($1::text[]) AS w(name) WHERE NOT EXISTS ("
    " SELECT FROM pglogical.replication_set s JOIN pglogical.local_node n"
    " ON n.node_id = s.set_nodeid WHERE s.set_name = w.name)";

// $1: names of sets. Every ordinary table with rows of its own that is not a system's, and all
// that a set has.
constexpr char kTables[] =
    "WITH member AS ("
    " SELECT t.set_reloid::oid AS oid,"
    "  bool_or(s.replicate_insert) AND bool_or(s.replicate_update) AND bool_or(s.replicate_delete)"
    "  AND bool_or(s.replicate_truncate) AS whole,"
    "  bool_or(t.set_att_list IS NOT NULL OR t.set_row_filter IS NOT NULL) AS narrowed"
    " FROM pglogical.replication_set_table t JOIN pglogical.replication_set s USING (set_id)"
    " JOIN pglogical.local_node n ON n.node_id = s.set_nodeid"
    " WHERE s.set_name = ANY ($1::text[]) GROUP BY 1)"
    " SELECT c.oid, n.nspname, c.relname, m.oid IS NOT NULL, m.whole, m.narrowed"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN member m ON m.oid = c.oid"
    " WHERE m.oid IS NOT NULL OR (c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384"
    "  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pglogical')"
    "  AND (n.nspname, c.relname) <> ('pgcapture', 'sources'))"
    " ORDER BY 2, 3";

constexpr char kDdlOutside[] = "pgcapture.ddl_logs is in none of the replication sets";
constexpr char kAddDdl[] =
    "SELECT pglogical.replication_set_add_table(SET, 'pgcapture.ddl_logs'), with a set that no "
    "subscriber of pglogical's has, or start with --no-ddl";

struct Member {
  uint32_t oid = 0;
  QualifiedName name;
  bool in_set = false;
  bool whole = false;     // every kind of change is sent
  bool narrowed = false;  // by a row filter or a list of columns
};

absl::StatusOr<std::vector<Member>> ReadTables(Connection& sql,
                                               const std::vector<std::string>& sets,
                                               const std::stop_token& stop) {
  const Connection::Parameter parameters[] = {ArrayOf(sets)};
  PGC_ASSIGN_OR_RETURN(const Result rows, sql.Query(kTables, parameters, stop));
  std::vector<Member> tables;
  for (int i = 0; i < rows.rows(); ++i) {
    tables.push_back({.oid = static_cast<uint32_t>(rows.Int(i, 0)),
                      .name = {std::string(rows.Text(i, 1)), std::string(rows.Text(i, 2))},
                      .in_set = rows.Bool(i, 3),
                      .whole = rows.Bool(i, 4),
                      .narrowed = rows.Bool(i, 5)});
  }
  return tables;
}

bool IsDdlLogs(const Member& table) { return table.name == QualifiedName{"pgcapture", "ddl_logs"}; }

template <typename Which>
std::vector<QualifiedName> NamesOf(const std::vector<Member>& tables, Which which) {
  std::vector<QualifiedName> names;
  for (const Member& table : tables) {
    if (which(table)) names.push_back(table.name);
  }
  return names;
}

class Examination {
 public:
  Examination(Connection& sql, const PglogicalOptions& options, const std::stop_token& stop)
      : sql_(sql), options_(options), stop_(stop) {}

  absl::StatusOr<std::vector<Finding>> Run() {
    PGC_ASSIGN_OR_RETURN(bool readable, Server());
    if (readable) {
      PGC_ASSIGN_OR_RETURN(readable, Node());
    }
    if (readable) PGC_RETURN_IF_ERROR(Tables());
    return std::move(findings_);
  }

 private:
  void Add(Level level, std::string check, std::string message, std::string remedy = {}) {
    findings_.push_back({.level = level,
                         .check = std::move(check),
                         .message = std::move(message),
                         .remedy = std::move(remedy)});
  }
  // Each gives whether the next can be asked.
  absl::StatusOr<bool> Server();
  absl::StatusOr<bool> Node();
  absl::Status Tables();

  Connection& sql_;
  const PglogicalOptions& options_;
  const std::stop_token& stop_;
  std::vector<Finding> findings_;
};

absl::StatusOr<bool> Examination::Server() {
  PGC_ASSIGN_OR_RETURN(const Result row, sql_.Query(kServer, {}, stop_));
  if (row.Text(0, 0) != "UTF8") {
    Add(Level::kMend, "encoding",
        fmt::format("the database's encoding is {}, and pglogical_output sends names and text as "
                    "they are stored",
                    row.Text(0, 0)),
        "use --decode-plugin pgoutput, or a database with encoding UTF8");
  }
  if (row.Bool(0, 1)) {
    Add(Level::kFine, "shared_preload_libraries", "has pglogical");
  } else {
    Add(Level::kMend, "shared_preload_libraries",
        "pglogical is not preloaded, so pglogical_output cannot be used",
        "install the server's pglogical package (Debian: postgresql-VERSION-pglogical), add "
        "pglogical to shared_preload_libraries and restart the server");
  }
  if (row.IsNull(0, 2) || ListsLibrary(row.Text(0, 2), kPglogicalOutput)) {
    Add(Level::kFine, "output_plugin_libraries", "allows pglogical_output");
  } else {
    Add(Level::kMend, "output_plugin_libraries", "the server does not allow pglogical_output",
        "ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, pglogical_output, "
        "without quotes; then SELECT pg_reload_conf()");
  }
  if (row.IsNull(0, 3)) {
    Add(Level::kMend, "pglogical", "the extension pglogical is not installed in this database",
        "CREATE EXTENSION pglogical");
    return false;
  }
  if (!row.Bool(0, 5)) {
    const std::string role = QuoteIdentifier(row.Text(0, 4));
    Add(Level::kMend, "pglogical",
        fmt::format("the role {} may not read pglogical's tables", row.Text(0, 4)),
        fmt::format("GRANT USAGE ON SCHEMA pglogical TO {}; GRANT SELECT ON ALL TABLES IN SCHEMA "
                    "pglogical TO {}",
                    role, role));
    return false;
  }
  Add(Level::kFine, "pglogical", fmt::format("pglogical {}", row.Text(0, 3)));
  return true;
}

absl::StatusOr<bool> Examination::Node() {
  PGC_ASSIGN_OR_RETURN(const Result nodes, sql_.Query(kNodes, {}, stop_));
  if (nodes.Int(0, 0) == 0) {
    Add(Level::kMend, "pglogical node", "the database is no node of pglogical",
        "SELECT pglogical.create_node(node_name := 'provider', dsn := 'host=… dbname=…')");
    return false;
  }
  Add(Level::kFine, "pglogical node", "the database is one");
  const Connection::Parameter parameters[] = {ArrayOf(options_.sets)};
  PGC_ASSIGN_OR_RETURN(const Result sets, sql_.Query(kMissingSets, parameters, stop_));
  if (options_.sets.empty() || !sets.IsNull(0, 0)) {
    Add(Level::kMend, "replication sets",
        fmt::format("there is no set {}: the node has {}", sets.Text(0, 0), sets.Text(0, 1)),
        "correct --replication-sets, or SELECT pglogical.create_replication_set('…')");
    return false;
  }
  return true;
}

absl::Status Examination::Tables() {
  PGC_ASSIGN_OR_RETURN(const std::vector<Member> tables, ReadTables(sql_, options_.sets, stop_));
  const auto captured = NamesOf(tables, [](const Member& table) { return table.in_set; });
  if (captured.empty()) {
    Add(Level::kMend, "replication sets",
        fmt::format("no table is in any of {}, so transactions would come without their rows",
                    fmt::join(options_.sets, ", ")),
        fmt::format("SELECT pglogical.replication_set_add_all_tables({}, ARRAY['public'])",
                    QuoteLiteral(options_.sets.front())));
    return absl::OkStatus();
  }
  Add(Level::kFine, "replication sets", fmt::format("have {} tables", captured.size()));
  const auto outside =
      NamesOf(tables, [](const Member& table) { return !table.in_set && !IsDdlLogs(table); });
  if (!outside.empty()) {
    Add(Level::kWarning, "tables", "in none of the sets, so not captured: " + ToString(outside),
        "SELECT pglogical.replication_set_add_table(SET, TABLE) for those that are wanted; what "
        "was "
        "written before is not sent");
  }
  const auto in_part =
      NamesOf(tables, [](const Member& table) { return table.in_set && !table.whole; });
  if (!in_part.empty()) {
    Add(Level::kWarning, "operations",
        "only in sets that leave out some of INSERT, UPDATE, DELETE, TRUNCATE: " +
            ToString(in_part),
        "give them a primary key and add them to a set with all four, or capture them with "
        "pgoutput");
  }
  const auto narrowed =
      NamesOf(tables, [](const Member& table) { return table.in_set && table.narrowed; });
  if (!narrowed.empty()) {
    Add(Level::kWarning, "rows and columns",
        "a row filter or a list of columns leaves out some of: " + ToString(narrowed),
        "add them to the set without one, if all is wanted");
  }
  const bool ddl_outside = std::any_of(tables.begin(), tables.end(), [](const Member& table) {
    return IsDdlLogs(table) && !table.in_set;
  });
  if (options_.ddl && ddl_outside) {
    Add(Level::kWarning, "DDL", fmt::format("{}, so DDL is not captured", kDdlOutside), kAddDdl);
  }
  return absl::OkStatus();
}

}  // namespace

bool ListsLibrary(std::string_view setting, std::string_view library) {
  // Names may be quoted, and a quoted one may hold a comma.
  std::string name;
  bool quoted = false;
  for (const char c : setting) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      if (name == library) return true;
      name.clear();
    } else if (quoted || c != ' ') {
      name += c;
    }
  }
  return name == library;
}

absl::StatusOr<std::vector<Finding>> ExaminePglogical(Connection& sql,
                                                      const PglogicalOptions& options,
                                                      const std::stop_token& stop) {
  return Examination(sql, options, stop).Run();
}

absl::Status CheckPglogical(Connection& sql, const PglogicalOptions& options,
                            const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const std::vector<Finding> findings, ExaminePglogical(sql, options, stop));
  for (const Finding& finding : findings) {
    if (finding.level == Level::kMend) {
      return absl::FailedPreconditionError(
          fmt::format("{}: {}: {}", finding.check, finding.message, finding.remedy));
    }
  }
  for (const Finding& finding : findings) {
    // The watch names what is outside, also tables to come.
    if (finding.level != Level::kWarning || finding.check == "tables" || finding.check == "DDL") {
      continue;
    }
    log::Warning(fmt::format("{} ({})", finding.message, finding.remedy));
  }
  return absl::OkStatus();
}

std::string PglogicalStartOptions(int server_version, const std::vector<std::string>& sets) {
  std::string names;
  for (const std::string& set : sets) names += (names.empty() ? "" : ",") + QuoteIdentifier(set);
  // Without forward_origins what another node wrote here would be left out. The encoding is checked
  // by the plugin: it converts nothing.
  return fmt::format(
      "startup_params_format '1', min_proto_version '1', max_proto_version '1',"
      " expected_encoding 'UTF8', \"binary.want_binary_basetypes\" '1',"
      " \"binary.basetypes_major_version\" '{}', \"binary.bigendian\" '1',"
      " \"pglogical.forward_origins\" 'all', \"pglogical.replication_set_names\" {}",
      server_version / 100, QuoteLiteral(names));
}

absl::Status ReplicationSetWatch::Look(Connection& sql, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const std::vector<Member> tables, ReadTables(sql, options_.sets, stop));
  absl::flat_hash_set<uint32_t> outside;
  std::vector<QualifiedName> found;
  for (const Member& table : tables) {
    const bool is_ddl = IsDdlLogs(table);
    if (table.in_set || (is_ddl && !options_.ddl)) continue;
    outside.insert(table.oid);
    if (reported_.contains(table.oid)) continue;
    if (is_ddl) {
      log::Warning(fmt::format("DDL is not captured: {}; {}", kDdlOutside, kAddDdl));
    } else {
      found.push_back(table.name);
    }
  }
  if (!found.empty()) {
    log::Warning(
        "tables in none of the replication sets are not captured; to add one: SELECT "
        "pglogical.replication_set_add_table(SET, TABLE)",
        {{"table", ToString(found)}});
  }
  reported_ = std::move(outside);
  return absl::OkStatus();
}

}  // namespace pgc
