#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "pg/connection.h"
#include "testing/postgres_server.h"
#include "testing/serve_process.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc {

constexpr char kProgram[] = PGC_BINARY_DIR "/pgcapture";

// One PostgreSQL for all tests of a suite; each test has a database and a topic of its own.
class ServeTest : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite() { postgres_.reset(); }
  void SetUp() override;
  void TearDown() override;

  const std::string& name() const { return name_; }  // of database, topic, slot, publication
  std::string url() const { return postgres_->Url(name_); }
  std::filesystem::path data_dir() const { return folder_.path() / "data"; }
  const std::filesystem::path& folder() const { return folder_.path(); }

  // Runs statements in the test's database, or fails the test.
  void Sql(const std::string& sql);

  // A serve of this test's topic; `flags` are further ones.
  ServeProcess::Options ServeOptions(std::vector<std::string> flags = {"--no-ddl"}) const;

  // The wrapper of a serve that sees `disk` as a file system of its own, of `size`; `script` is
  // what the shell does then, with the folder as $0 and the program as $@.
  static std::vector<std::string> OnSmallDisk(const std::string& disk, const std::string& size,
                                              const std::string& script);

  // The program with these arguments.
  static std::unique_ptr<Subprocess> Program(std::vector<std::string> args,
                                             std::vector<std::string> environment = {});
  // `tail` as JSON, reading when this returns.
  static std::unique_ptr<Subprocess> Tail(const ServeProcess& serve, const std::string& uri,
                                          int limit, std::vector<std::string> flags = {});

  static std::unique_ptr<PostgresServer> postgres_;

 private:
  static int tests_;
  std::string name_;
  TempDir folder_;
  std::unique_ptr<Connection> connection_;
};

// The lines of `tail` without what differs from run to run: the LSN.
std::vector<std::string> WithoutLsn(const std::vector<std::string>& lines);

}  // namespace pgc
