// The commands that capture a source and apply its log, and those that look at a source.
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "app/apply.h"
#include "app/capture.h"
#include "app/commands.h"
#include "app/doctor.h"
#include "app/install.h"
#include "app/pipeline_flags.h"
#include "app/serve.h"

namespace pgc {
namespace {

// The Go program's, in kebab case, for ours.
const FlagNames kGoNamesOfCapture{
    {"pg-conn-url", "source"}, {"pulsar-url", "store"}, {"pulsar-topic", "topic"}};
const FlagNames kGoNamesOfApply{
    {"pg-conn-url", "target"}, {"pulsar-url", "store"}, {"pulsar-topic", "topic"}};

class ServeCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const serve = app.add_subcommand(
        "serve",
        "Captures the changes of a PostgreSQL database into a log on this machine and serves them\n"
        "to consumers over gRPC, all in one process. Needs wal_level=logical and a role with\n"
        "REPLICATION. Runs until SIGINT or SIGTERM; started again, it goes on where it stopped.");
    source_.AddTo(serve);
    Option(serve, "--data-dir", options_.data_dir, "where the log is kept; made if missing");
    Option(serve, "--spool-dir", spool_dir_,
           "where large transactions wait for their commit (default: spool in the data directory)");
    Option(serve, "--listen", options_.listen,
           "address of the gRPC services; port 0 takes a free one");
    Flag(serve, "--insecure", options_.insecure,
         "allow --listen on an address other than loopback, in plain text and without passwords");
    source_.AddIntervalsTo(serve);
    AddRetentionTo(serve);
    Option(
        serve, "--replica", replicas_,
        "URL of a database that is kept as the source is, rows and DDL, from the log; repeatable")
        ->check(IsPostgresUrl());
    Option(serve, "--dump-from", options_.dump_from,
           "URL of a further server that rows of dumps are read from: a physical standby of the\n"
           "source, or a replica that another process keeps; repeatable. Without it and without\n"
           "--replica they are read from the source")
        ->check(IsPostgresUrl());
    Option(serve, "--dump-connections", options_.dump_connections,
           "dumps that are read at once from a server; further ones wait")
        ->check(CLI::Range(1, 100));
    sink_.AddTo(serve);
    return serve;
  }
  int Run() override {
    return RunUntilSignal(
        [this](const std::stop_token& stop) { return RunServe(Options(), stop); });
  }

 private:
  void AddRetentionTo(CLI::App* serve) {
    const CLI::AsNumberWithUnit duration(
        std::map<std::string, int64_t>{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86'400}});
    Option(serve, "--retention-age", retention_age_s_,
           "remove what is older, once every subscription has acknowledged it: 12h, 7d; 0: never")
        ->check(CLI::NonNegativeNumber)
        ->transform(duration);
    Option(serve, "--retention-bytes", retention_bytes_,
           "remove what a topic has more than this, once every subscription has acknowledged it:\n"
           "10GB; 0: nothing")
        ->transform(CLI::AsSizeValue(false));
    Option(
        serve, "--hard-limit-bytes", hard_limit_bytes_,
        "remove the oldest whoever needs it beyond this; a subscription that loses by it is told\n"
        "(0: half of the file system)")
        ->transform(CLI::AsSizeValue(false));
    Option(serve, "--subscription-ttl", subscription_ttl_s_,
           "forget a subscription that was unused for so long; 0: never")
        ->check(CLI::NonNegativeNumber)
        ->transform(duration);
  }
  ServeOptions Options() const {
    ServeOptions all = options_;
    if (retention_age_s_ > 0) all.store.retention_age = std::chrono::seconds(retention_age_s_);
    if (retention_bytes_ > 0) all.store.retention_bytes = retention_bytes_;
    if (hard_limit_bytes_ > 0) all.store.hard_limit_bytes = hard_limit_bytes_;
    all.store.subscription_ttl = std::chrono::seconds(subscription_ttl_s_);
    all.source = source_.Options();
    all.source.spool_dir = spool_dir_;
    for (const std::string& url : replicas_) {
      all.replicas.push_back(sink_.Options(url, source_.options.topic));
    }
    return all;
  }

  SourceFlags source_;
  SinkFlags sink_;
  std::vector<std::string> replicas_;
  ServeOptions options_;
  int64_t retention_age_s_ = 0;
  uint64_t retention_bytes_ = 0;
  uint64_t hard_limit_bytes_ = 0;
  int64_t subscription_ttl_s_ = options_.store.subscription_ttl.count();
  std::string spool_dir_;
};

class CaptureCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const capture = app.add_subcommand(
        "capture",
        "Captures the changes of a PostgreSQL database into a topic of Apache Pulsar. Needs\n"
        "wal_level=logical and a role with REPLICATION. Runs until SIGINT or SIGTERM; started\n"
        "again, it goes on behind the last message of the topic. docs/pulsar.md has more.");
    capture->alias("pg2pulsar");
    source_.AddTo(capture);
    source_.options.via_partition_root = false;
    Flag(capture, "--publish-via-partition-root", source_.options.via_partition_root,
         "changes of a partitioned table have its name, as with serve, and not the partition's;\n"
         "the Go program's sink cannot apply them");
    Option(capture, "--pg-repl-url", source_.options.replication_url,
           "URL for the replication connection, where that is not --source's")
        ->check(IsPostgresUrl());
    Option(capture, "--store", options_.store,
           "the cluster: pulsar://host:port, or pulsar+ssl://, with parameters for TLS and tokens\n"
           "behind a ? (docs/pulsar.md)")
        ->required();
    Option(capture, "--replicate-to", options_.replicate_to,
           "clusters that the messages are replicated to, instead of those of the namespace")
        ->delimiter(',');
    Option(capture, "--spool-dir", spool_dir_,
           "where large transactions wait for their commit (default: on the source's server)");
    source_.AddIntervalsTo(capture);
    AddPulsarLibraryTo(capture, options_.pulsar_library);
    return capture;
  }
  const FlagNames* go_names() const override { return &kGoNamesOfCapture; }
  int Run() override {
    return RunUntilSignal(
        [this](const std::stop_token& stop) { return RunCapture(Options(), stop); });
  }

 private:
  CaptureOptions Options() const {
    CaptureOptions all = options_;
    all.source = source_.Options();
    all.source.spool_dir = spool_dir_;
    return all;
  }

  SourceFlags source_;
  CaptureOptions options_;
  std::string spool_dir_;
};

class ApplyCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const apply = app.add_subcommand(
        "apply",
        "Applies a stored log to a PostgreSQL database, rows and DDL, each transaction exactly\n"
        "once. It remembers in the database itself how far it has come. Runs until SIGINT or\n"
        "SIGTERM.");
    apply->alias("pulsar2pg");
    Option(apply, "--store", options_.store,
           "where the log is: the data directory of a serve that does not run, or\n"
           "pulsar://host:port, or pulsar+ssl://, with parameters behind a ? (docs/pulsar.md)")
        ->required();
    Option(apply, "--topic", topic_, "name of the log");
    Option(apply, "--target", target_,
           "URL of the database to apply it to: postgres://user:password@host:port/database")
        ->required()
        ->check(IsPostgresUrl());
    Option(apply, "--pg-log-path", pg_log_path_,
           "log of the target's server, where that is a promoted physical copy of the source: it\n"
           "says where the copy stood, as long as the database has no checkpoint");
    sink_.AddTo(apply);
    AddPulsarLibraryTo(apply, options_.pulsar_library);
    Option(apply, "--reader-prefix", options_.reader_prefix,
           "with Pulsar: how the name of the reader's subscription begins (default: reader)");
    Option(apply, "--renice", options_.renice,
           "below 0: the priority that the process gives itself, where it may")
        ->check(CLI::Range(-20, 19));
    Option(apply, "--batch-tx-size", batch_tx_size_,
           "taken and not needed: transactions are put together as they are there");
    return apply;
  }
  const FlagNames* go_names() const override { return &kGoNamesOfApply; }
  int Run() override {
    return RunUntilSignal(
        [this](const std::stop_token& stop) { return RunApply(Options(), stop); });
  }

 private:
  ApplyOptions Options() const {
    ApplyOptions all = options_;
    all.sink = sink_.Options(target_, topic_);
    all.sink.pg_log_path = pg_log_path_;
    return all;
  }

  SinkFlags sink_;
  ApplyOptions options_;
  std::string topic_ = "pgcapture";
  std::string target_;
  std::string pg_log_path_;
  uint32_t batch_tx_size_ = 100;
};

class DoctorCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const doctor = app.add_subcommand(
        "doctor",
        "Checks everything that serve needs of a server, changes nothing, and says how to mend\n"
        "what is wrong: a line per check. Exit code 1 when something must be mended.");
    source_.AddTo(doctor);
    Option(doctor, "--data-dir", options_.data_dir,
           "also look whether the slot has what follows the log in it; serve may be running");
    Option(doctor, "--store", options_.store,
           "also look whether capture and apply can use this cluster: pulsar://host:port");
    AddPulsarLibraryTo(doctor, options_.pulsar_library);
    Option(doctor, "--format", format_, "json: an object a line; text: for people")
        ->check(CLI::IsMember({"json", "text"}));
    return doctor;
  }
  int Run() override {
    return CheckUntilSignal(
        [this](const std::stop_token& stop) { return RunDoctor(Options(), stop); });
  }

 private:
  DoctorOptions Options() const {
    DoctorOptions all = options_;
    all.source = source_.Options();
    all.json = format_ == "json";
    return all;
  }

  SourceFlags source_;
  DoctorOptions options_;
  std::string format_ = "text";
};

class InstallCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const install = app.add_subcommand(
        "install",
        "Installs what captures DDL in the database to capture, in place of what is there: the\n"
        "extension pgcapture where the server has its files, else event triggers in plain SQL.\n"
        "serve does it too, where neither is there. docs/install.md has the privileges, and how\n"
        "to remove it.");
    AddSourceUrlTo(install, url_);
    CLI::Option* const only_extension =
        Flag(install, "--extension", extension_, "the extension, or an error");
    Flag(install, "--sql", sql_, "plain SQL, also where the extension could be installed")
        ->excludes(only_extension);
    return install;
  }
  int Run() override {
    return RunUntilSignal(
        [this](const std::stop_token& stop) { return RunInstall(url_, wanted(), stop); });
  }

 private:
  std::optional<DdlVariant> wanted() const {
    if (extension_) return DdlVariant::kExtension;
    if (sql_) return DdlVariant::kSql;
    return std::nullopt;
  }

  std::string url_;
  bool extension_ = false;
  bool sql_ = false;
};

}  // namespace

std::unique_ptr<Command> NewServeCommand() { return std::make_unique<ServeCommand>(); }
std::unique_ptr<Command> NewCaptureCommand() { return std::make_unique<CaptureCommand>(); }
std::unique_ptr<Command> NewApplyCommand() { return std::make_unique<ApplyCommand>(); }
std::unique_ptr<Command> NewDoctorCommand() { return std::make_unique<DoctorCommand>(); }
std::unique_ptr<Command> NewInstallCommand() { return std::make_unique<InstallCommand>(); }

}  // namespace pgc
