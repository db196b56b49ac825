// The two calls that a DumpFeed makes, as gRPC wants them.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "gateway/dump_rows.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {

class DumpFeed;

// A `PullDumpInfo` of the controller: one dump in hand at a time.
//
// Thread-safe. Keeps itself and the feed until the call has ended, which the feed is told.
class DumpPull final : public grpc::ClientBidiReactor<pb::DumpInfoRequest, pb::DumpInfoResponse>,
                       public std::enable_shared_from_this<DumpPull> {
 public:
  // One of those of `consumer`. With a reason in `hold` it is given none.
  DumpPull(std::shared_ptr<DumpFeed> feed, const std::shared_ptr<grpc::Channel>& controller,
           const std::string& uri, uint64_t consumer, std::string hold);

  void Start();
  void Cancel() { context_.TryCancel(); }
  // For the dump in hand. With `close` it is the last.
  void Answer(pb::DumpInfoRequest request, bool close);
  // Rows of the dump in hand are about to be sent. The feed is told when the controller is sure to
  // know it.
  void Begin(const pb::DumpBegun& begun);
  const std::string& hold() const { return hold_; }

  // Whether it has a dump; the feed's to use, under its lock.
  bool has_dump = false;
  bool is_leaving = false;  // its end is no failure
  uint32_t begins = 0;      // calls of Begin

 private:
  void Write(pb::DumpInfoRequest request) PGC_REQUIRES(mutex_);
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const std::shared_ptr<DumpFeed> feed_;
  const std::string hold_;
  const std::unique_ptr<pb::DBLogController::Stub> stub_;
  grpc::ClientContext context_;
  std::shared_ptr<DumpPull> self_;  // until OnDone
  pb::DumpInfoResponse info_;
  Mutex mutex_;
  pb::DumpInfoRequest request_ PGC_GUARDED_BY(mutex_);  // gRPC's while writing_
  std::deque<pb::DumpInfoRequest> next_ PGC_GUARDED_BY(mutex_);
  bool writing_ PGC_GUARDED_BY(mutex_) = true;
  bool close_ PGC_GUARDED_BY(mutex_) = false;
  bool ended_ PGC_GUARDED_BY(mutex_) = false;
};

// A `DumpPages` of an agent, or a `StreamDump` of one that does not have it. As DumpPull.
class PagesCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                        public std::enable_shared_from_this<PagesCall> {
 public:
  enum class Method : uint8_t { kDumpPages, kStreamDump };

  PagesCall(std::shared_ptr<DumpFeed> feed, const std::shared_ptr<grpc::Channel>& agent,
            Method method, const pb::AgentDumpRequest& request);

  void Start();
  void Cancel();
  // Goes on after the feed had no room.
  void Resume();
  Method method() const { return method_; }

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const std::shared_ptr<DumpFeed> feed_;
  const std::shared_ptr<grpc::Channel> agent_;
  const Method method_;
  grpc::ClientContext context_;
  std::shared_ptr<PagesCall> self_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer part_;
  Mutex mutex_;
  bool paused_ PGC_GUARDED_BY(mutex_) = false;
  bool cancelled_ PGC_GUARDED_BY(mutex_) = false;
};

}  // namespace pgc
