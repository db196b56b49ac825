#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "testing/free_port.h"
#include "testing/subprocess.h"
#include "testing/temp_dir.h"

namespace pgc {

// A PostgreSQL server of the test's own: a new cluster in a temporary folder, on a port of
// loopback that stays its own and a socket in that folder, superuser `postgres`, without passwords.
// It ends with this object. Not thread-safe.
class PostgresServer {
 public:
  using Settings = std::map<std::string, std::string>;

  // `settings` are added to ones that make it small, quick and wal_level=logical. The programs are
  // those of PGCAPTURE_TEST_PG_BIN, else of the newest version installed.
  static absl::StatusOr<std::unique_ptr<PostgresServer>> Start(const Settings& settings = {});
  // The programs are those in the folder `bin`.
  static absl::StatusOr<std::unique_ptr<PostgresServer>> StartOf(const std::string& bin,
                                                                 const Settings& settings);
  // A copy of `primary` that follows it, with its settings and these. Returns once it can be read.
  static absl::StatusOr<std::unique_ptr<PostgresServer>> StartStandby(const PostgresServer& primary,
                                                                      const std::string& slot,
                                                                      const Settings& settings);
  ~PostgresServer();

  std::string Url(const std::string& database, const std::string& user = "postgres") const;
  std::string SocketUrl(const std::string& database) const;
  int port() const { return port_.number(); }
  const std::filesystem::path& folder() const { return folder_.path(); }

  // SIGKILL for the postmaster and all of its children, which have ended then.
  void Kill();
  absl::Status StopImmediately();
  // Ends it if it runs, and starts it with changed settings on the same port.
  absl::Status Restart(const Settings& settings = {});

 private:
  PostgresServer() = default;
  absl::Status Prepare();
  absl::Status Launch();
  void End(int signal);

  const FreePort port_;
  TempDir folder_;
  std::string bin_;
  Settings settings_;
  std::unique_ptr<Subprocess> postmaster_;
};

}  // namespace pgc
