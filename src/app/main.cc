// pgcapture: the command line. Each command has a file of its own; this one reads flags.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <string>

#include "app/agent.h"
#include "app/apply.h"
#include "app/capture.h"
#include "app/configure.h"
#include "app/controller.h"
#include "app/doctor.h"
#include "app/dump.h"
#include "app/exit_code.h"
#include "app/gateway.h"
#include "app/go_flags.h"
#include "app/install.h"
#include "app/serve.h"
#include "app/signals.h"
#include "app/tail.h"
#include "app/topics.h"
#include "base/log.h"
#include "commit.h"
#include "pg/url.h"
#include "source/names.h"

#ifndef PGC_VERSION
#error "PGC_VERSION comes from the build"
#endif

namespace pgc {
namespace {

// `--data-dir` is also PGCAPTURE_DATA_DIR.
std::string EnvName(std::string_view flag) {
  std::string name = "PGCAPTURE_";
  for (const char c : flag.substr(2)) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

template <typename T>
CLI::Option* Option(CLI::App* command, const std::string& flag, T& value, const std::string& help) {
  return command->add_option(flag, value, help)->envname(EnvName(flag))->capture_default_str();
}

CLI::Option* Flag(CLI::App* command, const std::string& flag, bool& value,
                  const std::string& help) {
  return command->add_flag(flag, value, help)->envname(EnvName(flag));
}

// A flag with a value for each of some names; `value` has the default.
template <typename T>
void Choice(CLI::App* command, const std::string& flag, const std::string& help,
            const std::vector<std::pair<std::string, T>>& values, T& value) {
  std::vector<std::string> names;
  std::string chosen;
  for (const auto& [name, of] : values) {
    names.push_back(name);
    if (of == value) chosen = name;
  }
  command
      ->add_option_function<std::string>(
          flag,
          [values, &value](const std::string& name) {
            for (const auto& [known, of] : values) {
              if (known == name) value = of;
            }
          },
          help)
      ->envname(EnvName(flag))
      ->default_str(chosen)
      ->check(CLI::IsMember(names));
}

const std::map<std::string, log::Level> kLogLevels{{"debug", log::Level::kDebug},
                                                   {"info", log::Level::kInfo},
                                                   {"warning", log::Level::kWarning},
                                                   {"error", log::Level::kError}};

struct LogOptions {
  std::string format = "auto";
  std::string level = "info";

  void AddTo(CLI::App* command) {
    Option(command, "--log-format", format, "text, json, or auto: text on a terminal")
        ->check(CLI::IsMember({"auto", "text", "json"}));
    Option(command, "--log-level", level, "debug, info, warning or error")
        ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  }
  void Apply() const {
    const bool text = format == "text" || (format == "auto" && isatty(STDERR_FILENO) != 0);
    log::Init(text ? log::Format::kText : log::Format::kJson, kLogLevels.at(level));
  }
};

// The Go program's, in kebab case, for ours.
const FlagNames kGoNamesOfCapture{
    {"pg-conn-url", "source"}, {"pulsar-url", "store"}, {"pulsar-topic", "topic"}};
const FlagNames kGoNamesOfApply{
    {"pg-conn-url", "target"}, {"pulsar-url", "store"}, {"pulsar-topic", "topic"}};

// Hides passwords of URLs in what `ps` shows of this process; the flags have been read by then.
void MaskArguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string masked = MaskPassword(argv[i]);
    const size_t room = std::strlen(argv[i]);
    if (masked == argv[i]) continue;
    std::memset(argv[i], 0, room);
    std::memcpy(argv[i], masked.data(), std::min(room, masked.size()));
  }
}

// Commands that the Go program has too take its names of flags.
void Parse(CLI::App& app, int argc, char** argv) {
  const std::map<std::string, FlagNames> names{
      {"agent", {}},
      {"configure", {}},
      {"controller", {}},
      {"gateway", {}},
      {"capture", kGoNamesOfCapture},
      {"pg2pulsar", kGoNamesOfCapture},
      {"apply", kGoNamesOfApply},
      {"pulsar2pg", kGoNamesOfApply},
  };
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto command = arguments.empty() ? names.end() : names.find(arguments[0]);
  if (command != names.end()) arguments = FromGoFlags(arguments, command->second);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(std::move(arguments));
}

int Finish(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  log::Error(std::string(status.message()));
  return kExitFailed;
}

std::string UrlError(const std::string& text) {
  return IsConnectionString(text) ? "" : "not a URL: postgres://user@host/database";
}

void AddUrlTo(CLI::App* command, std::string& url) {
  Option(command, "--source", url,
         "URL of the database to capture: postgres://user:password@host:port/database")
      ->required()
      ->check(CLI::Validator(UrlError, ""));
}

// What `serve`, `capture` and `doctor` must know of the source.
struct SourceFlags {
  PostgresSourceOptions options;
  int64_t heartbeat_ms = options.heartbeat_interval.count();
  int64_t sequence_ms = options.sequence_interval.count();

  void AddTo(CLI::App* command) {
    AddUrlTo(command, options.url);
    Option(command, "--topic", options.topic, "name of the log; also names slot and publication");
    Option(command, "--tables", options.tables,
           "capture only these: schema.table,schema.table (default: all)")
        ->delimiter(',');
    Option(command, "--skip-tables", options.skip_tables,
           "capture all but these; a table created later is reported, and captured from the next\n"
           "start on")
        ->delimiter(',')
        ->excludes("--tables");
    Flag(command, "--replica-identity-full", options.replica_identity_full,
         "set REPLICA IDENTITY FULL on tables that have no key: published without one, PostgreSQL\n"
         "would refuse their UPDATE and DELETE");
    Flag(command, "--no-ddl", options.no_ddl, "do not capture DDL, and install nothing for it");
    Choice(command, "--decode-plugin",
           "the server's output plugin: pgoutput, or pglogical_output, which needs the extension\n"
           "pglogical, a node and tables in replication sets (docs/pglogical.md)",
           {{"pgoutput", DecodePlugin::kPgOutput},
            {"pglogical_output", DecodePlugin::kPglogical},
            {"pglogical", DecodePlugin::kPglogical}},
           options.decode_plugin);
    Option(command, "--replication-sets", options.replication_sets,
           "with pglogical_output: capture the tables of these sets; --tables, --skip-tables and\n"
           "--replica-identity-full do not apply")
        ->delimiter(',');
  }
  void AddIntervalsTo(CLI::App* command) {
    Option(command, "--heartbeat-interval-ms", heartbeat_ms,
           "how often a message is written to the source, so that the slot of an idle database\n"
           "advances")
        ->check(CLI::Range(int64_t{100}, int64_t{3'600'000}));
    Option(command, "--sequence-interval-ms", sequence_ms,
           "how often the positions of sequences that have moved are written to the log")
        ->check(CLI::Range(int64_t{100}, int64_t{3'600'000}));
  }
  PostgresSourceOptions Options() const {
    PostgresSourceOptions all = options;
    all.heartbeat_interval = std::chrono::milliseconds(heartbeat_ms);
    all.sequence_interval = std::chrono::milliseconds(sequence_ms);
    return all;
  }
};

// How a log is applied to a database.
struct SinkFlags {
  SinkOptions options;
  std::vector<std::string> skip_lsn;

  void AddTo(CLI::App* command) {
    Choice(command, "--on-conflict",
           "what to do where a row of the replica is not as it was on the source, because others\n"
           "wrote there: stop, skip the change, or overwrite the row",
           {{"stop", OnConflict::kStop},
            {"skip", OnConflict::kSkip},
            {"overwrite", OnConflict::kOverwrite}},
           options.apply.on_conflict);
    Option(
        command, "--skip-lsn", skip_lsn,
        "DDL that is not to be run on the replica: an LSN for all of a transaction, LSN|SEQ for\n"
        "one command, as the error about it has it; repeatable")
        ->check(CLI::Validator(
            [](const std::string& text) {
              return ParseSkip(text).has_value() ? ""
                                                 : "not an LSN (16/B374D848) or LSN|SEQ: " + text;
            },
            ""));
    Choice(command, "--inexact-ddl",
           "what to do with DDL whose text is not known to be the one command: stop, run it, or\n"
           "skip it",
           {{"stop", InexactDdl::kStop}, {"run", InexactDdl::kRun}, {"skip", InexactDdl::kSkip}},
           options.apply.ddl.inexact);
    Choice(command, "--ddl-role",
           "the role that runs DDL on the replica: the one that ran it on the source (logged), or\n"
           "that of the connection (session)",
           {{"logged", true}, {"session", false}}, options.apply.ddl.use_role);
    Choice(command, "--ddl-search-path",
           "the schemas in which names of DDL are looked up on the replica: those in which the\n"
           "source did (logged), or the connection's (session)",
           {{"logged", true}, {"session", false}}, options.apply.ddl.use_search_path);
    Choice(command, "--replication-role",
           "session_replication_role of the session that applies rows: replica, so that triggers\n"
           "and foreign keys do not act twice, or origin, for a role that may not set it",
           {{"replica", true}, {"origin", false}}, options.apply.replica_role);
    Option(command, "--connections", options.connections,
           "connections over which transactions that do not touch the same rows are applied at\n"
           "once; they are committed in order")
        ->check(CLI::Range(size_t{1}, size_t{16}));
    Option(command, "--synchronous-commit", options.synchronous_commit,
           "of the session that applies rows. With off, a crash of the replica's server takes it\n"
           "back some transactions, which are applied again")
        ->check(CLI::IsMember({"off", "local", "remote_write", "on", "remote_apply"}));
  }
  SinkOptions Options(const std::string& url, const std::string& topic) const {
    SinkOptions all = options;
    all.url = url;
    all.topic = topic;
    // What is no name for a slot is refused where the topic is captured.
    all.apply.source_id = SlotName(topic).value_or(topic);
    for (const std::string& text : skip_lsn) all.apply.ddl.skip.push_back(*ParseSkip(text));
    return all;
  }

 private:
  static std::optional<Checkpoint> ParseSkip(const std::string& text) {
    if (text.find('|') == std::string::npos) {
      const auto lsn = ParseLsn(text);
      return lsn.ok() ? std::optional(Checkpoint{.lsn = *lsn}) : std::nullopt;
    }
    const auto key = ParseKey(text);
    return key.ok() ? std::optional(*key) : std::nullopt;
  }
};

struct ServeFlags {
  SourceFlags source;
  SinkFlags sink;
  std::vector<std::string> replicas;
  ServeOptions options;
  int64_t retention_age_s = 0;
  uint64_t retention_bytes = 0;
  uint64_t hard_limit_bytes = 0;
  int64_t subscription_ttl_s = options.store.subscription_ttl.count();
  std::string spool_dir;

  void AddTo(CLI::App& app) {
    CLI::App* const serve = app.add_subcommand(
        "serve",
        "Captures the changes of a PostgreSQL database into a log on this machine and serves them\n"
        "to consumers over gRPC, all in one process. Needs wal_level=logical and a role with\n"
        "REPLICATION. Runs until SIGINT or SIGTERM; started again, it goes on where it stopped.");
    source.AddTo(serve);
    Option(serve, "--data-dir", options.data_dir, "where the log is kept; made if missing");
    Option(serve, "--spool-dir", spool_dir,
           "where large transactions wait for their commit (default: spool in the data directory)");
    Option(serve, "--listen", options.listen,
           "address of the gRPC services; port 0 takes a free one");
    Flag(serve, "--insecure", options.insecure,
         "allow --listen on an address other than loopback, in plain text and without passwords");
    source.AddIntervalsTo(serve);
    AddRetentionTo(serve);
    Option(
        serve, "--replica", replicas,
        "URL of a database that is kept as the source is, rows and DDL, from the log; repeatable")
        ->check(CLI::Validator(UrlError, ""));
    Option(serve, "--dump-from", options.dump_from,
           "URL of a further server that rows of dumps are read from: a physical standby of the\n"
           "source, or a replica that another process keeps; repeatable. Without it and without\n"
           "--replica they are read from the source")
        ->check(CLI::Validator(UrlError, ""));
    Option(serve, "--dump-connections", options.dump_connections,
           "dumps that are read at once from a server; further ones wait")
        ->check(CLI::Range(1, 100));
    sink.AddTo(serve);
  }
  void AddRetentionTo(CLI::App* serve) {
    const CLI::AsNumberWithUnit duration(
        std::map<std::string, int64_t>{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86'400}});
    Option(serve, "--retention-age", retention_age_s,
           "remove what is older, once every subscription has acknowledged it: 12h, 7d; 0: never")
        ->check(CLI::NonNegativeNumber)
        ->transform(duration);
    Option(serve, "--retention-bytes", retention_bytes,
           "remove what a topic has more than this, once every subscription has acknowledged it:\n"
           "10GB; 0: nothing")
        ->transform(CLI::AsSizeValue(false));
    Option(
        serve, "--hard-limit-bytes", hard_limit_bytes,
        "remove the oldest whoever needs it beyond this; a subscription that loses by it is told\n"
        "(0: half of the file system)")
        ->transform(CLI::AsSizeValue(false));
    Option(serve, "--subscription-ttl", subscription_ttl_s,
           "forget a subscription that was unused for so long; 0: never")
        ->check(CLI::NonNegativeNumber)
        ->transform(duration);
  }
  ServeOptions Options() const {
    ServeOptions all = options;
    if (retention_age_s > 0) all.store.retention_age = std::chrono::seconds(retention_age_s);
    if (retention_bytes > 0) all.store.retention_bytes = retention_bytes;
    if (hard_limit_bytes > 0) all.store.hard_limit_bytes = hard_limit_bytes;
    all.store.subscription_ttl = std::chrono::seconds(subscription_ttl_s);
    all.source = source.Options();
    all.source.spool_dir = spool_dir;
    for (const std::string& url : replicas) {
      all.replicas.push_back(sink.Options(url, source.options.topic));
    }
    return all;
  }
};

void AddPulsarLibraryTo(CLI::App* command, std::string& path) {
  Option(
      command, "--pulsar-library", path,
      "with Pulsar: Apache's client library, libpulsar.so (default: the system's, or one beside\n"
      "the program)");
}

struct CaptureFlags {
  SourceFlags source;
  CaptureOptions options;
  std::string spool_dir;

  void AddTo(CLI::App& app) {
    CLI::App* const capture = app.add_subcommand(
        "capture",
        "Captures the changes of a PostgreSQL database into a topic of Apache Pulsar. Needs\n"
        "wal_level=logical and a role with REPLICATION. Runs until SIGINT or SIGTERM; started\n"
        "again, it goes on behind the last message of the topic. docs/pulsar.md has more.");
    capture->alias("pg2pulsar");
    source.AddTo(capture);
    source.options.via_partition_root = false;
    Flag(capture, "--publish-via-partition-root", source.options.via_partition_root,
         "changes of a partitioned table have its name, as with serve, and not the partition's;\n"
         "the Go program's sink cannot apply them");
    Option(capture, "--pg-repl-url", source.options.replication_url,
           "URL for the replication connection, where that is not --source's")
        ->check(CLI::Validator(UrlError, ""));
    Option(capture, "--store", options.store,
           "the cluster: pulsar://host:port, or pulsar+ssl://, with parameters for TLS and tokens\n"
           "behind a ? (docs/pulsar.md)")
        ->required();
    Option(capture, "--replicate-to", options.replicate_to,
           "clusters that the messages are replicated to, instead of those of the namespace")
        ->delimiter(',');
    Option(capture, "--spool-dir", spool_dir,
           "where large transactions wait for their commit (default: on the source's server)");
    source.AddIntervalsTo(capture);
    AddPulsarLibraryTo(capture, options.pulsar_library);
  }
  CaptureOptions Options() const {
    CaptureOptions all = options;
    all.source = source.Options();
    all.source.spool_dir = spool_dir;
    return all;
  }
};

struct ApplyFlags {
  SinkFlags sink;
  ApplyOptions options;
  std::string topic = "pgcapture";
  std::string target;
  std::string pg_log_path;
  uint32_t batch_tx_size = 100;

  void AddTo(CLI::App& app) {
    CLI::App* const apply = app.add_subcommand(
        "apply",
        "Applies a stored log to a PostgreSQL database, rows and DDL, each transaction exactly "
        "once.\n"
        "It remembers in the database itself how far it has come. Runs until SIGINT or SIGTERM.");
    apply->alias("pulsar2pg");
    Option(apply, "--store", options.store,
           "where the log is: the data directory of a serve that does not run, or\n"
           "pulsar://host:port, or pulsar+ssl://, with parameters behind a ? (docs/pulsar.md)")
        ->required();
    Option(apply, "--topic", topic, "name of the log");
    Option(apply, "--target", target,
           "URL of the database to apply it to: postgres://user:password@host:port/database")
        ->required()
        ->check(CLI::Validator(UrlError, ""));
    Option(apply, "--pg-log-path", pg_log_path,
           "log of the target's server, where that is a promoted physical copy of the source: it\n"
           "says where the copy stood, as long as the database has no checkpoint");
    sink.AddTo(apply);
    AddPulsarLibraryTo(apply, options.pulsar_library);
    Option(apply, "--reader-prefix", options.reader_prefix,
           "with Pulsar: how the name of the reader's subscription begins (default: reader)");
    Option(apply, "--renice", options.renice,
           "below 0: the priority that the process gives itself, where it may")
        ->check(CLI::Range(-20, 19));
    Option(apply, "--batch-tx-size", batch_tx_size,
           "taken and not needed: transactions are put together as they are there");
  }
  ApplyOptions Options() const {
    ApplyOptions all = options;
    all.sink = sink.Options(target, topic);
    all.sink.pg_log_path = pg_log_path;
    return all;
  }
};

struct DoctorFlags {
  SourceFlags source;
  DoctorOptions options;
  std::string format = "text";

  void AddTo(CLI::App& app) {
    CLI::App* const doctor = app.add_subcommand(
        "doctor",
        "Checks everything that serve needs of a server, changes nothing, and says how to mend "
        "what\n"
        "is wrong: a line per check. Exit code 1 when something must be mended.");
    source.AddTo(doctor);
    Option(doctor, "--data-dir", options.data_dir,
           "also look whether the slot has what follows the log in it; serve may be running");
    Option(doctor, "--store", options.store,
           "also look whether capture and apply can use this cluster: pulsar://host:port");
    AddPulsarLibraryTo(doctor, options.pulsar_library);
    Option(doctor, "--format", format, "json: an object a line; text: for people")
        ->check(CLI::IsMember({"json", "text"}));
  }
  DoctorOptions Options() const {
    DoctorOptions all = options;
    all.source = source.Options();
    all.json = format == "json";
    return all;
  }
};

struct InstallFlags {
  std::string url;
  bool extension = false;
  bool sql = false;

  void AddTo(CLI::App& app) {
    CLI::App* const install = app.add_subcommand(
        "install",
        "Installs what captures DDL in the database to capture, in place of what is there: the\n"
        "extension pgcapture where the server has its files, else event triggers in plain SQL.\n"
        "serve does it too, where neither is there. docs/install.md has the privileges, and how "
        "to\n"
        "remove it.");
    AddUrlTo(install, url);
    CLI::Option* const only_extension =
        Flag(install, "--extension", extension, "the extension, or an error");
    Flag(install, "--sql", sql, "plain SQL, also where the extension could be installed")
        ->excludes(only_extension);
  }
  std::optional<DdlVariant> wanted() const {
    if (extension) return DdlVariant::kExtension;
    if (sql) return DdlVariant::kSql;
    return std::nullopt;
  }
};

void AddTail(CLI::App& app, TailOptions& options, std::string& format) {
  CLI::App* const tail = app.add_subcommand(
      "tail",
      "Prints changes, one a line, as a consumer of the gateway. Without --uri it reads from the\n"
      "end of the log and leaves nothing behind; with --uri TOPIC/NAME it is the subscription\n"
      "NAME, which remembers what has been printed; several of them share it, each change goes to\n"
      "one.");
  Option(tail, "--gateway", options.gateway, "address of the gateway");
  Option(tail, "--uri", options.uri, "TOPIC or TOPIC/NAME: the subscription to read");
  Option(tail, "--topic", options.topic, "without --uri: the topic to read");
  Option(tail, "--table", options.table_regex,
         "only tables whose name, without the schema, this RE2 expression finds");
  Option(tail, "--schema", options.schema_regex,
         "only tables in a schema whose name this RE2 expression finds");
  Option(tail, "--from", options.from,
         "where to begin, when the subscription is new or there is none: end (as without it),\n"
         "beginning, an LSN (16/B374D848), a time (2026-01-02T03:04:05Z), or snapshot: at the\n"
         "end, and first the rows that are there");
  Flag(tail, "--extras", options.extras, "also TRUNCATE, and messages of pg_logical_emit_message");
  Flag(tail, "--boundaries", options.boundaries, "also BEGIN and COMMIT of each transaction");
  Flag(tail, "--key-shared", options.key_shared,
       "with several readers of one --uri: all changes of a row go to one of them, in order");
  Option(tail, "--format", format, "json: an object a line; text: for people")
      ->check(CLI::IsMember({"json", "text"}));
  Option(tail, "--limit", options.limit, "end after this many lines; 0: never")
      ->check(CLI::Range(int64_t{0}, INT64_MAX));
  Flag(tail, "--no-ack", options.no_ack, "acknowledge nothing: the next reader gets it all again");
}

void AddTopics(CLI::App& app, TopicsOptions& options, std::string& format) {
  CLI::App* const topics = app.add_subcommand(
      "topics",
      "Shows the topics of a gateway: size, oldest and newest event, how far was captured, and\n"
      "the subscriptions with their consumers and what each has still to get. Also moves and\n"
      "deletes. Nothing is asked back; what is in use is not deleted.");
  Option(topics, "--gateway", options.gateway, "address of the gateway");
  Option(topics, "--format", format, "json or text: how to show them")
      ->check(CLI::IsMember({"json", "text"}));
  // Only flags: what changes something must not come from an environment that was forgotten.
  CLI::Option* const move =
      topics->add_option("--move", options.move, "TOPIC/NAME: the subscription to move");
  topics
      ->add_option(
          "--to", options.to,
          "with --move: end, beginning, an LSN (16/B374D848: what was committed after it)\n"
          "or a time (2026-01-02T03:04:05Z: what was committed from then on)")
      ->needs(move);
  CLI::Option* const subscription =
      topics
          ->add_option("--delete-subscription", options.delete_subscription,
                       "TOPIC/NAME: the subscription to forget; it must have no consumer")
          ->excludes(move);
  topics
      ->add_option("--delete", options.delete_topic,
                   "TOPIC: delete its events and subscriptions; nothing may capture or consume it")
      ->excludes(move)
      ->excludes(subscription);
}

void AddController(CLI::App& app, ControllerCommandOptions& options) {
  CLI::App* const controller = app.add_subcommand(
      "controller",
      "Keeps which dumps are to be made for which consumers, in a process of its own. serve has "
      "one\n"
      "within. Runs until SIGINT or SIGTERM.");
  Option(controller, "--listen-addr", options.listen, "host:port to listen on");
  Flag(controller, "--insecure", options.insecure,
       "allow an address other than loopback, in plain text and without passwords");
  CLI::Option* const data_dir =
      Option(controller, "--data-dir", options.data_dir, "folder of the schedule; made if missing");
  Flag(controller, "--in-memory", options.in_memory, "keep the schedule in memory only")
      ->excludes(data_dir);
  Option(controller, "--max-tries", options.controller.max_tries,
         "how often one dump is tried until its table is set aside as failed")
      ->check(CLI::Range(1u, 1'000'000u));
}

struct GatewayFlags {
  GatewayCommandOptions options;
  int64_t requeue_delay_ms = options.pulsar_requeue_delay.count();

  GatewayCommandOptions Options() const {
    GatewayCommandOptions all = options;
    all.pulsar_requeue_delay = std::chrono::milliseconds(requeue_delay_ms);
    return all;
  }
};

void AddGateway(CLI::App& app, GatewayFlags& flags) {
  GatewayCommandOptions& options = flags.options;
  CLI::App* const gateway = app.add_subcommand(
      "gateway",
      "Serves the changes of stores to consumers, and the dumps that a controller has for them, "
      "in\n"
      "a process of its own. serve has one within. Runs until SIGINT or SIGTERM.");
  Option(gateway, "--resolver-config", options.resolver_config,
         "which uri is which store, topic, subscription and agents: JSON, or @FILE\n"
         "(docs/contract.md, section 7)")
      ->required();
  Option(gateway, "--listen-addr", options.listen, "host:port to listen on");
  Option(gateway, "--controller-addr", options.controller, "address of the controller");
  Flag(gateway, "--insecure", options.insecure,
       "allow an address other than loopback, in plain text and without passwords");
  AddPulsarLibraryTo(gateway, options.pulsar_library);
  Option(gateway, "--pulsar-requeue-delay-ms", flags.requeue_delay_ms,
         "with Pulsar: how long after it was requeued an event comes again")
      ->check(CLI::Range(int64_t{100}, int64_t{3'600'000}));
}

// `dump` asks for one thing: its flags that are no table.
struct DumpFlags {
  DumpCommandOptions options;
  std::string format = "text";
  std::string cool_down;
  bool stop = false;
  bool pause = false;
  bool resume = false;
  bool status = false;

  void AddTo(CLI::App& app) {
    CLI::App* const dump = app.add_subcommand(
        "dump",
        "Has tables dumped into the stream of a consumer, beside its changes: their rows come as\n"
        "UPDATEs, at the place where they are right. Without --wait it returns at once.");
    Option(dump, "--controller", options.controller, "address of the controller");
    Option(dump, "--agent", options.agent,
           "address of the agent that lists tables for a pattern (default: the controller's)");
    Option(dump, "--uri", options.uri, "of the consumers, exactly as they give it");
    // Only flags: what is to be done must not come from an environment that was forgotten.
    dump->add_option("--table", options.tables,
                     "SCHEMA.TABLE, or a pattern: 'public.*', '*'; may be repeated");
    dump->add_option("--pages", options.pages, "A-B: only these pages, both included");
    dump->add_option("--pages-per-dump", options.pages_per_dump, "how a table is cut");
    dump->add_option("--where", options.where, "only rows that fulfil this SQL condition");
    dump->add_option("--columns", options.columns, "only these: a,b")->delimiter(',');
    dump->add_option("--keys", options.keys,
                     "only rows with this key, as the text of a row: (1,a); may be repeated")
        ->take_all();
    dump->add_flag("--wait", options.wait,
                   "wait until consumers have acknowledged everything; exit code 1 when a table "
                   "failed");
    dump->add_option("--cool-down", cool_down, "5s: how long each consumer rests between dumps");
    dump->add_flag("--stop", stop, "forget what is not in hand");
    dump->add_flag("--pause", pause, "give no more dumps");
    dump->add_flag("--resume", resume, "go on after --pause");
    dump->add_flag("--status", status, "show how far it is");
    Option(dump, "--format", format, "json or text: of --status")
        ->check(CLI::IsMember({"json", "text"}));
  }

  int Run(const std::stop_token& token) {
    const int asked = stop + pause + resume + status + !cool_down.empty() +
                      (!options.tables.empty() || options.wait);
    if (asked != 1) {
      std::fprintf(stderr,
                   "one of --table, --wait, --cool-down, --stop, --pause, --resume, --status\n");
      return kExitUsage;
    }
    if (stop) options.action = DumpAction::kStop;
    if (pause) options.action = DumpAction::kPause;
    if (resume) options.action = DumpAction::kResume;
    if (status) options.action = DumpAction::kStatus;
    if (!cool_down.empty()) {
      const auto duration = ParseDuration(cool_down);
      if (!duration.ok()) return Finish(duration.status());
      options.action = DumpAction::kCoolDown;
      options.cool_down = *duration;
    }
    options.json = format == "json";
    options.terminal = isatty(STDERR_FILENO) != 0;
    const auto well = RunDump(options, token);
    return well.ok() ? (*well ? kExitOk : kExitFailed) : Finish(well.status());
  }
};

struct AgentFlags {
  AgentCommandOptions options;
  bool export_prometheus = false;
  std::string prometheus_addr = ":2112";

  void AddTo(CLI::App& app) {
    CLI::App* const agent = app.add_subcommand(
        "agent",
        "Runs the capture or the replica of this host, as `pgcapture configure` asks, and answers\n"
        "dumps from the replica. Runs until SIGINT or SIGTERM.");
    Option(agent, "--listen-addr", options.listen,
           "address of the gRPC service; port 0 takes a free one");
    Flag(agent, "--insecure", options.insecure,
         "allow --listen-addr on an address other than loopback, in plain text and without\n"
         "passwords");
    Option(agent, "--dump-connections", options.dump_connections,
           "dumps that are read at once from a server; further ones wait")
        ->check(CLI::Range(1, 1'000));
    Option(agent, "--dump-from", options.dump_from,
           "URL of a replica or physical standby to answer dumps from, whose sink runs elsewhere;\n"
           "repeatable")
        ->check(CLI::Validator(UrlError, ""));
    Option(agent, "--topic", options.topic, "with --dump-from: name of the log they belong to");
    Option(agent, "--renice", options.renice,
           "below 0: the priority that the process gives itself, where it may")
        ->check(CLI::Range(-20, 19));
    AddPulsarLibraryTo(agent, options.pulsar_library);
    Flag(agent, "--export-prometheus", export_prometheus, "refused: there are no metrics yet");
    Option(agent, "--prometheus-addr", prometheus_addr, "with --export-prometheus: where");
  }
  absl::Status Run(const std::stop_token& stop) const {
    if (export_prometheus) {
      return absl::FailedPreconditionError(
          "--export-prometheus: this build has no metrics; leave it out");
    }
    return RunAgent(options, stop);
  }
};

void AddConfigure(CLI::App& app, ConfigureOptions& options) {
  CLI::App* const configure = app.add_subcommand(
      "configure",
      "Tells an agent what to run, and again every 5 s, so that one that has failed or was\n"
      "restarted is set going again. Prints each answer as a line of JSON. docs/agent.md has the\n"
      "meaning of each flag. Runs until SIGINT or SIGTERM.");
  Option(configure, "--agent-addr", options.agent, "address of the agent")->required();
  Option(configure, "--agent-command", options.command,
         "pg2pulsar: capture; pulsar2pg: keep a replica; status: only tell")
      ->required()
      ->check(CLI::IsMember({"pg2pulsar", "pulsar2pg", "status"}));
  Option(configure, "--pg-conn-url", options.pg_conn_url, "URL of the database");
  Option(configure, "--pg-repl-url", options.pg_repl_url,
         "pg2pulsar: the same with replication=database");
  Option(configure, "--pulsar-url", options.pulsar_url,
         "the store, as the agent sees it: the absolute path of a data directory");
  Option(configure, "--pulsar-topic", options.pulsar_topic, "name of the log");
  Option(configure, "--decode-plugin", options.decode_plugin, "pgoutput or pglogical_output");
  Option(configure, "--tables", options.tables, "pg2pulsar: capture only these")->delimiter(',');
  Option(configure, "--pg-log-path", options.pg_log_path,
         "pulsar2pg: log of a server that is a promoted physical copy");
  Option(configure, "--start-lsn", options.start_lsn, "for agents that have no store of their own");
  Option(configure, "--pulsar-tracker", options.pulsar_tracker, "pulsar or pulsarSub");
  Option(configure, "--pulsar-tracker-interval", options.pulsar_tracker_interval, "1m30s");
  Flag(configure, "--pulsar-tracker-replicate-state", options.pulsar_tracker_replicate_state,
       "the tracker's subscription is replicated between clusters");
  Option(configure, "--batch-tx-size", options.batch_tx_size,
         "pulsar2pg: transactions of the source in one of the replica")
      ->check(CLI::NonNegativeNumber);
}

int Main(int argc, char** argv) {
  CLI::App app{
      "Change data capture for PostgreSQL: an ordered log of every committed change,\n"
      "streamed to any number of consumers over gRPC.\n"
      "Every flag can also be given as an environment variable: --data-dir is\n"
      "PGCAPTURE_DATA_DIR."};
  app.name("pgcapture");
  app.require_subcommand(1);
  ServeFlags serve;
  CaptureFlags capture;
  ApplyFlags apply;
  DoctorFlags doctor;
  InstallFlags install;
  TailOptions tail;
  TopicsOptions topics;
  ControllerCommandOptions controller;
  GatewayFlags gateway;
  DumpFlags dump;
  AgentFlags agent;
  ConfigureOptions configure;
  LogOptions logs;
  std::string tail_format = "text";
  std::string topics_format = "text";
  serve.AddTo(app);
  capture.AddTo(app);
  apply.AddTo(app);
  AddTail(app, tail, tail_format);
  AddTopics(app, topics, topics_format);
  dump.AddTo(app);
  AddController(app, controller);
  AddGateway(app, gateway);
  agent.AddTo(app);
  AddConfigure(app, configure);
  install.AddTo(app);
  doctor.AddTo(app);
  app.add_subcommand("version", "Prints version, commit and build.");
  for (const char* name : {"serve", "capture", "apply", "tail", "topics", "dump", "controller",
                           "gateway", "agent", "configure", "install", "doctor"}) {
    logs.AddTo(app.get_subcommand(name));
  }
  try {
    Parse(app, argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  MaskArguments(argc, argv);
  if (app.got_subcommand("version")) {
    std::printf("version: %s (%s) %s\n", PGC_VERSION, PGC_COMMIT, PGC_BUILD);
    return kExitOk;
  }
  logs.Apply();
  if (app.got_subcommand("topics")) {
    topics.json = topics_format == "json";
    return Finish(RunTopics(topics));
  }
  StopOnSignal signals;
  if (app.got_subcommand("tail")) {
    tail.format = tail_format == "json" ? TailFormat::kJson : TailFormat::kText;
    return Finish(RunTail(tail, signals.source().get_token()));
  }
  if (app.got_subcommand("dump")) return dump.Run(signals.source().get_token());
  if (app.got_subcommand("agent")) return Finish(agent.Run(signals.source().get_token()));
  if (app.got_subcommand("configure")) {
    return Finish(RunConfigure(configure, signals.source().get_token()));
  }
  if (app.got_subcommand("gateway")) {
    return Finish(RunGateway(gateway.Options(), signals.source().get_token()));
  }
  if (app.got_subcommand("controller")) {
    return Finish(RunController(controller, signals.source().get_token()));
  }
  if (app.got_subcommand("install")) {
    return Finish(RunInstall(install.url, install.wanted(), signals.source().get_token()));
  }
  if (app.got_subcommand("doctor")) {
    const auto well = RunDoctor(doctor.Options(), signals.source().get_token());
    return well.ok() ? (*well ? kExitOk : kExitFailed) : Finish(well.status());
  }
  if (app.got_subcommand("capture")) {
    return Finish(RunCapture(capture.Options(), signals.source().get_token()));
  }
  if (app.got_subcommand("apply")) {
    return Finish(RunApply(apply.Options(), signals.source().get_token()));
  }
  return Finish(RunServe(serve.Options(), signals.source().get_token()));
}

}  // namespace
}  // namespace pgc

int main(int argc, char** argv) { return pgc::Main(argc, argv); }
