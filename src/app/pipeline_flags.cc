#include "app/pipeline_flags.h"

#include <chrono>
#include <optional>

#include "source/names.h"

namespace pgc {
namespace {

std::optional<Checkpoint> ParseSkip(const std::string& text) {
  if (text.find('|') == std::string::npos) {
    const auto lsn = ParseLsn(text);
    return lsn.ok() ? std::optional(Checkpoint{.lsn = *lsn}) : std::nullopt;
  }
  const auto key = ParseKey(text);
  return key.ok() ? std::optional(*key) : std::nullopt;
}

}  // namespace

void SourceFlags::AddTo(CLI::App* command) {
  AddSourceUrlTo(command, options.url);
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

void SourceFlags::AddIntervalsTo(CLI::App* command) {
  Option(command, "--heartbeat-interval-ms", heartbeat_ms,
         "how often a message is written to the source, so that the slot of an idle database\n"
         "advances")
      ->check(CLI::Range(int64_t{100}, int64_t{3'600'000}));
  Option(command, "--sequence-interval-ms", sequence_ms,
         "how often the positions of sequences that have moved are written to the log")
      ->check(CLI::Range(int64_t{100}, int64_t{3'600'000}));
}

PostgresSourceOptions SourceFlags::Options() const {
  PostgresSourceOptions all = options;
  all.heartbeat_interval = std::chrono::milliseconds(heartbeat_ms);
  all.sequence_interval = std::chrono::milliseconds(sequence_ms);
  return all;
}

void SinkFlags::AddTo(CLI::App* command) {
  Choice(command, "--on-conflict",
         "what to do where a row of the replica is not as it was on the source, because others\n"
         "wrote there: stop, skip the change, or overwrite the row",
         {{"stop", OnConflict::kStop},
          {"skip", OnConflict::kSkip},
          {"overwrite", OnConflict::kOverwrite}},
         options.apply.on_conflict);
  Option(command, "--skip-lsn", skip_lsn,
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

SinkOptions SinkFlags::Options(const std::string& url, const std::string& topic) const {
  SinkOptions all = options;
  all.url = url;
  all.topic = topic;
  // What is no name for a slot is refused where the topic is captured.
  all.apply.source_id = SlotName(topic).value_or(topic);
  for (const std::string& text : skip_lsn) all.apply.ddl.skip.push_back(*ParseSkip(text));
  return all;
}

}  // namespace pgc
