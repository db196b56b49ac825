// Each change has the names and types that held when it was made, however far the catalog has moved
// on when it is read.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "source/postgres_source.h"
#include "testing/database_test.h"
#include "testing/source_reader.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

// What the model knows of the database, so that every statement is one that succeeds.
struct Column {
  std::string name;
  std::string type;
};
struct Table {
  std::string schema;
  std::string name;
  std::vector<Column> columns;  // beside id

  std::string quoted() const { return schema + "." + name; }
};

class SchemaWorkload {
 public:
  static constexpr char kSchemas[] = "CREATE SCHEMA one; CREATE SCHEMA two";

  explicit SchemaWorkload(uint32_t seed) : random_(seed) {}

  // DDL and DML of several tables, mixed, with savepoints; committed or not.
  std::string Transaction() {
    const std::vector<Table> before = tables_;
    std::string sql = "BEGIN;";
    for (uint32_t i = 2 + Pick(8); i > 0; --i) {
      if (Pick(8) == 0) {
        const std::vector<Table> at_savepoint = tables_;
        sql += "SAVEPOINT s;";
        for (int inner = 0; inner < 3; ++inner) sql += Statement();
        if (Pick(2) == 0) {
          sql += "ROLLBACK TO s;";
          tables_ = at_savepoint;
        }
      } else {
        sql += Statement();
      }
    }
    if (Pick(6) != 0) return sql + "COMMIT";
    tables_ = before;
    return sql + "ROLLBACK";
  }

 private:
  uint32_t Pick(uint32_t below) { return static_cast<uint32_t>(random_() % below); }
  std::string NewName(const char* prefix) { return fmt::format("{}{}", prefix, ++names_); }
  const char* PickSchema() { return Pick(2) == 0 ? "one" : "two"; }

  std::string PickType() {
    constexpr const char* kTypes[] = {"boolean", "integer", "bigint", "text", "bytea"};
    return kTypes[Pick(5)];
  }

  static std::string ValueOf(const std::string& type) {
    if (type == "boolean") return "i % 3 = 0";
    if (type == "bytea") return "decode(md5(i::text), 'hex')";
    if (type == "text") return "repeat(md5(i::text), 9)";
    return "i";
  }

  std::string Create(const std::string& schema, const std::string& name) {
    Table table{.schema = schema, .name = name, .columns = {}};
    std::string columns = "id int PRIMARY KEY";
    for (uint32_t i = Pick(4); i > 0; --i) {
      table.columns.push_back({.name = NewName("c"), .type = PickType()});
      columns += fmt::format(", {} {}", table.columns.back().name, table.columns.back().type);
    }
    tables_.push_back(table);
    return fmt::format("CREATE TABLE {} ({});", table.quoted(), columns);
  }

  std::string Insert(const Table& table, uint32_t count) {
    std::string names = "id";
    std::string values = "nextval('ids')";
    for (const Column& column : table.columns) {
      names += ", " + column.name;
      values += ", " + ValueOf(column.type);
    }
    return fmt::format("INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {}) i;",
                       table.quoted(), names, values, count);
  }

  std::string Statement() {
    if (tables_.size() < 3) return Create(PickSchema(), NewName("t"));
    const size_t at = Pick(static_cast<uint32_t>(tables_.size()));
    Table& table = tables_[at];
    switch (Pick(16)) {
      case 0: {
        table.columns.push_back({.name = NewName("c"), .type = PickType()});
        const Column& column = table.columns.back();
        return fmt::format("ALTER TABLE {} ADD COLUMN {} {};", table.quoted(), column.name,
                           column.type);
      }
      case 1:
        return table.columns.empty() ? Insert(table, 1) : Drop(table);
      case 2:
        return table.columns.empty() ? Insert(table, 1) : Rename(table);
      case 3:
        return table.columns.empty() ? Insert(table, 1) : ChangeType(table);
      case 4: {
        const std::string from = table.quoted();
        table.name = NewName("t");
        return fmt::format("ALTER TABLE {} RENAME TO {};", from, table.name);
      }
      case 5: {
        const std::string from = table.quoted();
        table.schema = table.schema == "one" ? "two" : "one";
        return fmt::format("ALTER TABLE {} SET SCHEMA {};", from, table.schema);
      }
      case 6:
        return fmt::format("ALTER TABLE {} REPLICA IDENTITY {};", table.quoted(),
                           Pick(2) == 0 ? "FULL" : "DEFAULT");
      case 7: {
        const Table dropped = table;
        tables_.erase(tables_.begin() + static_cast<std::ptrdiff_t>(at));
        return fmt::format("DROP TABLE {};", dropped.quoted()) +
               Create(dropped.schema, dropped.name);
      }
      case 8:
        return Insert(table, 400);  // in pieces
      case 9:
        return fmt::format("UPDATE {} SET id = -nextval('ids') WHERE id % 7 = 1;", table.quoted());
      case 10:
        return fmt::format("DELETE FROM {} WHERE id % 5 = 2;", table.quoted());
      case 11:
        if (table.columns.empty()) return Insert(table, 2);
        return fmt::format("UPDATE {0} SET {1} = NULL WHERE id % 3 = 0;", table.quoted(),
                           table.columns.back().name);
      default:
        return Insert(table, 1 + Pick(4));
    }
  }

  Column& PickColumn(Table& table) {
    return table.columns[Pick(static_cast<uint32_t>(table.columns.size()))];
  }
  std::string Drop(Table& table) {
    const std::string name = table.columns.front().name;
    table.columns.erase(table.columns.begin());
    return fmt::format("ALTER TABLE {} DROP COLUMN {};", table.quoted(), name);
  }
  std::string Rename(Table& table) {
    Column& column = PickColumn(table);
    const std::string from = column.name;
    column.name = NewName("c");
    return fmt::format("ALTER TABLE {} RENAME COLUMN {} TO {};", table.quoted(), from, column.name);
  }
  std::string ChangeType(Table& table) {
    Column& column = PickColumn(table);
    column.type = PickType();
    return fmt::format("ALTER TABLE {0} ALTER COLUMN {1} TYPE {2} USING NULL::{2};", table.quoted(),
                       column.name, column.type);
  }

  std::mt19937 random_;
  std::vector<Table> tables_;
  int names_ = 0;
};

class SchemaChanges : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    // So that transactions of some hundred rows come in pieces.
    Sql("ALTER SYSTEM SET logical_decoding_work_mem = '64kB'");
    Sql("SELECT pg_reload_conf()");
  }
  void MakeSlot(const std::string& topic) {
    Sql(fmt::format("CREATE PUBLICATION {} FOR ALL TABLES WITH (publish_via_partition_root = true)",
                    topic));
    Sql(fmt::format("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", topic));
  }
  PostgresSourceOptions Options(const std::string& topic, bool pieces) const {
    PostgresSourceOptions options;
    options.url = server_->Url(name_);
    options.topic = topic;
    options.no_ddl = true;
    if (pieces) options.spool_dir = folder_.path() / "spool";
    return options;
  }
  std::vector<std::string> Read(const PostgresSourceOptions& options, Lsn end) {
    SourceReader reader(NewPostgresSource(options));
    EXPECT_TRUE(reader.WaitUntilOpen()) << reader.Stop();
    auto events = reader.WaitForPosition(end);
    const absl::Status status = reader.Stop();
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
    return events;
  }

  TempDir folder_;
};

std::vector<std::string> TestDecoding(Connection& sql) {
  const auto rows = sql.Query(
      "SELECT data FROM pg_logical_slot_get_changes('reference', NULL, NULL, 'include-xids', '0',"
      " 'skip-empty-xacts', '1')");
  EXPECT_TRUE(rows.ok()) << rows.status();
  std::vector<std::string> lines;
  for (int i = 0; rows.ok() && i < rows->rows(); ++i) lines.emplace_back(rows->Text(i, 0));
  return lines;
}

TEST_F(SchemaChanges, EachChangeHasTheNamesAndTypesOfItsTime) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  Sql(SchemaWorkload::kSchemas);
  Sql("CREATE SEQUENCE ids");
  MakeSlot("whole");
  MakeSlot("pieces");
  Sql("SELECT pg_create_logical_replication_slot('reference', 'test_decoding')");
  // What follows may have a command that the server cannot decode in pieces, and then everything
  // after it comes whole: these come in pieces whatever the seed.
  Sql("CREATE TABLE one.unchanging (id int PRIMARY KEY, v text)");
  for (int i = 0; i < 6; ++i) {
    Sql("INSERT INTO one.unchanging SELECT nextval('ids'), repeat(md5(i::text), 9)"
        " FROM generate_series(1, 400) i");
  }
  SchemaWorkload workload(seed);
  for (int i = 0; i < 300; ++i) {
    const std::string transaction = workload.Transaction();
    const absl::Status status = sql_->Execute(transaction);
    ASSERT_TRUE(status.ok()) << status << "\n" << transaction;
  }
  const Lsn end = WalEnd();
  // The catalog has nothing of them any more.
  Sql("DROP SCHEMA one CASCADE; DROP SCHEMA two CASCADE");
  const std::vector<std::string> expected = TestDecoding(*sql_);
  EXPECT_GT(expected.size(), 3'000u);
  for (const bool pieces : {false, true}) {
    SCOPED_TRACE(pieces ? "in pieces" : "whole");
    const std::vector<std::string> events = Read(Options(pieces ? "pieces" : "whole", pieces), end);
    ASSERT_EQ(events.size(), expected.size());
    for (size_t i = 0; i < events.size(); ++i) ASSERT_EQ(events[i], expected[i]) << i;
  }
  EXPECT_EQ(Ask("SELECT stream_txns > 5 FROM pg_stat_replication_slots WHERE slot_name = 'pieces'"),
            "t");
}

TEST_F(SchemaChanges, PartitionsThatComeAndGoCarryTheNameTheyHadThen) {
  Sql("CREATE TABLE root (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)");
  Sql("CREATE TABLE low PARTITION OF root FOR VALUES FROM (0) TO (10)");
  // Its columns stand in another order than the root's.
  Sql("CREATE TABLE high (v text, gone int, id int PRIMARY KEY)");
  MakeSlot("parts");
  Sql("INSERT INTO high (id, v) VALUES (10, 'alone')");
  Sql("ALTER TABLE high DROP COLUMN gone");
  Sql("BEGIN; INSERT INTO high (id, v) VALUES (11, 'before');"
      "ALTER TABLE root ATTACH PARTITION high FOR VALUES FROM (10) TO (20);"
      "INSERT INTO root VALUES (1, 'low'), (12, 'attached'); COMMIT");
  Sql("UPDATE root SET id = 13 WHERE id = 1");
  Sql("BEGIN; ALTER TABLE root DETACH PARTITION high; INSERT INTO high VALUES ('detached', 14);"
      "INSERT INTO root VALUES (2, 'left'); COMMIT");
  Sql("ALTER TABLE root RENAME COLUMN v TO w");
  Sql("INSERT INTO root VALUES (3, 'renamed')");
  const Lsn end = WalEnd();
  Sql("DROP TABLE root; DROP TABLE high");
  const std::vector<std::string> expected = {
      "BEGIN",
      "table public.high: INSERT: v[text]:'alone' gone[integer]:null id[integer]:10",
      "COMMIT",
      "BEGIN",
      "table public.high: INSERT: v[text]:'before' id[integer]:11",
      "table public.root: INSERT: id[integer]:1 v[text]:'low'",
      "table public.root: INSERT: id[integer]:12 v[text]:'attached'",
      "COMMIT",
      "BEGIN",
      "table public.root: DELETE: id[integer]:1",
      "table public.root: INSERT: id[integer]:13 v[text]:'low'",
      "COMMIT",
      "BEGIN",
      "table public.high: INSERT: v[text]:'detached' id[integer]:14",
      "table public.root: INSERT: id[integer]:2 v[text]:'left'",
      "COMMIT",
      "BEGIN",
      "table public.root: INSERT: id[integer]:3 w[text]:'renamed'",
      "COMMIT",
  };
  EXPECT_EQ(Read(Options("parts", true), end), expected);
}

TEST_F(SchemaChanges, ValuesOfTypesThatAreGoneAreCarried) {
  Sql("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);"
      "CREATE TYPE pair AS (a int, b text); CREATE TYPE span AS RANGE (subtype = int);"
      "CREATE TABLE t (id int PRIMARY KEY, m mood, p positive, c pair, s span, ms mood[])");
  const auto oid = [this](const char* type) {
    return Ask(fmt::format("SELECT '{}'::regtype::oid", type));
  };
  const std::string old_mood = oid("mood");
  const std::string positive = oid("positive");
  const std::string pair = oid("pair");
  const std::string span = oid("span");
  const std::string moods = oid("mood[]");
  MakeSlot("types");
  Sql("INSERT INTO t VALUES (1, 'sad', 7, (1, 'x'), '[1,3)', '{happy}')");
  Sql("ALTER TABLE t DROP COLUMN ms, ALTER COLUMN m TYPE text; DROP TYPE mood;"
      "CREATE TYPE mood AS ENUM ('sad', 'new'); ALTER TABLE t ALTER COLUMN m TYPE mood USING "
      "m::mood");
  const std::string new_mood = oid("mood");
  ASSERT_NE(old_mood, new_mood);
  Sql("INSERT INTO t VALUES (2, 'new', 8, NULL, 'empty')");
  const Lsn end = WalEnd();
  Sql("DROP TABLE t; DROP TYPE mood; DROP DOMAIN positive; DROP TYPE pair; DROP TYPE span");
  const std::vector<std::string> events = Read(Options("types", true), end);
  ASSERT_EQ(events.size(), 6u);
  // An enum is its label, a domain what it is made of, the others as PostgreSQL sends them.
  EXPECT_EQ(events[1],
            fmt::format("table public.t: INSERT: id[integer]:1 m[?]:{}:736164 p[?]:{}:00000007"
                        " c[?]:{}:00000002000000170000000400000001000000190000000178"
                        " s[?]:{}:0200000004000000010000000400000003"
                        " ms[?]:{}:00000001000000000000{:04x}0000000100000001000000056861707079",
                        old_mood, positive, pair, span, moods, std::stoi(old_mood)));
  EXPECT_EQ(events[4], fmt::format("table public.t: INSERT: id[integer]:2 m[?]:{}:6e6577 "
                                   "p[?]:{}:00000008 c[?]:null s[?]:{}:01",
                                   new_mood, positive, span));
}

}  // namespace
}  // namespace pgc
