#include "testing/postgres_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

#include "base/status_macros.h"
#include "pg/connection.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kStartTimeout{60};
constexpr seconds kEndTimeout{30};

absl::StatusOr<std::string> BinFolder() {
  if (const char* const given = std::getenv("PGCAPTURE_TEST_PG_BIN")) return given;
  int newest = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
    if (std::filesystem::exists(entry.path() / "bin/postgres")) {
      newest = std::max(newest, std::atoi(entry.path().filename().c_str()));
    }
  }
  if (newest == 0) return absl::NotFoundError("no PostgreSQL is installed: run scripts/setup");
  return fmt::format("/usr/lib/postgresql/{}/bin", newest);
}

// Whether it has not stopped or ended.
bool Runs(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');  // the state is the word behind it
  return name_end != std::string::npos &&
         std::string_view("TZX").find(text[name_end + 2]) == std::string_view::npos;
}

// Sends SIGKILL to a process and all that it has started; `dying` gets a descriptor of each.
void KillTree(pid_t pid, std::vector<pollfd>& dying) {
  kill(pid, SIGSTOP);
  const auto deadline = Clock::now() + kEndTimeout;
  while (Runs(pid) && Clock::now() < deadline) std::this_thread::yield();
  // Now it starts none and forgets none: the list is whole.
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", pid));
  for (pid_t child = 0; children >> child;) KillTree(child, dying);
  const auto fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  dying.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  kill(pid, SIGKILL);
}

}  // namespace

// A folder that the server's user may write.
absl::Status PostgresServer::Prepare() {
  if (getuid() != 0) return absl::OkStatus();
  const passwd* const postgres = getpwnam("postgres");
  if (postgres == nullptr) return absl::NotFoundError("there is no user postgres");
  if (chown(folder().c_str(), postgres->pw_uid, postgres->pw_gid) != 0) {
    return absl::InternalError("chown");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PostgresServer>> PostgresServer::Start(const Settings& settings) {
  PGC_ASSIGN_OR_RETURN(const std::string bin, BinFolder());
  return StartOf(bin, settings);
}

absl::StatusOr<std::unique_ptr<PostgresServer>> PostgresServer::StartOf(const std::string& bin,
                                                                        const Settings& settings) {
  std::unique_ptr<PostgresServer> server(new PostgresServer());
  server->bin_ = bin;
  PGC_RETURN_IF_ERROR(server->Prepare());
  const std::string folder = server->folder().string();
  PGC_RETURN_IF_ERROR(Run({.args = {bin + "/initdb", "-D", folder + "/data", "-U", "postgres", "-A",
                                    "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"},
                           .environment = {},
                           .as_postgres = true,
                           .directory = folder})
                          .status());
  server->settings_ = {{"wal_level", "logical"},
                       {"max_wal_senders", "20"},
                       {"max_replication_slots", "20"},
                       {"shared_buffers", "32MB"},
                       {"fsync", "off"},
                       {"full_page_writes", "off"},
                       {"listen_addresses", "127.0.0.1"},
                       {"unix_socket_directories", folder},
                       {"log_min_messages", "warning"}};
  for (const auto& [name, value] : settings) server->settings_[name] = value;
  PGC_RETURN_IF_ERROR(server->Launch());
  return server;
}

absl::StatusOr<std::unique_ptr<PostgresServer>> PostgresServer::StartStandby(
    const PostgresServer& primary, const std::string& slot, const Settings& settings) {
  std::unique_ptr<PostgresServer> server(new PostgresServer());
  server->bin_ = primary.bin_;
  PGC_RETURN_IF_ERROR(server->Prepare());
  const std::string folder = server->folder().string();
  const std::string source =
      fmt::format("host=127.0.0.1 port={} user=postgres dbname=postgres", primary.port());
  PGC_RETURN_IF_ERROR(Run({.args = {server->bin_ + "/pg_basebackup", "-D", folder + "/data", "-d",
                                    source, "-S", slot, "-c", "fast", "-N"},
                           .environment = {},
                           .as_postgres = true,
                           .directory = folder})
                          .status());
  std::ofstream(folder + "/data/standby.signal").flush();
  server->settings_ = primary.settings_;
  server->settings_["unix_socket_directories"] = folder;
  server->settings_["primary_conninfo"] = source;
  server->settings_["primary_slot_name"] = slot;
  for (const auto& [name, value] : settings) server->settings_[name] = value;
  PGC_RETURN_IF_ERROR(server->Launch());
  return server;
}

PostgresServer::~PostgresServer() { Kill(); }

std::string PostgresServer::Url(const std::string& database, const std::string& user) const {
  return fmt::format("postgres://{}@127.0.0.1:{}/{}", user, port(), database);
}

std::string PostgresServer::SocketUrl(const std::string& database) const {
  return fmt::format("postgres:///{}?host={}&port={}&user=postgres", database, folder().string(),
                     port());
}

absl::Status PostgresServer::Launch() {
  std::vector<std::string> args{bin_ + "/postgres", "-D", (folder().string() + "/data"), "-p",
                                std::to_string(port())};
  for (const auto& [name, value] : settings_) {
    args.insert(args.end(), {"-c", name + "=" + value});
  }
  PGC_ASSIGN_OR_RETURN(postmaster_, Subprocess::Start({.args = std::move(args),
                                                       .environment = {},
                                                       .as_postgres = true,
                                                       .directory = folder().string()}));
  // The postmaster itself says in this file when it takes connections.
  const auto deadline = Clock::now() + kStartTimeout;
  while (Clock::now() < deadline) {
    if (postmaster_->Wait(milliseconds(20)).has_value()) break;
    std::ifstream pid_file(folder() / "data/postmaster.pid");
    std::string line;
    std::string first;
    for (int number = 1; std::getline(pid_file, line); ++number) {
      if (number == 1) first = line;
      if (number == 8 && line.starts_with("ready") && first == std::to_string(postmaster_->pid())) {
        return absl::OkStatus();
      }
    }
  }
  return absl::InternalError(fmt::format("PostgreSQL did not start: {}", postmaster_->errors()));
}

void PostgresServer::Kill() {
  if (postmaster_ == nullptr) return;
  std::vector<pollfd> dying;
  KillTree(postmaster_->pid(), dying);
  // One that is still there has the shared memory, with which the next server does not start.
  for (pollfd& process : dying) {
    (void)poll(&process, 1, static_cast<int>(milliseconds(kEndTimeout).count()));
    close(process.fd);
  }
  (void)postmaster_->Wait(kEndTimeout);
  postmaster_.reset();
}

void PostgresServer::End(int signal) {
  if (postmaster_ == nullptr) return;
  postmaster_->Signal(signal);
  if (!postmaster_->Wait(kEndTimeout).has_value()) Kill();
  postmaster_.reset();
}

absl::Status PostgresServer::StopImmediately() {
  End(SIGQUIT);
  return absl::OkStatus();
}

absl::Status PostgresServer::Restart(const Settings& settings) {
  End(SIGINT);
  for (const auto& [name, value] : settings) settings_[name] = value;
  return Launch();
}

}  // namespace pgc
