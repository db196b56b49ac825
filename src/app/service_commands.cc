// The commands of the parts that run on machines of their own, and of who sets them going.
#include <chrono>
#include <cstdint>
#include <memory>

#include "app/agent.h"
#include "app/commands.h"
#include "app/configure.h"
#include "app/controller.h"
#include "app/gateway.h"

namespace pgc {
namespace {

// Flags that are called as in the Go program.
const FlagNames kNoOtherNames;

class ControllerCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const controller = app.add_subcommand(
        "controller",
        "Keeps which dumps are to be made for which consumers, in a process of its own. serve has\n"
        "one within. Runs until SIGINT or SIGTERM.");
    Option(controller, "--listen-addr", options_.listen, "host:port to listen on");
    Flag(controller, "--insecure", options_.insecure,
         "allow an address other than loopback, in plain text and without passwords");
    CLI::Option* const data_dir = Option(controller, "--data-dir", options_.data_dir,
                                         "folder of the schedule; made if missing");
    Flag(controller, "--in-memory", options_.in_memory, "keep the schedule in memory only")
        ->excludes(data_dir);
    Option(controller, "--max-tries", options_.controller.max_tries,
           "how often one dump is tried until its table is set aside as failed")
        ->check(CLI::Range(1u, 1'000'000u));
    return controller;
  }
  const FlagNames* go_names() const override { return &kNoOtherNames; }
  int Run() override {
    return RunUntilSignal(
        [this](const std::stop_token& stop) { return RunController(options_, stop); });
  }

 private:
  ControllerCommandOptions options_;
};

class GatewayCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const gateway = app.add_subcommand(
        "gateway",
        "Serves the changes of stores to consumers, and the dumps that a controller has for\n"
        "them, in a process of its own. serve has one within. Runs until SIGINT or SIGTERM.");
    Option(gateway, "--resolver-config", options_.resolver_config,
           "which uri is which store, topic, subscription and agents: JSON, or @FILE\n"
           "(docs/contract.md, section 7)")
        ->required();
    Option(gateway, "--listen-addr", options_.listen, "host:port to listen on");
    Option(gateway, "--controller-addr", options_.controller, "address of the controller");
    Flag(gateway, "--insecure", options_.insecure,
         "allow an address other than loopback, in plain text and without passwords");
    AddPulsarLibraryTo(gateway, options_.pulsar_library);
    Option(gateway, "--pulsar-requeue-delay-ms", requeue_delay_ms_,
           "with Pulsar: how long after it was requeued an event comes again")
        ->check(CLI::Range(int64_t{100}, int64_t{3'600'000}));
    return gateway;
  }
  const FlagNames* go_names() const override { return &kNoOtherNames; }
  int Run() override {
    options_.pulsar_requeue_delay = std::chrono::milliseconds(requeue_delay_ms_);
    return RunUntilSignal(
        [this](const std::stop_token& stop) { return RunGateway(options_, stop); });
  }

 private:
  GatewayCommandOptions options_;
  int64_t requeue_delay_ms_ = options_.pulsar_requeue_delay.count();
};

class AgentCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const agent = app.add_subcommand(
        "agent",
        "Runs the capture or the replica of this host, as `pgcapture configure` asks, and answers\n"
        "dumps from the replica. Runs until SIGINT or SIGTERM.");
    Option(agent, "--listen-addr", options_.listen,
           "address of the gRPC service; port 0 takes a free one");
    Flag(agent, "--insecure", options_.insecure,
         "allow --listen-addr on an address other than loopback, in plain text and without\n"
         "passwords");
    Option(agent, "--dump-connections", options_.dump_connections,
           "dumps that are read at once from a server; further ones wait")
        ->check(CLI::Range(1, 1'000));
    Option(agent, "--dump-from", options_.dump_from,
           "URL of a replica or physical standby to answer dumps from, whose sink runs elsewhere;\n"
           "repeatable")
        ->check(IsPostgresUrl());
    Option(agent, "--topic", options_.topic, "with --dump-from: name of the log they belong to");
    Flag(agent, "--publish-via-partition-root", options_.publishes_via_root,
         "for dumps: the log was captured with this flag, and changes of a partitioned table have\n"
         "its name, not the partition's");
    Option(agent, "--renice", options_.renice,
           "below 0: the priority that the process gives itself, where it may")
        ->check(CLI::Range(-20, 19));
    AddPulsarLibraryTo(agent, options_.pulsar_library);
    Flag(agent, "--export-prometheus", export_prometheus_, "refused: there are no metrics yet");
    Option(agent, "--prometheus-addr", prometheus_addr_, "with --export-prometheus: where");
    return agent;
  }
  const FlagNames* go_names() const override { return &kNoOtherNames; }
  int Run() override {
    if (export_prometheus_) {
      return Finish(absl::FailedPreconditionError(
          "--export-prometheus: this build has no metrics; leave it out"));
    }
    return RunUntilSignal([this](const std::stop_token& stop) { return RunAgent(options_, stop); });
  }

 private:
  AgentCommandOptions options_;
  bool export_prometheus_ = false;
  std::string prometheus_addr_ = ":2112";
};

class ConfigureCommand final : public Command {
 public:
  CLI::App* AddTo(CLI::App& app) override {
    CLI::App* const configure = app.add_subcommand(
        "configure",
        "Tells an agent what to run, and again every 5 s, so that one that has failed or was\n"
        "restarted is set going again. Prints each answer as a line of JSON. docs/agent.md has\n"
        "the meaning of each flag. Runs until SIGINT or SIGTERM.");
    Option(configure, "--agent-addr", options_.agent, "address of the agent")->required();
    Option(configure, "--agent-command", options_.command,
           "pg2pulsar: capture; pulsar2pg: keep a replica; status: only tell")
        ->required()
        ->check(CLI::IsMember({"pg2pulsar", "pulsar2pg", "status"}));
    Option(configure, "--pg-conn-url", options_.pg_conn_url, "URL of the database");
    Option(configure, "--pg-repl-url", options_.pg_repl_url,
           "pg2pulsar: the same with replication=database");
    Option(configure, "--pulsar-url", options_.pulsar_url,
           "the store, as the agent sees it: the absolute path of a data directory");
    Option(configure, "--pulsar-topic", options_.pulsar_topic, "name of the log");
    Option(configure, "--decode-plugin", options_.decode_plugin, "pgoutput or pglogical_output");
    Option(configure, "--tables", options_.tables, "pg2pulsar: capture only these")->delimiter(',');
    Option(configure, "--pg-log-path", options_.pg_log_path,
           "pulsar2pg: log of a server that is a promoted physical copy");
    Option(configure, "--start-lsn", options_.start_lsn,
           "for agents that have no store of their own");
    Option(configure, "--pulsar-tracker", options_.pulsar_tracker, "pulsar or pulsarSub");
    Option(configure, "--pulsar-tracker-interval", options_.pulsar_tracker_interval, "1m30s");
    Flag(configure, "--pulsar-tracker-replicate-state", options_.pulsar_tracker_replicate_state,
         "the tracker's subscription is replicated between clusters");
    Option(configure, "--batch-tx-size", options_.batch_tx_size,
           "pulsar2pg: transactions of the source in one of the replica")
        ->check(CLI::NonNegativeNumber);
    return configure;
  }
  const FlagNames* go_names() const override { return &kNoOtherNames; }
  int Run() override {
    return RunUntilSignal(
        [this](const std::stop_token& stop) { return RunConfigure(options_, stop); });
  }

 private:
  ConfigureOptions options_;
};

}  // namespace

std::unique_ptr<Command> NewControllerCommand() { return std::make_unique<ControllerCommand>(); }
std::unique_ptr<Command> NewGatewayCommand() { return std::make_unique<GatewayCommand>(); }
std::unique_ptr<Command> NewAgentCommand() { return std::make_unique<AgentCommand>(); }
std::unique_ptr<Command> NewConfigureCommand() { return std::make_unique<ConfigureCommand>(); }

}  // namespace pgc
