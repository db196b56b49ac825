#include "agent/agent_service.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <utility>

#include "agent/dump_call.h"
#include "agent/dump_pool.h"
#include "agent/dump_request.h"
#include "agent/pipeline_host.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "pgcapture.grpc.pb.h"
#include "rpc/grpc_status.h"

namespace pgc {
namespace {

// The rows of the three dumps go out as they were read, without being parsed.
using RawService =
    pb::Agent::WithRawCallbackMethod_DumpPages<pb::Agent::WithRawCallbackMethod_StreamDump<
        pb::Agent::WithRawCallbackMethod_Dump<pb::Agent::WithCallbackMethod_Configure<
            pb::Agent::WithCallbackMethod_ListTables<pb::Agent::Service>>>>>;

constexpr char kNoServer[] =
    "no pulsar2pg configured: this agent knows no server to dump from. Configure it (pgcapture "
    "configure), or give it one (--dump-from)";

absl::StatusOr<AgentDump> ParseDump(const grpc::ByteBuffer& bytes) {
  grpc::ByteBuffer copy = bytes;  // of references only; the parser takes it apart
  pb::AgentDumpRequest request;
  if (!grpc::SerializationTraits<pb::AgentDumpRequest>::Deserialize(&copy, &request).ok()) {
    return absl::InvalidArgumentError("the request is no AgentDumpRequest");
  }
  return ReadAgentDump(request);
}

class ConfigureCall final : public grpc::ServerUnaryReactor {
 public:
  void OnDone() override { delete this; }
};

}  // namespace

class AgentService::Impl final : public RawService {
 public:
  Impl(AgentOptions options, std::vector<std::shared_ptr<DumpServer>> servers)
      : options_(std::move(options)),
        limits_{.bytes_in_flight = options_.max_bytes_in_flight,
                .stall_timeout = options_.stall_timeout},
        pool_(
            {.connections = options_.dump_connections, .max_waiting = options_.max_waiting_dumps}),
        host_({.stores = options_.stores,
               .start_time = options_.start_time,
               .replica_is_kept = [this](const KeptReplica& replica) { KeepReplica(replica); },
               .replica_is_left = [this] { LeaveReplica(); }}) {
    for (auto& server : servers) pool_.Add(std::move(server));
  }

  grpc::ServerUnaryReactor* Configure(grpc::CallbackServerContext* /*context*/,
                                      const pb::AgentConfigRequest* request,
                                      pb::AgentConfigResponse* response) override {
    // It ends itself, after its one answer.
    auto* const call = new ConfigureCall;
    host_.Configure(request->parameters(),
                    [call, response](absl::StatusOr<PipelineHost::Parameters> report) {
                      const grpc::Status status = ToGrpc(report.status());
                      if (report.ok()) *response->mutable_report() = *std::move(report);
                      call->Finish(status);
                    });
    return call;
  }

  grpc::ServerUnaryReactor* Dump(grpc::CallbackServerContext* /*context*/,
                                 const grpc::ByteBuffer* request,
                                 grpc::ByteBuffer* response) override {
    absl::StatusOr<AgentDump> dump = ParseDump(*request);
    absl::Status wrong = dump.status();
    if (wrong.ok() && pool_.empty()) wrong = absl::AbortedError(kNoServer);
    if (dump.ok()) dump->request.generated_columns = true;
    const auto call = std::make_shared<DumpCall>(pool_, options_.max_dump_bytes,
                                                 std::move(dump).value_or(AgentDump()), *response);
    return Begin(call, wrong);
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamDump(grpc::CallbackServerContext* /*context*/,
                                                         const grpc::ByteBuffer* request) override {
    absl::StatusOr<AgentDump> dump = ParseDump(*request);
    if (dump.ok() && pool_.empty()) dump = absl::AbortedError(kNoServer);
    if (dump.ok()) dump->request.generated_columns = true;
    return Begin(StreamDumpCall::Framing::kRows, std::move(dump), std::chrono::milliseconds(0));
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* DumpPages(grpc::CallbackServerContext* /*context*/,
                                                        const grpc::ByteBuffer* request) override {
    absl::StatusOr<AgentDump> dump = ParseDump(*request);
    // Aborted is about the table here; a server may come, and is worth another try.
    if (dump.ok() && pool_.empty()) dump = absl::UnavailableError(kNoServer);
    if (dump.ok()) dump->request.place_by_snapshot = dump->request.no_table_is_empty = true;
    return Begin(StreamDumpCall::Framing::kPages, std::move(dump), options_.catch_up_time);
  }

  grpc::ServerUnaryReactor* ListTables(grpc::CallbackServerContext* /*context*/,
                                       const pb::ListTablesRequest* /*request*/,
                                       pb::ListTablesResponse* response) override {
    return Begin(std::make_shared<ListTablesCall>(pool_, *response),
                 pool_.empty() ? absl::AbortedError(kNoServer) : absl::OkStatus());
  }

  void AddServer(std::shared_ptr<DumpServer> server) { pool_.Add(std::move(server)); }

  void Shutdown() {
    host_.Shutdown();
    pool_.Shutdown();
  }

 private:
  // The call owns itself from here on.
  static grpc::ServerUnaryReactor* Begin(const std::shared_ptr<UnaryDumpCall>& call,
                                         const absl::Status& wrong) {
    if (wrong.ok()) {
      call->Start();
    } else {
      call->Refuse(wrong);
    }
    return call.get();
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Begin(StreamDumpCall::Framing framing,
                                                    absl::StatusOr<AgentDump> dump,
                                                    std::chrono::milliseconds catch_up_time) {
    const auto call = std::make_shared<StreamDumpCall>(pool_, limits_, framing);
    call->catch_up_time = catch_up_time;
    if (dump.ok()) {
      call->Start(*std::move(dump));
    } else {
      call->Refuse(dump.status());
    }
    return call.get();
  }

  void KeepReplica(const KeptReplica& replica) {
    std::shared_ptr<DumpServer> server = DumpServer::New(
        {.url = replica.url,
         .topic = replica.source_id,
         .publishes_via_root = replica.publishes_via_root || options_.publishes_via_root,
         .connections = options_.dump_connections});
    pool_.Add(server);
    MutexLock lock(mutex_);
    replica_ = std::move(server);
  }
  void LeaveReplica() {
    std::shared_ptr<DumpServer> server;
    {
      MutexLock lock(mutex_);
      server = std::exchange(replica_, nullptr);
    }
    if (server != nullptr) pool_.Remove(server);
  }

  const AgentOptions options_;
  const DumpCallLimits limits_;
  Mutex mutex_;
  std::shared_ptr<DumpServer> replica_ PGC_GUARDED_BY(mutex_);  // of the pipeline
  DumpPool pool_;
  PipelineHost host_;
};

AgentService::AgentService(AgentOptions options, std::vector<std::shared_ptr<DumpServer>> servers)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(servers))) {}

AgentService::~AgentService() { Shutdown(); }

grpc::Service* AgentService::service() { return impl_.get(); }
void AgentService::AddServer(std::shared_ptr<DumpServer> server) {
  impl_->AddServer(std::move(server));
}
void AgentService::Shutdown() { impl_->Shutdown(); }

}  // namespace pgc
