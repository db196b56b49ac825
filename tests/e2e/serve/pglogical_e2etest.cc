// The same program on the stream of pglogical's output plugin.
#include <chrono>

#include "e2e/serve/serve_fixture.h"
#include "testing/pglogical_server.h"

namespace pgc {
namespace {

constexpr std::chrono::seconds kWait{60};

class PglogicalServe : public ServeTest {
 protected:
  static void SetUpTestSuite() {
    auto server = StartPglogicalServer();
    ASSERT_TRUE(server.ok()) << server.status();
    postgres_ = *std::move(server);
  }
  // The program, which must end with `code` and have said `part`.
  void ExpectEnd(std::vector<std::string> args, int code, const std::string& part) {
    args.insert(args.end(), {"--topic", name(), "--no-ddl"});
    const auto program = Program(std::move(args), {"PGCAPTURE_SOURCE=" + url()});
    EXPECT_EQ(program->Wait(kWait), code) << program->errors();
    std::string said = program->errors();
    for (const std::string& line : program->output_lines()) said += line + "\n";
    EXPECT_NE(said.find(part), std::string::npos) << "no '" << part << "' in: " << said;
  }
};

TEST_F(PglogicalServe, SaysWhatToRunUntilItIsSetUpAndThenCaptures) {
  const std::string dir = data_dir().string();
  ExpectEnd({"serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--decode-plugin", "pglogical"},
            1, "CREATE EXTENSION pglogical");
  ExpectEnd({"doctor", "--decode-plugin", "pglogical_output"}, 1, "CREATE EXTENSION pglogical");
  Sql("CREATE EXTENSION pglogical; SELECT pglogical.create_node('provider', 'dbname=x');"
      "CREATE TABLE t (id int PRIMARY KEY, v text)");
  Sql("SELECT pglogical.create_replication_set('mine');"
      "SELECT pglogical.replication_set_add_table('mine', 't')");
  ExpectEnd({"doctor", "--decode-plugin", "pglogical_output"}, 1, "replication_set_add_all_tables");
  ExpectEnd({"doctor", "--decode-plugin", "pglogical_output", "--replication-sets", "default,mine"},
            0, "have 1 tables");

  ServeProcess serve(ServeOptions(
      {"--no-ddl", "--decode-plugin", "pglogical_output", "--replication-sets", "mine,default"}));
  ASSERT_TRUE(serve.Start().ok()) << serve.process().errors();
  const auto tail = Tail(serve, name(), 3, {"--extras"});
  Sql("INSERT INTO t VALUES (1, 'one')");
  Sql("UPDATE t SET v = 'uno'");
  Sql("TRUNCATE t");
  ASSERT_EQ(tail->Wait(kWait), 0) << tail->errors();
  EXPECT_EQ(
      WithoutLsn(tail->output_lines()),
      (std::vector<std::string>{
          R"({"seq":1,"op":"INSERT","schema":"public","table":"t","new":{"id":1,"v":"one"},"old":{}})",
          R"({"seq":1,"op":"UPDATE","schema":"public","table":"t","new":{"id":1,"v":"uno"},"old":{}})",
          R"({"seq":1,"op":"TRUNCATE","tables":[{"schema":"public","table":"t"}],"cascade":false,"restart_identity":false})",
      }));
  EXPECT_EQ(serve.Stop(), 0);
}

TEST_F(PglogicalServe, TablesOfPgoutputAndUnknownPluginsAreRefused) {
  const std::string dir = data_dir().string();
  ExpectEnd({"serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--decode-plugin", "pglogical",
             "--tables", "t"},
            1, "--replication-sets");
  ExpectEnd({"serve", "--decode-plugin", "wal2json"}, 2, "pglogical_output");
}

}  // namespace
}  // namespace pgc
