// What keeps the rows of dumps right is needed: without any one part of it the tests of the order
// find differences. The parts of serve run in this process, with a fault between agent and server.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <utility>

#include "agent/agent_service.h"
#include "base/pause.h"
#include "base/retry.h"
#include "controller/controller_service.h"
#include "dump/dump_server.h"
#include "e2e/dump/order_fixture.h"
#include "event/pipeline.h"
#include "gateway/resolver.h"
#include "gateway/server.h"
#include "sink/postgres_sink.h"
#include "source/postgres_source.h"
#include "store/embedded_store.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;

// Tried one after the other until a difference is found.
constexpr uint64_t kMostSeeds = 20;

enum class Fault : uint8_t {
  kNone,
  kLaterPlace,          // rows stand where the source is when they have been read
  kPlaceAfterSnapshot,  // R is read in a later snapshot than the rows
  kNoSweep,
  kNoRepeats,
};

// A replica whose dumps have the fault.
class FaultyServer final : public DumpServer {
 public:
  FaultyServer(Fault fault, DumpServerOptions options, std::string source)
      : fault_(fault),
        options_(options),
        source_(std::move(source)),
        server_(DumpServer::New(std::move(options))) {}

  absl::Status Read(const DumpRequest& request, DumpWriter& out, std::stop_token stop) override {
    Writer writer(*this, request, out);
    return server_->Read(request, writer, std::move(stop));
  }
  absl::StatusOr<std::vector<DumpTable>> Tables(std::stop_token stop) override {
    return server_->Tables(std::move(stop));
  }
  std::optional<uint64_t> identity() const override { return server_->identity(); }
  int in_use() const override { return server_->in_use(); }

 private:
  class Writer final : public DumpWriter {
   public:
    Writer(FaultyServer& server, const DumpRequest& request, DumpWriter& out)
        : server_(server), request_(request), out_(out) {}

    // The snapshot has been taken by now.
    absl::Status Begin(const DumpHeader& header) override {
      DumpHeader wrong = header;
      if (server_.fault_ == Fault::kLaterPlace) {
        wrong.applied = Ask(server_.source_, "SELECT pg_current_wal_insert_lsn()");
      } else if (server_.fault_ == Fault::kPlaceAfterSnapshot) {
        Pause(milliseconds(10), {});
        wrong.applied = Ask(server_.options_.url,
                            fmt::format("SELECT commit FROM pgcapture.sources WHERE id = '{}'",
                                        server_.options_.topic));
      }
      return out_.Begin(wrong);
    }
    absl::Status Rows(std::string_view changes, uint64_t count) override {
      if (request_.sweep && server_.fault_ == Fault::kNoSweep) return absl::OkStatus();
      return out_.Rows(changes, count);
    }

   private:
    static Lsn Ask(const std::string& url, const std::string& query) {
      const auto sql = Connection::Open(url);
      EXPECT_TRUE(sql.ok()) << sql.status();
      if (!sql.ok()) return {};
      const auto row = (*sql)->Query(query);
      EXPECT_TRUE(row.ok() && row->rows() == 1) << row.status();
      return row.ok() ? ParseLsn(row->Text(0, 0)).value_or(Lsn{}) : Lsn{};
    }

    FaultyServer& server_;
    const DumpRequest& request_;
    DumpWriter& out_;
  };

  const Fault fault_;
  const DumpServerOptions options_;
  const std::string source_;
  const std::unique_ptr<DumpServer> server_;
};

// What serve does, with this one server to dump from.
class FaultyServe {
 public:
  struct Options {
    std::string source;
    std::string replica;
    std::string topic;
    std::filesystem::path data_dir;
    Fault fault;
  };

  static absl::StatusOr<std::unique_ptr<FaultyServe>> Start(const Options& options) {
    std::unique_ptr<FaultyServe> serve(new FaultyServe());
    auto store = OpenEmbeddedStore(options.data_dir, {});
    if (!store.ok()) return store.status();
    serve->store_ = *std::move(store);
    auto controller = ControllerService::Open({});
    if (!controller.ok()) return controller.status();
    serve->controller_ = *std::move(controller);
    DumpServerOptions from;
    from.url = options.replica;
    from.topic = options.topic;
    serve->agent_ = std::make_unique<AgentService>(
        AgentOptions{}, std::vector<std::shared_ptr<DumpServer>>{
                            std::make_shared<FaultyServer>(options.fault, from, options.source)});
    std::promise<DumpSources> dumps;
    serve->resolver_ = std::make_unique<StoreResolver>(*serve->store_, dumps.get_future().share());
    auto server =
        GatewayServer::Start({.address = "127.0.0.1:0",
                              .services = {serve->controller_.get(), serve->agent_->service()}},
                             *serve->resolver_, serve->store_.get());
    if (!server.ok()) return server.status();
    serve->server_ = *std::move(server);
    dumps.set_value({.controller = serve->server_->InProcessChannel(),
                     .agents = {serve->server_->InProcessChannel()}});
    const absl::Status captures = serve->Capture(options);
    if (!captures.ok()) return captures;
    serve->Keep(options);
    return serve;
  }

  ~FaultyServe() {
    replica_ = {};
    capture_ = {};
    if (agent_ != nullptr) agent_->Shutdown();
    if (controller_ != nullptr) controller_->Shutdown();
    if (server_ != nullptr) server_->Shutdown();
  }
  const std::string& address() const { return server_->address(); }

 private:
  FaultyServe() = default;

  absl::Status Capture(const Options& options) {
    PostgresSourceOptions source;
    source.url = options.source;
    source.topic = options.topic;
    source.no_ddl = true;
    source.heartbeat_interval = milliseconds(500);
    std::promise<absl::Status> started;
    auto when_started = started.get_future();
    capture_ = std::jthread(
        [this, source, started = std::move(started)](const std::stop_token& stop) mutable {
          const auto events = NewPostgresSource(source);
          auto sink = store_->OpenWriter(source.topic);
          if (!sink.ok()) return started.set_value(sink.status());
          bool is_started = false;
          const absl::Status ended = RunPipeline(*events, **sink, stop, [&] {
            is_started = true;
            started.set_value(absl::OkStatus());
          });
          if (!is_started) return started.set_value(ended);
          EXPECT_TRUE(ended.ok() || absl::IsCancelled(ended)) << ended;
        });
    return when_started.get();
  }
  void Keep(const Options& options) {
    SinkOptions sink;
    sink.url = options.replica;
    sink.topic = options.topic;
    sink.apply.source_id = options.topic;
    replica_ = std::jthread([this, sink](const std::stop_token& stop) {
      const absl::Status ended =
          Retry("the replica", stop, [&] { return RunPostgresSink(*store_, sink, stop); });
      EXPECT_TRUE(ended.ok() || absl::IsCancelled(ended)) << ended;
    });
  }

  std::unique_ptr<EventStore> store_;
  std::unique_ptr<ControllerService> controller_;
  std::unique_ptr<AgentService> agent_;
  std::unique_ptr<StoreResolver> resolver_;
  std::unique_ptr<GatewayServer> server_;
  std::jthread capture_;
  std::jthread replica_;
};

class WrongPlace : public OrderServers {
 protected:
  // What is found, with the seeds in turn until something is, or none is left.
  std::string DifferencesWith(Fault fault, uint64_t seeds = kMostSeeds) {
    const auto serve = FaultyServe::Start({.source = source_url(),
                                           .replica = replica_url(),
                                           .topic = name(),
                                           .data_dir = folder() / "data",
                                           .fault = fault});
    EXPECT_TRUE(serve.ok()) << serve.status();
    if (!serve.ok()) return {};
    std::jthread lag;
    std::string differences;
    for (uint64_t seed = 1; seed <= seeds && differences.empty() && !HasFailure(); ++seed) {
      MakeTables(seed, true);
      // Where it follows closely there is little to repeat.
      if (fault == Fault::kNoRepeats && !lag.joinable()) {
        lag = std::jthread([this](const std::stop_token& stop) { HoldUpReplica(stop); });
      }
      differences = RunOrder({.gateway = (*serve)->address(),
                              .topic = name(),
                              .source = source_url(),
                              .schema = SchemaOf(seed),
                              .seed = seed,
                              .pages_per_dump = 1,
                              .replica = replica_url(),
                              .moves_in_bursts = fault == Fault::kNoRepeats,
                              .cool_down = milliseconds(fault == Fault::kNoSweep ? 30 : 0),
                              .leaves_out_repeats = fault == Fault::kNoRepeats});
    }
    return differences;
  }
};

TEST_F(WrongPlace, NothingIsFoundWithoutAFault) { EXPECT_EQ(DifferencesWith(Fault::kNone, 1), ""); }
TEST_F(WrongPlace, RowsAtALaterPlaceAreFound) {
  EXPECT_NE(DifferencesWith(Fault::kLaterPlace), "");
}
TEST_F(WrongPlace, APlaceThatIsReadAfterTheSnapshotIsFound) {
  EXPECT_NE(DifferencesWith(Fault::kPlaceAfterSnapshot), "");
}
TEST_F(WrongPlace, ThatTheSweepIsLeftOutIsFound) {
  EXPECT_NE(DifferencesWith(Fault::kNoSweep), "");
}
TEST_F(WrongPlace, ThatRepeatsAreLeftOutIsFound) {
  EXPECT_NE(DifferencesWith(Fault::kNoRepeats), "");
}

}  // namespace
}  // namespace pgc
