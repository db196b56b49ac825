// What the decoders print against what the server itself prints.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pg/connection.h"
#include "testing/postgres_server.h"
#include "value/value_json.h"

namespace pgc {
namespace {

class ValueJsonPgTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = PostgresServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server).release();
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }

  void SetUp() override {
    ASSERT_NE(server_, nullptr);
    auto connection = Connection::Open(server_->SocketUrl("postgres"));
    ASSERT_TRUE(connection.ok()) << connection.status();
    connection_ = *std::move(connection);
    const absl::Status set = connection_->Execute(
        "SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; SET DateStyle = 'ISO';"
        "SET extra_float_digits = 1; SET bytea_output = 'hex'");
    ASSERT_TRUE(set.ok()) << set;
  }

  // The values of one column as the decoder prints them, from the server's binary form.
  std::vector<std::string> Decoded(const std::string& sql) {
    const std::unique_ptr<PGresult, void (*)(PGresult*)> result(
        PQexecParams(connection_->raw(), sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 1),
        PQclear);
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_TUPLES_OK)
        << PQresultErrorMessage(result.get()) << sql;
    std::vector<std::string> values;
    for (int row = 0; row < PQntuples(result.get()); ++row) {
      EXPECT_EQ(PQgetisnull(result.get(), row, 0), 0);
      values.emplace_back();
      AppendValueJson(values.back(), PQftype(result.get(), 0), ValueFormat::kBinary,
                      {PQgetvalue(result.get(), row, 0),
                       static_cast<size_t>(PQgetlength(result.get(), row, 0))});
    }
    return values;
  }

  std::vector<std::string> FromServer(const std::string& sql) {
    const auto result = connection_->Query(sql);
    EXPECT_TRUE(result.ok()) << result.status() << sql;
    std::vector<std::string> values;
    for (int row = 0; result.ok() && row < result->rows(); ++row) {
      values.emplace_back(result->Text(row, 0));
    }
    return values;
  }

  // `values` is a query of one column v; `server` what the decoder should print for v.
  void Compare(const std::string& values, const std::string& server) {
    ASSERT_TRUE(connection_->Query("SELECT setseed(0.5)").ok());
    const auto decoded = Decoded(fmt::format("SELECT v FROM ({}) s(v)", values));
    ASSERT_TRUE(connection_->Query("SELECT setseed(0.5)").ok());
    const auto expected = FromServer(fmt::format("SELECT {} FROM ({}) s(v)", server, values));
    ASSERT_EQ(decoded.size(), expected.size());
    ASSERT_FALSE(decoded.empty());
    for (size_t i = 0; i < decoded.size(); ++i) EXPECT_EQ(decoded[i], expected[i]) << values;
  }

  static PostgresServer* server_;
  std::unique_ptr<Connection> connection_;
};

PostgresServer* ValueJsonPgTest::server_ = nullptr;

std::string Values(const std::string& type, const std::vector<std::string>& values) {
  std::string sql = "VALUES ";
  for (const std::string& value : values) {
    sql +=
        fmt::format("{}({}::{})", &value == values.data() ? "" : ", ", QuoteLiteral(value), type);
  }
  return sql;
}

// As to_json has it.
constexpr char kToJson[] = "to_json(v)::text";
// As the server prints it, as a string.
constexpr char kAsString[] = "to_json(format('%s', v))::text";

TEST_F(ValueJsonPgTest, NumbersAreThoseOfToJson) {
  Compare(Values("int2", {"-32768", "0", "32767"}), kToJson);
  Compare(Values("int4", {"-2147483648", "0", "2147483647"}), kToJson);
  Compare(Values("int8", {"-9223372036854775808", "9007199254740993"}), kToJson);
  Compare(Values("bool", {"t", "f"}), kToJson);
  Compare(Values("oid", {"0", "4294967295"}), "v::text");
  Compare(Values("xid8", {"18446744073709551615"}), "v::text");
}

TEST_F(ValueJsonPgTest, FloatsAreThoseOfToJson) {
  const std::vector<std::string> values = {"0",
                                           "-0",
                                           "0.1",
                                           "1e-4",
                                           "1e-5",
                                           "123456",
                                           "1e6",
                                           "1234567",
                                           "99999.9",
                                           "1e14",
                                           "1e15",
                                           "123456789012345",
                                           "1234567890123456",
                                           "1e22",
                                           "-1.5e-7",
                                           "3.4028235e38",
                                           "1.1754944e-38",
                                           "1e-37",
                                           "16777216",
                                           "16777217",
                                           "NaN",
                                           "Infinity",
                                           "-Infinity"};
  Compare(Values("float8", values), kToJson);
  Compare(Values("float4", values), kToJson);
  Compare(Values("float8", {"4.9e-324", "1.7976931348623157e308", "2.2250738585072014e-308",
                            "9007199254740993", "5e-324", "0.30000000000000004"}),
          kToJson);
  Compare("SELECT (random() - 0.5) * pow(10, i % 600 - 300) FROM generate_series(1, 20000) i",
          kToJson);
  Compare(
      "SELECT ((random() - 0.5) * pow(10, i % 70 - 35))::float4 FROM generate_series(1, 20000) i",
      kToJson);
  Compare("SELECT (i * 1e3 + 0.5)::float8 FROM generate_series(1, 2000) i", kToJson);
}

TEST_F(ValueJsonPgTest, NumericsAreStringsAsPrinted) {
  Compare(Values("numeric", {"0",        "0.000",     "-0.0",       "1",
                             "-1",       "10000",     "9999",       "10000.0001",
                             "0.0001",   "0.00001",   "0.00010000", "12.50",
                             "-12.5",    "1e30",      "1e-30",      "123456789.987654321",
                             "NaN",      "Infinity",  "-Infinity",  "1e131071",
                             "1e-16383", "100000000", "0.99999"}),
          kAsString);
  Compare(
      "SELECT ((random() - 0.5) * pow(10::numeric, i % 60 - 30))::numeric "
      "FROM generate_series(1, 5000) i",
      kAsString);
  Compare("SELECT (i / 7.0)::numeric(30, 11) FROM generate_series(-500, 500) i", kAsString);
}

TEST_F(ValueJsonPgTest, DatesAndTimestampsAreThoseOfToJson) {
  Compare(
      Values("date", {"2000-01-01", "1999-12-31", "2024-02-29", "1900-03-01", "0001-01-01",
                      "0001-12-31 BC", "4713-01-01 BC", "5874897-12-31", "infinity", "-infinity"}),
      kToJson);
  Compare("SELECT '0100-01-01 BC'::date + i * 13 FROM generate_series(0, 80000) i", kToJson);
  const std::vector<std::string> instants = {"2000-01-01",
                                             "2026-01-02 03:04:05.678901",
                                             "1999-12-31 23:59:59.999999",
                                             "1970-01-01 00:00:00.1",
                                             "0001-01-01",
                                             "0044-03-15 12:00:00.5 BC",
                                             "4713-01-01 BC",
                                             "294276-12-31 23:59:59.999999",
                                             "infinity",
                                             "-infinity"};
  Compare(Values("timestamp", instants), kToJson);
  Compare(Values("timestamptz", instants), kToJson);
}

TEST_F(ValueJsonPgTest, TimesAndIntervalsAreStringsAsPrinted) {
  Compare(Values("time", {"00:00", "23:59:59.999999", "24:00", "12:34:56.7"}), kAsString);
  Compare(
      Values("timetz", {"00:00+00", "12:34:56.7-05:30", "23:59:59.999999+15:59:59", "1:00-00:01"}),
      kAsString);
  Compare(Values("interval",
                 {"0", "1 year", "-1 year", "2 years 1 mon", "1 mon -1 day", "-1 mon +1 day",
                  "1 day", "-1 day 1 hour", "1 day -1 hour", "-1 hour", "-0.000001 seconds",
                  "100:00:00.5", "-1 year 2 mons -3 days 04:05:06.789", "13 mons",
                  "-13 mons 13 days", "178000000 years", "2562047788 hours", "00:00:59.1"}),
          kAsString);
}

TEST_F(ValueJsonPgTest, TextsAreStrings) {
  const std::vector<std::string> values = {"",      "one",     "a\"b\\c", "line\nend\ttab",
                                           "äöü€𝄞", "\x01\x7F"};
  for (const char* type : {"text", "varchar", "name", "varchar(3)"}) {
    Compare(Values(type, values), kToJson);
  }
  Compare(Values("char(5)", values), "to_json(rpad(v::text, 5))::text");
  Compare(Values("\"char\"", {"a", " "}), kAsString);
  Compare(Values("xml", {"<a>b</a>"}), kToJson);
}

TEST_F(ValueJsonPgTest, JsonIsEmbedded) {
  const std::vector<std::string> values = {
      "1", "null", "\"x\"", R"({"a": [1, {"b": null}]})", "[]", "1e400", R"("\u00e4\n")"};
  Compare(Values("json", values), "v::text");
  Compare(Values("jsonb", values), "v::text");
  Compare(Values("json", {"{\n\"a\":\n1}", R"("\ud800")"}), "replace(v::text, E'\\n', ' ')");
  Compare(Values("jsonpath", {"$.a[*]", "$"}), kAsString);
}

TEST_F(ValueJsonPgTest, TheRestAreStringsAsPrinted) {
  Compare(Values("bytea", {"", "\\x00ff", "abc"}), kAsString);
  Compare(Values("uuid", {"00112233-4455-6677-8899-aabbccddeeff"}), kAsString);
  const std::vector<std::string> networks = {"127.0.0.1",
                                             "10.0.0.0/8",
                                             "0.0.0.0/0",
                                             "::",
                                             "::1",
                                             "::2/127",
                                             "::ffff:1.2.3.4",
                                             "::1.2.3.4",
                                             "2001:db8::1:0:0:1",
                                             "1:0:0:2:0:0:0:3",
                                             "fe80::/10",
                                             "1:2:3:4:5:6:7:8",
                                             "0:1::",
                                             "1:0:3:4:5:6:7:8"};
  Compare(Values("inet", networks), kAsString);
  Compare(Values("cidr", networks), kAsString);
  Compare(Values("inet", {"10.1.2.3/8", "2001:db8::5/64"}), kAsString);
  Compare(Values("macaddr", {"08:00:2b:01:02:03"}), kAsString);
  Compare(Values("macaddr8", {"08:00:2b:01:02:03:04:05"}), kAsString);
  Compare(Values("bit(10)", {"1010101010"}), kAsString);
  Compare(Values("varbit", {"", "1", "101010101"}), kAsString);
  Compare(Values("pg_lsn", {"0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"}), kAsString);
  Compare(Values("tid", {"(0,1)", "(4294967295,65535)"}), kAsString);
  Compare(Values("point", {"(1,2.5)", "(-1e20,NaN)"}), kAsString);
}

TEST_F(ValueJsonPgTest, ArraysAreThoseOfToJson) {
  Compare(Values("int4[]",
                 {"{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}", "{{{{{{1}}}}},{{{{{2}}}}}}"}),
          kToJson);
  Compare(Values("text[]", {"{a,\"b,c\",NULL,\"NULL\",\"\"}", "{\"\\\"\"}"}), kToJson);
  Compare(Values("float8[]", {"{1.5,-0,1e300}"}), kToJson);
  Compare(Values("bool[]", {"{t,f}"}), kToJson);
  Compare(Values("timestamptz[]", {"{2026-01-02 03:04:05.678901+00}"}), kToJson);
  Compare(Values("jsonb[]", {"{\"{\\\"a\\\": 1}\",NULL}"}), "to_json(v)::text");
  Compare(Values("uuid[]", {"{00112233-4455-6677-8899-aabbccddeeff}"}), kToJson);
  Compare(Values("varchar[]", {"{a}"}), kToJson);
  Compare(Values("interval[]", {"{1 day,2 hours}"}), kToJson);
  for (const char* type :
       {"int2",      "int8",   "float4", "numeric",  "date", "time",     "timetz",
        "timestamp", "name",   "bytea",  "\"char\"", "inet", "cidr",     "macaddr",
        "macaddr8",  "bit",    "varbit", "oid",      "xid",  "cid",      "xid8",
        "tid",       "pg_lsn", "point",  "json",     "xml",  "jsonpath", "bpchar"}) {
    // Only that each is known as an array of its element's type.
    const auto decoded = Decoded(fmt::format("SELECT ARRAY[NULL::{}]", type));
    EXPECT_EQ(decoded, std::vector<std::string>{"[null]"}) << type;
  }
}

TEST_F(ValueJsonPgTest, AnUnknownTypeIsItsBytes) {
  ASSERT_TRUE(connection_->Execute("CREATE TYPE mood AS ENUM ('sad', 'happy')").ok());
  const auto decoded = Decoded("SELECT 'sad'::mood");
  const auto oid = FromServer("SELECT 'mood'::regtype::oid");
  EXPECT_EQ(decoded[0], fmt::format(R"({{"$oid":{},"$binary":"c2Fk"}})", oid[0]));
}

}  // namespace
}  // namespace pgc
