// How rows are found on the target: by every replica identity there is, past several unique
// indexes, in the order of the source where it matters.
#include <fmt/format.h>

#include <string>

#include "e2e/apply/apply_fixture.h"

namespace pgc {
namespace {

class ApplyKeys : public Apply {};

TEST_F(ApplyKeys, RowsWithoutAKeyAreFoundWholeAndAsManyAsTheSourceChanged) {
  Both(
      "CREATE TABLE same (a int, b text, c float8, j json, n numeric, t timestamptz, x int[]);"
      "CREATE TABLE nulls (a int, b text);"
      "CREATE TABLE one (a text);"
      "ALTER TABLE same REPLICA IDENTITY FULL; ALTER TABLE nulls REPLICA IDENTITY FULL;"
      "ALTER TABLE one REPLICA IDENTITY FULL");
  Serve();
  // Ten of each, alike but for how they are written: 1.0 is not 1.00, -0 not 0.
  Sql("INSERT INTO same SELECT 1, 'x', '-0', '{\"a\": 1}', 1.0, 'infinity', '{1,NULL}' FROM "
      "generate_series(1, 10);"
      "INSERT INTO same SELECT 1, 'x', '0', '{\"a\": 1}', 1.0, 'infinity', '{1,NULL}' FROM "
      "generate_series(1, 10);"
      "INSERT INTO same SELECT 1, 'x', 'NaN', '{\"a\":1}', 1.00, NULL, '[0:1]={1,NULL}' FROM "
      "generate_series(1, 10)");
  Sql("INSERT INTO nulls SELECT i, t FROM (VALUES (1, NULL), (NULL, 'x'), (NULL, NULL), (1, 'x'), "
      "(NULL, ''), (1, '')) v (i, t), generate_series(1, 5)");
  Sql("INSERT INTO one SELECT 'a' FROM generate_series(1, 7)");
  WaitApplied();
  const auto some = [](const std::string& table, const std::string& where, int count) {
    return fmt::format("ctid IN (SELECT ctid FROM {} WHERE {} LIMIT {})", table, where, count);
  };
  Sql("DELETE FROM same WHERE " + some("same", "c = 0 AND c::text = '-0'", 3));
  Sql("UPDATE same SET b = 'y' WHERE " + some("same", "c::text = '0'", 4));
  Sql("UPDATE same SET n = 1.0 WHERE " + some("same", "c = 'NaN'", 5));
  Sql("DELETE FROM same WHERE " + some("same", "c = 'NaN'", 6));
  Sql("DELETE FROM nulls WHERE " + some("nulls", "a IS NULL AND b IS NULL", 2));
  Sql("UPDATE nulls SET b = NULL WHERE " + some("nulls", "b = ''", 7));
  Sql("UPDATE nulls SET a = NULL WHERE " + some("nulls", "a = 1 AND b IS NULL", 3));
  Sql("BEGIN; DELETE FROM one WHERE " + some("one", "true", 2) +
      "; INSERT INTO one VALUES ('a'); UPDATE one SET a = NULL WHERE " + some("one", "true", 3) +
      "; UPDATE one SET a = 'b' WHERE " + some("one", "a IS NULL", 1) + "; COMMIT");
  StopAndCompare();
  EXPECT_EQ(AskTarget("SELECT count(*) FROM same"), "21");
}

TEST_F(ApplyKeys, TablesThatOnlyGrowNeedNoIdentity) {
  Serve();
  Sql("CREATE TABLE none (a int, b text); ALTER TABLE none REPLICA IDENTITY NOTHING;"
      "CREATE TABLE unset (a int, b text)");
  Sql("INSERT INTO none SELECT i % 5, 'x' FROM generate_series(1, 100) i");
  Sql("INSERT INTO unset SELECT i % 5, 'x' FROM generate_series(1, 100) i");
  Sql("INSERT INTO none VALUES (1, NULL), (NULL, NULL); TRUNCATE unset; INSERT INTO unset VALUES "
      "(7, '')");
  StopAndCompare();
}

TEST_F(ApplyKeys, AnIndexAsIdentityWithAndWithoutAPrimaryKeyBesideIt) {
  for (const char* extra : {"", ", PRIMARY KEY (id)"}) {
    const std::string name = *extra == '\0' ? "bare" : "beside";
    Both(
        fmt::format("CREATE TABLE {0} (id int, k1 int NOT NULL, k2 text NOT NULL, v text, w text{1}"
                    ");CREATE UNIQUE INDEX {0}_k ON {0} (k2, k1);"
                    "ALTER TABLE {0} REPLICA IDENTITY USING INDEX {0}_k",
                    name, extra));
  }
  Serve();
  for (const std::string name : {"bare", "beside"}) {
    Sql(
        fmt::format("INSERT INTO {} SELECT i, i, 'k' || i, 'v', repeat(md5(i::text), 300) FROM "
                    "generate_series(1, 100) i",
                    name));
    Sql(fmt::format("UPDATE {} SET v = 'w' WHERE k1 <= 50", name));
    // The index's key, the primary key, and both.
    Sql(fmt::format("UPDATE {} SET k1 = k1 + 1000 WHERE k1 <= 10", name));
    Sql(fmt::format("UPDATE {} SET id = id + 1000 WHERE k1 BETWEEN 11 AND 20", name));
    Sql(fmt::format("UPDATE {} SET id = id + 2000, k2 = k2 || 'x' WHERE k1 BETWEEN 15 AND 30",
                    name));
    Sql(fmt::format("DELETE FROM {} WHERE k1 BETWEEN 25 AND 40", name));
    Sql(
        fmt::format("BEGIN; DELETE FROM {0} WHERE k1 = 50; INSERT INTO {0} VALUES (50, 50, 'k50', "
                    "'again', NULL); UPDATE {0} SET k2 = 'k0' WHERE k1 = 50; COMMIT",
                    name));
  }
  StopAndCompare();
}

TEST_F(ApplyKeys, ValuesSwappedBetweenRowsOfSeveralUniqueIndexes) {
  Both(
      "CREATE TABLE swap (id int PRIMARY KEY, u int UNIQUE, w text, UNIQUE (w, u));"
      "CREATE UNIQUE INDEX swap_some ON swap (lower(w)) WHERE id < 100;"
      "CREATE TABLE later (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY IMMEDIATE, v int "
      "UNIQUE DEFERRABLE INITIALLY DEFERRED)");
  Serve();
  Sql("INSERT INTO swap SELECT i, i, 'w' || i FROM generate_series(1, 200) i;"
      "INSERT INTO later SELECT i, i, i FROM generate_series(1, 200) i");
  // By way of a third value, and by way of a row that goes.
  for (int i = 1; i < 60; i += 2) {
    Sql(
        fmt::format("BEGIN; UPDATE swap SET u = -1 WHERE id = {0}; UPDATE swap SET u = {0} WHERE "
                    "id = {1}; UPDATE swap SET u = {1} WHERE id = {0}; COMMIT",
                    i, i + 1));
    Sql(
        fmt::format("BEGIN; DELETE FROM swap WHERE id = {0}; UPDATE swap SET w = 'W{0}' WHERE id = "
                    "{1}; INSERT INTO swap VALUES ({0}, 1000 + {0}, 'w{1}'); COMMIT",
                    i, i + 1));
  }
  // Chains: each row takes what the one before has left.
  Sql("BEGIN; UPDATE swap SET u = 5000 WHERE u = 151; UPDATE swap SET u = -u WHERE u BETWEEN 101 "
      "AND 150; UPDATE swap SET u = 1 - u WHERE u < 0; COMMIT");
  Sql("UPDATE later SET u = u + 1; UPDATE later SET u = 401 - u;"
      "UPDATE later SET v = CASE WHEN id % 2 = 1 THEN v + 1 ELSE v - 1 END");
  Sql("BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE later SET u = 0 WHERE id IN (1, 2); UPDATE "
      "later SET u = 1 WHERE id = 2; UPDATE later SET v = v + 1 WHERE id = 5; DELETE FROM later "
      "WHERE v = (SELECT v FROM later WHERE id = 5) AND id <> 5; COMMIT");
  // The same value wanders through rows of transactions of their own.
  for (int i = 160; i < 199; ++i) {
    Sql(fmt::format("UPDATE swap SET u = 9999 WHERE id = {}; UPDATE swap SET u = {} WHERE id = {}",
                    i, 20'000 + i, i));
  }
  StopAndCompare();
}

TEST_F(ApplyKeys, KeysThatMoveUpByOneAndRowsThatComeBack) {
  Both(
      "CREATE TABLE chain (id int PRIMARY KEY, v text);"
      "CREATE TABLE free (id int PRIMARY KEY DEFERRABLE, v text);"
      "ALTER TABLE free REPLICA IDENTITY FULL");
  Serve();
  // Stored from the highest down, so that each finds its new key free.
  Sql("INSERT INTO chain SELECT i, 'v' || i FROM generate_series(500, 1, -1) i;"
      "INSERT INTO free SELECT i, 'v' || i FROM generate_series(1, 500) i");
  Sql("UPDATE chain SET id = id + 1");
  for (int i = 0; i < 5; ++i) Sql("UPDATE free SET id = id + 1");
  Sql("UPDATE free SET id = 600 - id");
  // One key, again and again, in one transaction and in several.
  Sql("BEGIN; DELETE FROM chain WHERE id = 10; INSERT INTO chain VALUES (10, 'a'); UPDATE chain "
      "SET v = 'b' WHERE id = 10; UPDATE chain SET id = 1000 WHERE id = 10; INSERT INTO chain "
      "VALUES (10, 'c'); DELETE FROM chain WHERE id = 1000; UPDATE chain SET v = v || 'd' WHERE id "
      "= 10; "
      "COMMIT");
  for (int i = 0; i < 50; ++i) {
    Sql(fmt::format("INSERT INTO chain VALUES (2000, '{0}')", i));
    Sql("UPDATE chain SET v = v || 'x' WHERE id = 2000");
    Sql(i % 2 == 0
            ? "DELETE FROM chain WHERE id = 2000"
            : "UPDATE chain SET id = 3000 + id + (SELECT max(id) FROM chain) WHERE id = 2000");
  }
  Sql("BEGIN; INSERT INTO chain VALUES (4000, 'gone'); DELETE FROM chain WHERE id = 4000; COMMIT");
  StopAndCompare();
}

TEST_F(ApplyKeys, RowsThatMustNotOverlapMoveInTheirOrder) {
  Both(
      "CREATE TABLE room (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH "
      "&&));"
      "CREATE TABLE hall (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH "
      "&&) DEFERRABLE INITIALLY DEFERRED)");
  Serve();
  for (const char* table : {"room", "hall"}) {
    Sql(fmt::format(
        "INSERT INTO {} SELECT i, int4range(i * 10, i * 10 + 10) FROM generate_series(1, 100) i",
        table));
  }
  for (int i = 1; i < 40; i += 2) {
    Sql(
        fmt::format("BEGIN; UPDATE room SET during = 'empty' WHERE id = {0}; UPDATE room SET "
                    "during = int4range({0} * 10, {0} * 10 + 5) WHERE id = {1}; UPDATE room SET "
                    "during = int4range({0} * 10 + 5, {1} * 10 + 10) WHERE id = {0}; COMMIT",
                    i, i + 1));
  }
  Sql("UPDATE hall SET during = int4range(lower(during) + 5, upper(during) + 5)");
  Sql("UPDATE hall SET during = int4range(1010 - lower(during), 1020 - lower(during))");
  Sql("BEGIN; DELETE FROM room WHERE id = 50; INSERT INTO room VALUES (500, '[500,510)'); UPDATE "
      "room SET during = '[500,505)' WHERE id = 500; INSERT INTO room VALUES (50, '[505,510)'); "
      "COMMIT");
  StopAndCompare();
}

TEST_F(ApplyKeys, TriggersAndCascadesOfTheSourceRunThereOnly) {
  Both(
      "CREATE TABLE parent (id int PRIMARY KEY, v int DEFAULT 0);"
      "CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE ON UPDATE "
      "CASCADE, v int DEFAULT 0);"
      "CREATE TABLE grandchild (id int PRIMARY KEY, c int REFERENCES child ON DELETE SET NULL);"
      "CREATE TABLE itself (id int PRIMARY KEY, up int REFERENCES itself DEFERRABLE INITIALLY "
      "DEFERRED);"
      "CREATE TABLE audit (id bigserial PRIMARY KEY, what text);"
      "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit "
      "(what) VALUES (tg_op || tg_table_name); IF tg_op = 'DELETE' THEN RETURN OLD; END IF; NEW.v "
      ":= NEW.v + 1; RETURN NEW; END $$;"
      "CREATE TRIGGER t1 BEFORE INSERT OR UPDATE OR DELETE ON parent FOR EACH ROW EXECUTE FUNCTION "
      "note();"
      "CREATE TRIGGER t2 BEFORE INSERT OR UPDATE OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION "
      "note()");
  Serve();
  Sql("INSERT INTO parent SELECT generate_series(1, 50);"
      "INSERT INTO child SELECT i, i % 50 + 1 FROM generate_series(1, 200) i;"
      "INSERT INTO grandchild SELECT i, i % 200 + 1 FROM generate_series(1, 300) i");
  Sql("UPDATE parent SET id = id + 100 WHERE id <= 10");
  Sql("DELETE FROM parent WHERE id BETWEEN 20 AND 30");
  Sql("BEGIN; INSERT INTO itself VALUES (1, 2), (3, 1); INSERT INTO itself VALUES (2, 3); COMMIT");
  Sql("BEGIN; UPDATE itself SET id = 20 WHERE id = 2; UPDATE itself SET up = 20 WHERE id = 1; "
      "COMMIT");
  StopAndCompare();
  EXPECT_EQ(AskTarget("SELECT count(*) > 300 FROM audit"), "t");
}

}  // namespace
}  // namespace pgc
