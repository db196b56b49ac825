// What an agent answers: dumps of the servers it knows, and the pipeline that it runs.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "agent/store_provider.h"
#include "dump/dump_server.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace pgc {

struct AgentOptions {
  // Dumps that are read at once from a server: the `connections` of each DumpServer.
  int dump_connections = 4;
  // Calls that wait for a connection; further ones are RESOURCE_EXHAUSTED.
  size_t max_waiting_dumps = 1'000;
  // What a call holds that its peer has not taken yet; a single row may be larger.
  size_t max_bytes_in_flight = size_t{256} << 10;
  // The most that Dump answers, as it is one message.
  size_t max_dump_bytes = size_t{64} << 20;
  // How long DumpPages waits for a server that is behind min_lsn.
  std::chrono::milliseconds catch_up_time{500};
  // A peer that takes nothing for so long loses its dump: the snapshot is held for it all the time.
  std::chrono::milliseconds stall_timeout{600'000};
  // How long Configure waits for a pipeline to start, or to fail.
  std::chrono::milliseconds start_time{2'000};
  // Of the pipelines that Configure starts. Without it Configure is FAILED_PRECONDITION.
  StoreProvider stores = nullptr;
  // Changes of a partition have the name of its root, also in stores that several programs share.
  bool publishes_via_root = false;
};

// The service `Agent` (docs/contract.md, sections 9 and 12). docs/agent.md has its status codes.
//
// Threads: gRPC's for what does not wait; `dump_connections` of its own for each server, which read
// the dumps and wait for the peers to take them; those of the pipeline. Owns servers and pipeline.
// Outlives the gRPC server that serves it. Thread-safe but for destruction.
class AgentService {
 public:
  AgentService(AgentOptions options, std::vector<std::shared_ptr<DumpServer>> servers);
  // As Shutdown.
  ~AgentService();
  AgentService(const AgentService&) = delete;
  AgentService& operator=(const AgentService&) = delete;

  // To be registered with a gRPC server; lives as long as this.
  grpc::Service* service();

  // One more to dump from.
  void AddServer(std::shared_ptr<DumpServer> server);

  // Ends every call with UNAVAILABLE, and every later one, and stops the pipeline. Called before
  // the gRPC server is shut down, so that this need not wait. Once more is harmless.
  void Shutdown();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace pgc
