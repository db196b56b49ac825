// Every type that the server has, alone, in arrays and in types made of it, through inserts,
// updates that leave it alone or change it, changes of the key, and deletes.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "e2e/apply/apply_fixture.h"

namespace pgc {
namespace {

using Texts = std::vector<std::string>;

// Values of each type, as text; the first two differ. An empty int2vector or oidvector is not among
// them: PostgreSQL cannot read the binary form that it sends of it.
const std::map<std::string, Texts>& ValuesOfTypes() {
  static const auto& values = *new std::map<std::string, Texts>{
      {"bit", {"1", "0"}},
      {"bool", {"t", "f"}},
      {"box", {"(1,2),(3,4.5)", "(0,0),(-1e300,1e-300)"}},
      {"bpchar", {"a  ", "", "é"}},
      {"bytea", {"\\x00ff275c", "\\x"}},
      {"char", {"a", "", "\\377"}},
      {"cid", {"4294967295", "0"}},
      {"cidr", {"10.0.0.0/8", "2001:db8::/32"}},
      {"circle", {"<(1,2),3>", "<(0,0),Infinity>"}},
      {"date", {"2020-02-29", "infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"}},
      {"float4", {"1.5", "NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38"}},
      {"float8", {"0.1", "NaN", "Infinity", "-Infinity", "-0", "5e-324"}},
      {"inet", {"10.1.2.3/8", "::1", "192.168.0.1"}},
      {"int2", {"-32768", "32767"}},
      {"int2vector", {"1 2 3", "-1"}},
      {"int4", {"-2147483648", "2147483647"}},
      {"int8", {"-9223372036854775808", "9223372036854775807"}},
      {"interval", {"1 mon -2 days 03:04:05.000006", "0", "-178000000 years"}},
      {"json", {R"({"b":1,  "a":[null, "\u00e9"],"b":2})", " null ", R"("'")"}},
      {"jsonb", {R"({"b":1e3,"a":[null,"é"]})", "null", "[]"}},
      {"jsonpath", {R"($."a"[*]?(@ > 1))", "strict $"}},
      {"line", {"{1,2,3}", "{0,-1,0}"}},
      {"lseg", {"[(1,2),(3,4)]", "[(0,0),(NaN,1)]"}},
      {"macaddr", {"08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"}},
      {"macaddr8", {"08:00:2b:01:02:03:04:05", "ff:ff:ff:ff:ff:ff:ff:ff"}},
      {"money", {"-12.34", "92233720368547758.07"}},
      {"name", {"a", std::string(63, 'x'), ""}},
      {"numeric",
       {"1.50", "NaN", "Infinity", "-Infinity", "0.000", "-1" + std::string(400, '0') + ".25"}},
      {"oid", {"4294967295", "0"}},
      {"oidvector", {"1 2 4294967295", "0"}},
      {"path", {"[(1,2),(3,4)]", "((1,2),(3,4),(5,6))"}},
      {"pg_lsn", {"FFFFFFFF/FFFFFFFF", "0/0"}},
      {"pg_snapshot", {"10:20:10,14,15", "3:3:"}},
      {"point", {"(1,2)", "(-0,NaN)", "(Infinity,-Infinity)"}},
      {"polygon", {"((1,2),(3,4),(5,6))", "((0,0))"}},
      {"refcursor", {"a", ""}},
      {"regclass", {"pg_class", "pg_catalog.pg_type"}},
      {"regcollation", {"\"C\"", "\"POSIX\""}},
      {"regconfig", {"english", "simple"}},
      {"regdictionary", {"simple", "english_stem"}},
      {"regnamespace", {"pg_catalog", "public"}},
      {"regoper", {"||/", "0"}},
      {"regoperator", {"+(integer,integer)", "0"}},
      {"regproc", {"now", "-"}},
      {"regprocedure", {"now()", "abs(integer)"}},
      {"regrole", {"postgres", "pg_monitor"}},
      {"regtype", {"integer", "text[]"}},
      {"text", {"it's \"quoted\" \\ \t\n", "", "\xE2\x82\xAC", "NULL", "{1,2}"}},
      {"tid", {"(4294967295,65535)", "(0,1)"}},
      {"time", {"00:00:00.000001", "24:00:00"}},
      {"timestamp", {"2020-02-29 23:59:59.999999", "infinity", "-infinity", "4713-01-01 BC"}},
      {"timestamptz", {"2020-02-29 23:59:59.999999+14", "infinity", "-infinity", "294276-12-31Z"}},
      {"timetz", {"12:00:00.5+05:30", "24:00:00-15:59"}},
      {"tsquery", {"'a b':*AB & !(c <2> d)", ""}},
      {"tsvector", {"'a b':1A,2B 'c'", ""}},
      {"txid_snapshot", {"10:20:10,14,15", "3:3:"}},
      {"uuid", {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
      {"varbit", {"101", "", "1111000011110000"}},
      {"varchar", {"a ", "", "\xC3\xA9"}},
      {"xid", {"4294967295", "3"}},
      {"xid8", {"18446744073709551615", "0"}},
      {"xml", {"<a b=\"1\">é</a>", "<?xml version=\"1.0\"?><a/>", "text"}},
      {"int4range", {"[1,5)", "empty", "(,)", "[3,)"}},
      {"int8range", {"[1,5)", "(,7)"}},
      {"numrange", {"[1.0,2.50]", "(NaN,)", "empty"}},
      {"tsrange", {"[2020-01-01,infinity)", "empty"}},
      {"tstzrange", {"[2020-01-01 00:00+00,2021-01-01 00:00+00]", "(,)"}},
      {"daterange", {"[2020-01-01,2020-02-01)", "(,infinity)"}},
      {"int4multirange", {"{[1,5),[7,9)}", "{}"}},
      {"int8multirange", {"{[1,5)}", "{(,)}"}},
      {"nummultirange", {"{[1.0,2.50]}", "{}"}},
      {"tsmultirange", {"{[2020-01-01,2021-01-01)}", "{}"}},
      {"tstzmultirange", {"{[2020-01-01 00:00+00,)}", "{}"}},
      {"datemultirange", {"{[2020-01-01,2020-02-01)}", "{}"}},
  };
  return values;
}

// Types without input, and one without a binary form.
const std::set<std::string>& TypesWithoutValues() {
  static const auto& types = *new std::set<std::string>{
      "aclitem",         "gtsvector",   "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary",
      "pg_dependencies", "pg_mcv_list", "pg_ndistinct",          "pg_node_tree"};
  return types;
}

// A type under test. The elements of its arrays are text where it has no binary form: PostgreSQL
// cannot send such an array in the stream.
struct TypeCase {
  std::string type;
  std::string element;
  Texts values;

  std::string Value(size_t number) const { return QuoteLiteral(values.at(number)) + "::" + type; }
  std::string Array(const std::string& elements) const {
    return fmt::format("ARRAY[{}]::{}[]", elements, element);
  }
};

// Each value alone, in an array with a NULL, in one of two dimensions, with bounds of its own, and
// an empty one.
std::string Inserts(const std::string& table, const TypeCase& of) {
  std::string sql =
      fmt::format("INSERT INTO {} VALUES (1, NULL, NULL), (2, NULL, '{{}}'), (3, NULL, {});", table,
                  of.Array("NULL"));
  const std::string first = of.Value(0);
  int id = 10;
  for (size_t i = 0; i < of.values.size(); ++i) {
    const std::string value = of.Value(i);
    sql += fmt::format("INSERT INTO {} VALUES ({}, {}, {});", table, id++, value,
                       of.Array(fmt::format("{}, NULL, {}", value, first)));
    sql += fmt::format("INSERT INTO {} VALUES ({}, {}, {});", table, id++, value,
                       of.Array(fmt::format("[{}, {}], [{}, NULL]", value, first, value)));
  }
  sql += fmt::format(
      "INSERT INTO {0} (id) VALUES (90), (91); UPDATE {0} SET a[3] = {1} WHERE id = 90;", table,
      of.type == of.element ? first : "'x'");
  return sql;
}

// Updates that leave the values alone, that change them, and that change the key; deletes.
std::string Changes(const std::string& table, const TypeCase& of) {
  const std::string other = of.Value(1);
  return fmt::format(
      "UPDATE {0} SET n = n + 1; UPDATE {0} SET v = {1} WHERE id % 3 = 1;"
      "UPDATE {0} SET v = NULL, a = {2} WHERE id % 3 = 2;"
      "UPDATE {0} SET id = id + 1000 WHERE id % 4 = 0; DELETE FROM {0} WHERE id % 5 = 0;"
      "INSERT INTO {0} VALUES (2001, {1}, {2})",
      table, other, of.Array(other + ", " + other));
}

class ApplyTypes : public Apply {
 protected:
  // Two tables of a type, with a key and without.
  void Make(const std::string& type, const Texts& values) {
    const size_t number = cases_.size();
    const bool binary =
        Ask(fmt::format("SELECT typsend <> 0 FROM pg_type WHERE oid = '{}'::regtype", type)) == "t";
    cases_.push_back({.type = type, .element = binary ? type : "text", .values = values});
    Both(
        fmt::format("CREATE TABLE keyed{0} (id int PRIMARY KEY, v {1}, a {2}[], n int DEFAULT 0);"
                    "CREATE TABLE whole{0} (id int, v {1}, a {2}[], n int DEFAULT 0);"
                    "ALTER TABLE whole{0} REPLICA IDENTITY FULL",
                    number, type, cases_.back().element));
  }
  void Write(std::string (*statements)(const std::string&, const TypeCase&)) {
    for (size_t i = 0; i < cases_.size(); ++i) {
      for (const char* table : {"keyed", "whole"}) {
        Sql(statements(fmt::format("{}{}", table, i), cases_[i]));
      }
    }
  }
  void ApplyAll() {
    Serve();
    Write(Inserts);
    WaitApplied();
    ExpectEqual();
    Write(Changes);
    StopAndCompare();
  }

  std::vector<TypeCase> cases_;
};

TEST_F(ApplyTypes, EveryTypeOfTheServerArrivesAsItWas) {
  const std::string names =
      Ask("SELECT DISTINCT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace "
          "AND typtype IN ('b', 'r', 'm') AND typname !~ '^_' ORDER BY 1");
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = std::min(names.find(',', begin), names.size());
    const std::string type = names.substr(begin, end - begin);
    begin = end + 1;
    if (TypesWithoutValues().contains(type)) continue;
    const auto found = ValuesOfTypes().find(type);
    ASSERT_NE(found, ValuesOfTypes().end()) << "no values of the type " << type;
    // Quoted, "char" is not character(1).
    Make(QuoteIdentifier(type), found->second);
  }
  EXPECT_GT(cases_.size(), 60u);
  ApplyAll();
}

TEST_F(ApplyTypes, TypesThatTheUserMadeArriveUnderOtherOids) {
  Both(
      "CREATE TYPE mood AS ENUM ('sad', 'it''s \"ok\"', 'happy');"
      "CREATE TYPE pair AS (a int, m mood, t text);"
      "CREATE TYPE nest AS (p pair, ps pair[], ms mood[]);"
      "CREATE DOMAIN small AS int CHECK (VALUE < 100);"
      "CREATE DOMAIN smaller AS small CHECK (VALUE < 50);"
      "CREATE DOMAIN moods AS mood[] CHECK (cardinality(VALUE) < 5);"
      "CREATE DOMAIN a_pair AS pair CHECK ((VALUE).a > 0);"
      "CREATE DOMAIN pairs AS a_pair[];"
      "CREATE TYPE moodrange AS RANGE (subtype = mood);"
      "CREATE TYPE textrange AS RANGE (subtype = text, collation = \"C\");"
      "CREATE TYPE of_ranges AS (r moodrange, m moodmultirange);");
  ASSERT_NE(Ask("SELECT 'mood'::regtype::oid"), AskTarget("SELECT 'mood'::regtype::oid"));
  const std::vector<std::pair<std::string, Texts>> types{
      {"mood", {"sad", "happy", R"(it's "ok")"}},
      {"pair", {R"x((1,sad,"a ""b"", (c)"))x", "(2,happy,)", "(,,)"}},
      {"nest",
       {R"x(("(1,sad,x)","{""(2,happy,\\""y z\\"")"",NULL}","{sad,NULL,happy}"))x", "(,{},)"}},
      {"small", {"1", "99"}},
      {"smaller", {"1", "49"}},
      {"moods", {"{sad,happy}", "{}", "{NULL,happy}"}},
      {"a_pair", {"(1,sad,x)", "(2,,)"}},
      {"pairs", {R"x({"(1,sad,x)","(2,happy,y)"})x", "{}"}},
      {"moodrange", {"[sad,happy)", "empty", "(,happy]"}},
      {"moodmultirange", {"{[sad,happy)}", "{}"}},
      {"textrange", {R"x(["a b",c))x", "empty"}},
      {"textmultirange", {"{[a,b),[c,d)}", "{}"}},
      {"of_ranges", {R"x(("[sad,happy)","{[sad,happy)}"))x", "(,)"}},
  };
  for (const auto& [type, values] : types) Make(type, values);
  ApplyAll();
}

TEST_F(ApplyTypes, TypesOfExtensionsArriveUnderOtherOids) {
  OnTarget("CREATE EXTENSION seg");
  Both(
      "CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; "
      "CREATE EXTENSION cube");
  const std::vector<std::pair<std::string, Texts>> types{
      {"hstore", {R"("a"=>"1", "b"=>NULL)", ""}},
      {"citext", {"AbC", ""}},
      {"ltree", {"a.b.c", ""}},
      {"lquery", {"a.*{1,2}.b|c", "*"}},
      {"cube", {"(1,2),(3,4)", "(0)"}},
  };
  for (const auto& [type, values] : types) Make(type, values);
  ApplyAll();
}

TEST_F(ApplyTypes, TypesWithoutABinaryFormArriveAsText) {
  Both("CREATE EXTENSION isn");
  Make("aclitem", {"postgres=r/postgres", "=w*/postgres"});
  Make("isbn13", {"978-0-393-04002-9", "978-3-16-148410-0"});
  EXPECT_EQ(cases_.at(0).element + cases_.at(1).element, "texttext");
  ApplyAll();
}

TEST_F(ApplyTypes, LargeValuesThatAnUpdateLeavesAloneStay) {
  Both(
      "CREATE TABLE large (id int PRIMARY KEY, n int, b bytea, t text, j jsonb);"
      "ALTER TABLE large ALTER b SET STORAGE EXTERNAL;"
      "CREATE TABLE large_full (id int, n int, b bytea);"
      "ALTER TABLE large_full REPLICA IDENTITY FULL, ALTER b SET STORAGE EXTERNAL");
  Serve();
  // 50 MB of which no two pieces are the same.
  Sql("CREATE FUNCTION pg_temp.bytes(mb int, seed int) RETURNS bytea LANGUAGE sql AS $$ SELECT "
      "string_agg(decode(md5((seed * 1000000 + i)::text), 'hex'), '') FROM generate_series(1, mb * "
      "65536) i $$;"
      "INSERT INTO large VALUES (1, 0, pg_temp.bytes(50, 1), repeat('x', 100000), '{}');"
      "INSERT INTO large SELECT i, 0, pg_temp.bytes(1, i), repeat(md5(i::text), 1000), "
      "jsonb_build_object('a', repeat(i::text, 10000)) FROM generate_series(2, 6) i;"
      "INSERT INTO large_full SELECT id, n, substr(b, 1, 20000) FROM large");
  Sql("UPDATE large SET n = 1");
  Sql("UPDATE large SET id = id + 100 WHERE id < 4");
  Sql("BEGIN; UPDATE large SET n = 2, t = 'short' WHERE id = 101; UPDATE large SET n = 3 WHERE id "
      "= 101; UPDATE large SET id = 201, j = NULL WHERE id = 102; UPDATE large SET n = 5 WHERE id "
      "= 201; COMMIT");
  Sql("UPDATE large SET b = b || '\\x00' WHERE id = 103");
  Sql("UPDATE large_full SET n = n + 1; UPDATE large_full SET id = 77 WHERE id = 3; DELETE FROM "
      "large_full WHERE id = 4");
  Sql("DELETE FROM large WHERE id = 5");
  StopAndCompare();
  EXPECT_EQ(AskTarget("SELECT length(b) FROM large WHERE id = 101"), "52428800");
}

}  // namespace
}  // namespace pgc
