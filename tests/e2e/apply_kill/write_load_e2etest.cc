#include <fmt/format.h>

#include <utility>

#include "e2e/apply_kill/write_load.h"
#include "pg/connection.h"

namespace pgc {

const char kLoadTables[] =
    "CREATE TABLE marker (n int PRIMARY KEY);"
    "CREATE TABLE grown (worker int, a int, v text);"
    "CREATE TABLE keyless (worker int, a int, v text);"
    "CREATE TABLE counted (id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0, big text);"
    "CREATE TABLE uniques (id int PRIMARY KEY, u int UNIQUE, w text, UNIQUE (w), s int);"
    "CREATE TABLE parts (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);"
    "CREATE TABLE parts0 PARTITION OF parts FOR VALUES IN (0);"
    "CREATE TABLE parts_rest PARTITION OF parts DEFAULT;"
    "CREATE TABLE changing (id int PRIMARY KEY, v text);"
    "ALTER TABLE grown REPLICA IDENTITY FULL; ALTER TABLE keyless REPLICA IDENTITY FULL;"
    "INSERT INTO counted SELECT i, 0, repeat(md5(i::text), 200) FROM generate_series(1000, 3999) i;"
    "INSERT INTO uniques SELECT i, i, 'w' || i, 0 FROM generate_series(1000, 3999) i;"
    "INSERT INTO changing SELECT i, 'v' FROM generate_series(1000, 3999) i";

WriteLoad::WriteLoad(std::string url, uint32_t worker, uint64_t seed)
    : url_(std::move(url)), worker_(worker), random_(seed) {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) Session(stop);
  });
}

void WriteLoad::Session(const std::stop_token& stop) {
  const auto connection = Connection::Open(url_, {}, stop);
  if (!connection.ok()) {
    std::this_thread::yield();
    return;
  }
  while (!stop.stop_requested()) {
    std::string sql = "BEGIN;";
    const uint32_t statements = 1 + Pick(Pick(10) == 0 ? 40 : 4);
    for (uint32_t i = 0; i < statements; ++i) sql += Statement();
    // More than the server keeps in memory; some of it in a savepoint that is rolled back.
    if (Pick(40) == 0) {
      const std::string large = fmt::format(
          "UPDATE counted SET n = n + 1 WHERE id BETWEEN {0} AND {0} + 400; INSERT INTO grown "
          "SELECT {1}, i, 'large' FROM generate_series(1, 500) i;",
          worker_ * 1000, worker_);
      sql += large + "SAVEPOINT s;" + large + "ROLLBACK TO s;";
    }
    const bool commit = Pick(10) != 0;
    sql += commit ? "COMMIT" : "ROLLBACK";
    if ((*connection)->Execute(sql).ok()) {
      if (commit) ++committed_;
    } else if (!(*connection)->Execute("ROLLBACK").ok()) {
      return;
    }
  }
}

std::string WriteLoad::Statement() {
  const uint32_t id = worker_ * 1000 + Pick(500);
  switch (Pick(10)) {
    case 0:
    case 1:
      return fmt::format("INSERT INTO grown VALUES ({}, {}, 'v');", worker_, Pick(50));
    case 2:
      return fmt::format("INSERT INTO keyless VALUES ({0}, {1}, NULL), ({0}, {1}, 'v');", worker_,
                         Pick(20));
    case 3:
      return fmt::format(
          "DELETE FROM keyless WHERE ctid IN (SELECT ctid FROM keyless WHERE worker = {} AND a = "
          "{} LIMIT {});",
          worker_, Pick(20), 1 + Pick(3));
    case 4:
      return fmt::format(
          "UPDATE keyless SET a = {} WHERE ctid IN (SELECT ctid FROM keyless WHERE worker = {} AND "
          "v IS NULL LIMIT {});",
          Pick(20), worker_, 1 + Pick(4));
    case 5:
      return fmt::format("UPDATE counted SET n = n + 1 WHERE id BETWEEN {} AND {};", id,
                         id + Pick(5));
    case 6:
      return Swap();
    case 7:
      return fmt::format(
          "INSERT INTO parts VALUES ({0}, {1}, 'v') ON CONFLICT DO NOTHING; UPDATE parts SET k = 1 "
          "- k, v = v || 'x' WHERE id = {2} AND k IN (0, 1) AND NOT EXISTS (SELECT FROM parts p "
          "WHERE p.id = {2} AND p.k = 1 - parts.k);",
          id, Pick(2), worker_ * 1000 + Pick(500));
    case 8:
      return fmt::format("UPDATE changing SET v = md5('{}') WHERE id = {};", Pick(1000), id);
    default:
      return fmt::format(
          "DELETE FROM counted WHERE id = {0}; INSERT INTO counted VALUES ({0}, {1});", id,
          Pick(100));
  }
}

// Two rows take each other's values, by way of a third one.
std::string WriteLoad::Swap() {
  const uint32_t one = worker_ * 1000 + Pick(500);
  const uint32_t other = worker_ * 1000 + 500 + Pick(400);
  return fmt::format(
      "WITH a AS (SELECT u, w FROM uniques WHERE id = {0}), b AS (SELECT u, w FROM uniques WHERE "
      "id = {1}) INSERT INTO uniques SELECT -{0}, a.u + 1000000, a.w || 'a', b.u FROM a, b;"
      "UPDATE uniques SET u = -u, w = '' || -id WHERE id = {0};"
      "UPDATE uniques SET u = (SELECT u - 1000000 FROM uniques WHERE id = -{0}), w = (SELECT "
      "left(w, -1) FROM uniques WHERE id = -{0}) WHERE id = {1};"
      "UPDATE uniques SET u = (SELECT s FROM uniques WHERE id = -{0}), w = 'w' || (SELECT s FROM "
      "uniques WHERE id = -{0}) WHERE id = {0};"
      "DELETE FROM uniques WHERE id = -{0};",
      one, other);
}

DdlLoad::DdlLoad(std::string url, uint64_t seed) : url_(std::move(url)), random_(seed) {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) Session(stop);
  });
}

void DdlLoad::Session(const std::stop_token& stop) {
  const auto connection = Connection::Open(url_, {}, stop);
  if (!connection.ok()) {
    std::this_thread::yield();
    return;
  }
  while (!stop.stop_requested()) {
    ++round_;
    for (const std::string& sql : Round()) {
      if (stop.stop_requested()) return;
      // What depends on a command that a restart has taken away fails, which is as good.
      if ((*connection)->Execute(sql).ok()) {
        ++committed_;
      } else if (!(*connection)->Execute("ROLLBACK").ok()) {
        return;
      }
    }
  }
}

std::vector<std::string> DdlLoad::Round() {
  const std::string n = std::to_string(round_);
  const std::string keep = random_() % 4 == 0 ? "SELECT 1" : "DROP TABLE IF EXISTS made" + n;
  return {
      "CREATE TABLE made" + n + " (id int PRIMARY KEY, v text)",
      "INSERT INTO made" + n + " SELECT i, 'v' FROM generate_series(1, 20) i",
      "BEGIN; ALTER TABLE changing ADD c" + n + " int DEFAULT 7; UPDATE changing SET c" + n +
          " = id WHERE id % 10 = 0; INSERT INTO made" + n + " VALUES (100, 'same'); COMMIT",
      "CREATE INDEX CONCURRENTLY i" + n + " ON changing (c" + n + ")",
      "CREATE TABLE taken" + n + " AS SELECT id, v FROM changing WHERE id % 100 = 0",
      "CREATE TYPE e" + n + " AS ENUM ('a', 'b')",
      "ALTER TABLE made" + n + " ADD e e" + n + " DEFAULT 'a'",
      "UPDATE made" + n + " SET e = 'b' WHERE id < 10",
      "ALTER TABLE made" + n + " RENAME v TO w",
      "BEGIN; CREATE TABLE never" + n + " (id int); INSERT INTO never" + n +
          " VALUES (1); ROLLBACK",
      "DROP INDEX CONCURRENTLY IF EXISTS i" + n,
      "ALTER TABLE changing DROP COLUMN IF EXISTS c" + n,
      "DROP TABLE IF EXISTS taken" + n,
      keep,
  };
}

}  // namespace pgc
