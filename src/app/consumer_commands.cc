// The commands of those who consume.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/dump.h"
#include "app/exit_code.h"
#include "app/tail.h"
#include "app/topics.h"

namespace pgc {
namespace {

class TailCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const tail = app.add_subcommand(
        "tail",
        "Prints changes, one a line, as a consumer of the gateway. Without --uri it reads from\n"
        "the end of the log and leaves nothing behind; with --uri TOPIC/NAME it is the\n"
        "subscription NAME, which remembers what has been printed; several of them share it, each\n"
        "change goes to one.");
    Option(tail, "--gateway", options_.gateway, "address of the gateway");
    Option(tail, "--uri", options_.uri, "TOPIC or TOPIC/NAME: the subscription to read");
    Option(tail, "--topic", options_.topic, "without --uri: the topic to read");
    Option(tail, "--table", options_.table_regex,
           "only tables whose name, without the schema, this RE2 expression finds");
    Option(tail, "--schema", options_.schema_regex,
           "only tables in a schema whose name this RE2 expression finds");
    Option(tail, "--from", options_.from,
           "where to begin, when the subscription is new or there is none: end (as without it),\n"
           "beginning, an LSN (16/B374D848), a time (2026-01-02T03:04:05Z), or snapshot: at the\n"
           "end, and first the rows that are there");
    Flag(tail, "--extras", options_.extras,
         "also TRUNCATE, and messages of pg_logical_emit_message");
    Flag(tail, "--boundaries", options_.boundaries, "also BEGIN and COMMIT of each transaction");
    Flag(tail, "--key-shared", options_.key_shared,
         "with several readers of one --uri: all changes of a row go to one of them, in order");
    Option(tail, "--format", format_, "json: an object a line; text: for people")
        ->check(CLI::IsMember({"json", "text"}));
    Option(tail, "--limit", options_.limit, "end after this many lines; 0: never")
        ->check(CLI::Range(int64_t{0}, INT64_MAX));
    Flag(tail, "--no-ack", options_.no_ack,
         "acknowledge nothing: the next reader gets it all again");
    return tail;
  }
  int Run() override {
    options_.format = format_ == "json" ? TailFormat::kJson : TailFormat::kText;
    return RunUntilSignal([this](const std::stop_token& stop) { return RunTail(options_, stop); });
  }

 private:
  TailOptions options_;
  std::string format_ = "text";
};

class TopicsCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const topics = app.add_subcommand(
        "topics",
        "Shows the topics of a gateway: size, oldest and newest event, how far was captured, and\n"
        "the subscriptions with their consumers and what each has still to get. Also moves and\n"
        "deletes. Nothing is asked back; what is in use is not deleted.");
    Option(topics, "--gateway", options_.gateway, "address of the gateway");
    Option(topics, "--format", format_, "json or text: how to show them")
        ->check(CLI::IsMember({"json", "text"}));
    // Only flags: what changes something must not come from an environment that was forgotten.
    CLI::Option* const move =
        topics->add_option("--move", options_.move, "TOPIC/NAME: the subscription to move");
    topics
        ->add_option(
            "--to", options_.to,
            "with --move: end, beginning, an LSN (16/B374D848: what was committed after it)\n"
            "or a time (2026-01-02T03:04:05Z: what was committed from then on)")
        ->needs(move);
    CLI::Option* const subscription =
        topics
            ->add_option("--delete-subscription", options_.delete_subscription,
                         "TOPIC/NAME: the subscription to forget; it must have no consumer")
            ->excludes(move);
    topics
        ->add_option(
            "--delete", options_.delete_topic,
            "TOPIC: delete its events and subscriptions; nothing may capture or consume it")
        ->excludes(move)
        ->excludes(subscription);
    return topics;
  }
  int Run() override {
    options_.json = format_ == "json";
    return Finish(RunTopics(options_));
  }

 private:
  TopicsOptions options_;
  std::string format_ = "text";
};

// It asks for one thing: its flags that are no table.
class DumpCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const dump = app.add_subcommand(
        "dump",
        "Has tables dumped into the stream of a consumer, beside its changes: their rows come as\n"
        "UPDATEs, at the place where they are right. Without --wait it returns at once.");
    Option(dump, "--controller", options_.controller, "address of the controller");
    Option(dump, "--agent", options_.agent,
           "address of the agent that lists tables for a pattern (default: the controller's)");
    Option(dump, "--uri", options_.uri, "of the consumers, exactly as they give it");
    // Only flags: what is to be done must not come from an environment that was forgotten.
    dump->add_option("--table", options_.tables,
                     "SCHEMA.TABLE, or a pattern: 'public.*', '*'; may be repeated");
    dump->add_option("--pages", options_.pages, "A-B: only these pages, both included");
    dump->add_option("--pages-per-dump", options_.pages_per_dump, "how a table is cut");
    dump->add_option("--where", options_.where, "only rows that fulfil this SQL condition");
    dump->add_option("--columns", options_.columns, "only these: a,b")->delimiter(',');
    dump->add_option("--keys", options_.keys,
                     "only rows with this key, as the text of a row: (1,a); may be repeated")
        ->take_all();
    dump->add_flag("--wait", options_.wait,
                   "wait until consumers have acknowledged everything; exit code 1 when a table\n"
                   "failed");
    dump->add_option("--cool-down", cool_down_, "5s: how long each consumer rests between dumps");
    dump->add_flag("--stop", stop_, "forget what is not in hand");
    dump->add_flag("--pause", pause_, "give no more dumps");
    dump->add_flag("--resume", resume_, "go on after --pause");
    dump->add_flag("--status", status_, "show how far it is");
    Option(dump, "--format", format_, "json or text: of --status")
        ->check(CLI::IsMember({"json", "text"}));
    return dump;
  }
  int Run() override {
    const int asked = stop_ + pause_ + resume_ + status_ + !cool_down_.empty() +
                      (!options_.tables.empty() || options_.wait);
    if (asked != 1) {
      std::fprintf(stderr,
                   "one of --table, --wait, --cool-down, --stop, --pause, --resume, --status\n");
      return kExitUsage;
    }
    if (stop_) options_.action = DumpAction::kStop;
    if (pause_) options_.action = DumpAction::kPause;
    if (resume_) options_.action = DumpAction::kResume;
    if (status_) options_.action = DumpAction::kStatus;
    if (!cool_down_.empty()) {
      const auto duration = ParseDuration(cool_down_);
      if (!duration.ok()) return Finish(duration.status());
      options_.action = DumpAction::kCoolDown;
      options_.cool_down = *duration;
    }
    options_.json = format_ == "json";
    options_.terminal = isatty(STDERR_FILENO) != 0;
    return CheckUntilSignal(
        [this](const std::stop_token& stop) { return RunDump(options_, stop); });
  }

 private:
  DumpCommandOptions options_;
  std::string format_ = "text";
  std::string cool_down_;
  bool stop_ = false;
  bool pause_ = false;
  bool resume_ = false;
  bool status_ = false;
};

}  // namespace

std::unique_ptr<Command> NewTailCommand() { return std::make_unique<TailCommand>(); }
std::unique_ptr<Command> NewTopicsCommand() { return std::make_unique<TopicsCommand>(); }
std::unique_ptr<Command> NewDumpCommand() { return std::make_unique<DumpCommand>(); }

}  // namespace pgc
