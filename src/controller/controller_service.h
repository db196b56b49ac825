#pragma once

#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

struct ControllerOptions {
  // Of the schedule; made if missing. Empty: it is kept in memory, and lost with the process.
  std::filesystem::path data_dir;
  // How a table is cut into dumps when its request does not say.
  uint32_t pages_per_dump = 128;
  // Of one dump, until its table is set aside as failed.
  uint32_t max_tries = 10;
  // What a uri without a slash stands for: `topic` is `topic/NAME`. Empty: uris are taken as they
  // are written, as Go peers expect.
  std::string default_name;
};

// `DBLogController`: which dumps are to be made, and by whom (docs/contract.md, sections 8 and 12;
// docs/dumps.md for users).
//
// Thread-safe. Calls are answered on gRPC's threads; of these only the ones that change a schedule
// wait, for the disk. One thread writes progress to it, one keeps the cool-downs' time. Made before
// the server that serves it and destroyed after it. What was acknowledged is durable within 100 ms:
// after a crash a dump may be made again, none is left out. When the disk fails, calls end with the
// reason instead of going on without it.
class ControllerService final : public pb::DBLogController::CallbackService {
 public:
  static constexpr size_t kMaxStreams = 10'000;
  static constexpr size_t kMaxUris = 10'000;

  // FailedPrecondition: the folder is in use, not writable or not of a schedule. DataLoss: it is
  // damaged.
  static absl::StatusOr<std::unique_ptr<ControllerService>> Open(const ControllerOptions& options);
  // As Shutdown.
  ~ControllerService() override;

  // Ends every PullDumpInfo with UNAVAILABLE, also later ones, and returns when they have ended.
  // To be called before the listener's Shutdown, which else waits for them.
  void Shutdown();

  grpc::ServerBidiReactor<pb::DumpInfoRequest, pb::DumpInfoResponse>* PullDumpInfo(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Schedule(grpc::CallbackServerContext* context,
                                     const pb::ScheduleRequest* request,
                                     pb::ScheduleResponse* response) override;
  grpc::ServerUnaryReactor* StopSchedule(grpc::CallbackServerContext* context,
                                         const pb::StopScheduleRequest* request,
                                         pb::StopScheduleResponse* response) override;
  grpc::ServerUnaryReactor* SetScheduleCoolDown(grpc::CallbackServerContext* context,
                                                const pb::SetScheduleCoolDownRequest* request,
                                                pb::SetScheduleCoolDownResponse* response) override;
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const pb::ControllerStatusRequest* request,
                                   pb::ControllerStatusResponse* response) override;
  grpc::ServerUnaryReactor* Pause(grpc::CallbackServerContext* context,
                                  const pb::PauseRequest* request,
                                  pb::PauseResponse* response) override;
  grpc::ServerUnaryReactor* Resume(grpc::CallbackServerContext* context,
                                   const pb::ResumeRequest* request,
                                   pb::ResumeResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const pb::ListSchedulesRequest* request,
                                 pb::ListSchedulesResponse* response) override;

 private:
  class Impl;
  explicit ControllerService(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace pgc
