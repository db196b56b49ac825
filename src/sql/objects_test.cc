#include "sql/objects.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "sql/tokens.h"

namespace pgc {
namespace {

// `schema a, b.c`
std::string Read(std::string_view sql) {
  constexpr const char* kKinds[] = {"schema", "extension", "replication", "large", "other"};
  const auto tokens = Tokenize(sql);
  EXPECT_TRUE(tokens.ok()) << tokens.status();
  const NamedObjects objects = ReadObjects(*tokens, Classify(*tokens));
  std::string out = kKinds[static_cast<size_t>(objects.kind)];
  for (const auto& name : objects.names) {
    out += &name == objects.names.data() ? " " : ", ";
    for (const std::string& part : name) out += (&part == name.data() ? "" : ".") + part;
  }
  return out;
}

TEST(ReadObjects, FindsTheNamesOfEveryKindOfCommand) {
  const std::vector<std::pair<const char*, const char*>> kCases = {
      {"CREATE TABLE IF NOT EXISTS A.\"B\" (c int)", "other a.B"},
      {"CREATE TABLE a.b AS SELECT 1", "other a.b"},
      {"SELECT 1 INTO UNLOGGED a.b FROM c", "other a.b"},
      {"ALTER TABLE IF EXISTS ONLY a.b ADD c int", "other a.b"},
      {"DROP TABLE IF EXISTS a.b, c CASCADE", "other a.b, c"},
      {"DROP FUNCTION a.b(int, numeric(10, 2)), c", "other a.b, c"},
      {"CREATE UNIQUE INDEX CONCURRENTLY i ON ONLY a.b (c)", "other a.b"},
      {"DROP INDEX CONCURRENTLY IF EXISTS a.i", "other a.i"},
      {"CREATE TRIGGER t BEFORE INSERT ON a.b EXECUTE FUNCTION f()", "other a.b"},
      {"DROP TRIGGER IF EXISTS t ON a.b", "other a.b"},
      {"CREATE OR REPLACE RULE r AS ON INSERT TO a.b DO NOTHING", "other a.b"},
      {"ALTER RULE r ON a.b RENAME TO s", "other a.b"},
      {"CREATE POLICY p ON a.b", "other a.b"},
      {"CREATE MATERIALIZED VIEW a.b AS SELECT 1", "other a.b"},
      {"DROP CAST (text AS int)", "other"},
      {"CREATE SCHEMA IF NOT EXISTS a AUTHORIZATION b", "schema a"},
      {"CREATE SCHEMA AUTHORIZATION b", "schema b"},
      {"DROP SCHEMA a, \"B\" CASCADE", "schema a, B"},
      {"CREATE EXTENSION IF NOT EXISTS \"a-b\" SCHEMA c", "extension a-b"},
      {"DROP EXTENSION a, b", "extension a, b"},
      {"ALTER PUBLICATION p ADD TABLE t", "replication p"},
      {"COMMENT ON TABLE a.b IS 'x'", "other a.b"},
      {"COMMENT ON COLUMN a.b.c IS 'x'", "other a.b.c"},
      {"COMMENT ON CONSTRAINT c ON DOMAIN a.b IS 'x'", "other a.b"},
      {"COMMENT ON SCHEMA a IS 'x'", "schema a"},
      {"COMMENT ON SUBSCRIPTION s IS 'x'", "replication s"},
      {"COMMENT ON MATERIALIZED VIEW a.b IS 'x'", "other a.b"},
      {"SECURITY LABEL FOR p ON FUNCTION a.f(int) IS 'x'", "other a.f"},
      {"COMMENT ON LARGE OBJECT 12 IS 'x'", "large"},
      {"ALTER LARGE OBJECT 12 OWNER TO a", "large"},
      {"GRANT ALL ON LARGE OBJECT 12 TO a", "large"},
      {"GRANT SELECT (a), INSERT ON TABLE a.b, c TO d", "other a.b, c"},
      {"GRANT SELECT ON a.b TO d", "other a.b"},
      {"REVOKE ALL ON ALL TABLES IN SCHEMA a, b FROM c", "schema a, b"},
      {"GRANT USAGE ON SCHEMA a TO b", "schema a"},
      {"GRANT EXECUTE ON FUNCTION a.f(int), g TO b", "other a.f, g"},
      {"ALTER DEFAULT PRIVILEGES FOR ROLE r IN SCHEMA a GRANT SELECT ON TABLES TO b", "schema a"},
      {"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO b", "other"},
      {"SELECT 1", "other"},
      {"DROP", "other"},
      {"COMMENT ON", "other"},
      {"GRANT a TO b", "other"},
      {"", "other"},
  };
  for (const auto& [sql, objects] : kCases) EXPECT_EQ(Read(sql), objects) << sql;
}

}  // namespace
}  // namespace pgc
