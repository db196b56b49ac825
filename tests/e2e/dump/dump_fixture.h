// What the tests of dumps by the program share: servers, a serve, its consumers, and what they got.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "e2e/dump/received_tables.h"
#include "pg/connection.h"
#include "pgcapture.grpc.pb.h"
#include "testing/postgres_server.h"
#include "testing/serve_process.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc {

namespace pb = ::pgcapture;

// What takes longer stands still, also on a busy machine.
inline constexpr std::chrono::seconds kDumpWait{60};

// A database of each test's own on a source and on servers that hold the replicas; they are started
// when a test first needs them and are there for all tests of the program.
class ServedDumps : public testing::Test {
 protected:
  static constexpr size_t kMostReplicas = 3;
  static PostgresServer& Source();
  static PostgresServer& Replica(size_t number);

  // Makes the databases, on the source and this many replicas.
  explicit ServedDumps(size_t replicas = 1) : replicas_(replicas) {}
  void SetUp() override;
  void TearDown() override;

  const std::string& name() const { return name_; }  // of the databases, topic and slot
  std::string source_url() const { return Source().Url(name_); }
  std::string replica_url(size_t number = 0) const { return Replica(number).Url(name_); }
  // With a subscription's name; the topic's default one without.
  std::string Uri(const std::string& subscription = "default") const {
    return name_ + '/' + subscription;
  }
  const TempDir& folder() const { return folder_; }
  ServeProcess& serve() { return *serve_; }

  // Statements on the source, on a replica, or on all of them. A failure is one of the test.
  void Sql(const std::string& sql);
  void OnReplica(const std::string& sql, size_t number = 0);
  void Everywhere(const std::string& sql);
  std::string Ask(const std::string& query);
  std::string AskReplica(const std::string& query, size_t number = 0);
  static std::unique_ptr<Connection> Connect(const std::string& url);
  // A table with the columns id (its key), n and note, and rows of ids from 1 on; the same
  // everywhere.
  static constexpr int kRowsPerPage = 40;
  void MakeTable(const std::string& table, int rows);

  // A serve of this test's topic that keeps the replicas; `flags` are further ones.
  void Serve(std::vector<std::string> flags = {});
  // The same without the replicas, which `flags` name where they are needed.
  void ServeOnly(std::vector<std::string> flags);
  // Waits until a replica has what the source has committed by now.
  void WaitApplied(size_t number = 0);

  struct Ran {
    int code = -1;
    std::string out;
    std::string errors;
  };
  static std::unique_ptr<Subprocess> Start(std::vector<std::string> args);
  static Ran Finish(Subprocess& program);
  // `pgcapture dump`, of the default subscription unless `args` say otherwise.
  std::unique_ptr<Subprocess> StartDump(std::vector<std::string> args);
  Ran Dump(std::vector<std::string> args);
  std::unique_ptr<Subprocess> StartTail(std::vector<std::string> flags);

  pb::ControllerStatusResponse Status(const std::string& uri);
  // The first table of the schedule; an empty one as long as there is none.
  static pb::DumpJob FirstJob(const pb::ControllerStatusResponse& status) {
    return status.jobs_size() > 0 ? status.jobs(0) : pb::DumpJob();
  }
  // Asks until it is so; what is not after a minute fails the test, with the last answer.
  void WaitStatus(const std::string& uri, const std::string& what,
                  const std::function<bool(const pb::ControllerStatusResponse&)>& is_so);
  // Waits until nothing of the subscription is unacknowledged, up to what is committed by now.
  void WaitAllAcknowledged(const std::string& subscription = "default");

  // The source's rows of a table, by their ids.
  std::map<int64_t, std::string> SourceRows(const std::string& table);
  void ExpectEqual(const ReceivedTables& received, const std::string& table);

 private:
  const size_t replicas_;
  std::string name_;
  TempDir folder_;
  std::unique_ptr<Connection> source_sql_;
  std::vector<std::unique_ptr<Connection>> replica_sql_;
  std::optional<ServeProcess> serve_;
};

// A consumer with the client library, in a thread of its own: a new session follows each that ends
// because the gateway is gone. While it holds, it acknowledges nothing.
class DumpsReader {
 public:
  struct Options {
    std::string gateway = {};
    std::string uri = {};
    std::string from = {};
    std::string table_regex = {};
    bool holds = false;  // from the beginning on
  };
  explicit DumpsReader(Options options);
  ~DumpsReader();
  DumpsReader(const DumpsReader&) = delete;
  DumpsReader& operator=(const DumpsReader&) = delete;

  // Acknowledges what it has, and all that comes.
  void Release();
  // Ends it; what is not acknowledged goes back.
  void Leave();

  // Waits for a session; false when there is none after a minute.
  bool WaitAttached();
  bool WaitForDumpRows(size_t count);
  // As `tail --format json` prints them, in their order.
  std::vector<std::string> lines() const;
  size_t dump_rows() const;

 private:
  class State;
  const std::unique_ptr<State> state_;
};

// Writes to tables of MakeTable in a thread of its own, from several ids on, one transaction after
// the other with a short rest: updates, deletes, inserts, rows that move to another key.
class DumpsLoad {
 public:
  DumpsLoad(const std::string& url, std::vector<std::string> tables, uint64_t seed);
  ~DumpsLoad();
  // Ends it, and tells how many transactions there were; an error is one of the test.
  size_t Stop();

 private:
  class State;
  const std::unique_ptr<State> state_;
};

}  // namespace pgc
