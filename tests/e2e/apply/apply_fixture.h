#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "event/lsn.h"
#include "pg/connection.h"
#include "testing/database_diff.h"
#include "testing/postgres_server.h"
#include "testing/serve_process.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc {

// The programs of a PostgreSQL 15 with the extension: PGCAPTURE_EXTENSION_BIN, else where
// scripts/pgroot unpacks it and scripts/installcheck installs the extension.
std::string ExtensionBin();

// A source and a target server for all tests of a suite; on each a database of its own for every
// test. Types of the same name have other OIDs on the target.
class Apply : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;
  void TearDown() override;

  std::string source_url() const { return source_->Url(name_); }
  std::string target_url() const { return target_->Url(name_); }
  std::filesystem::path data_dir() const { return folder_.path() / "data"; }
  const std::string& name() const { return name_; }
  const TempDir& folder() const { return folder_; }
  ServeProcess& serve() { return *serve_; }

  // Statements in the source's database, the target's, or both; one transaction each unless they
  // say otherwise. A failure of any is one of the test.
  void Sql(const std::string& sql);
  void OnTarget(const std::string& sql);
  void Both(const std::string& sql);
  std::string Ask(const std::string& query);
  std::string AskTarget(const std::string& query);
  // Asks the target again until the answer is this one.
  void ExpectTarget(const std::string& query, const std::string& answer);
  std::unique_ptr<Connection> Connect(const std::string& url);
  // After a restart of the target.
  void ReconnectTarget() { target_sql_ = Connect(target_url()); }

  // A serve of this test's topic that keeps the target; `flags` are further ones.
  ServeProcess::Options ServeOptions(std::vector<std::string> flags = {}) const;
  void Serve(std::vector<std::string> flags = {});
  void ServeWithout(std::vector<std::string> flags = {});  // a replica
  // Waits until all that the source has committed by now is on the target: of this test's serve,
  // or of another process that applies its log.
  void WaitApplied();
  void WaitApplied(Subprocess& process, Lsn lsn);
  // Waits until serve has all that the source has committed by now in its log. Where that is: to be
  // given to WaitApplied.
  Lsn WaitCaptured();
  void Stop();
  // Ends serve in good order, unless a test has done that, and compares everything.
  void StopAndCompare();
  // The tables of both databases are equal, and there are some.
  void ExpectEqual();
  void ExpectEqualSchema();

  // The program with these arguments.
  static std::unique_ptr<Subprocess> Program(std::vector<std::string> args);
  // Waits until serve gives up the replica, and gives the line in which it says why.
  std::string WhyStopped();

  static std::unique_ptr<PostgresServer> source_;
  static std::unique_ptr<PostgresServer> target_;

 private:
  // Where the source is, once something has been written after that position.
  Lsn WriteMarker();
  // True when the target has applied what the source committed before `lsn`.
  bool HasApplied(Lsn lsn);

  std::string name_;
  TempDir folder_;
  std::unique_ptr<Connection> source_sql_;
  std::unique_ptr<Connection> target_sql_;
  std::optional<ServeProcess> serve_;
};

}  // namespace pgc
