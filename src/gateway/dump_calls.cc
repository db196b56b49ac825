#include "gateway/dump_calls.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <utility>

#include "gateway/dump_feed.h"

namespace pgc {

DumpPull::DumpPull(std::shared_ptr<DumpFeed> feed, const std::shared_ptr<grpc::Channel>& controller,
                   const std::string& uri, uint64_t consumer, std::string hold)
    : feed_(std::move(feed)),
      hold_(std::move(hold)),
      stub_(pb::DBLogController::NewStub(controller)) {
  request_.set_uri(uri);
  request_.set_consumer(consumer);
  request_.set_hold(hold_);
  request_.set_repeats(true);
}

void DumpPull::Start() {
  self_ = shared_from_this();
  stub_->async()->PullDumpInfo(&context_, this);
  {
    MutexLock lock(mutex_);
    StartWrite(&request_);
  }
  StartRead(&info_);
  StartCall();
}

// A read is always under way until the call ends, so that gRPC is not done with it before.
void DumpPull::Answer(pb::DumpInfoRequest request, bool close) {
  MutexLock lock(mutex_);
  if (ended_) return;
  close_ = close;
  Write(std::move(request));
}

void DumpPull::Begin(const pb::DumpBegun& begun) {
  pb::DumpInfoRequest request;
  *request.mutable_begun() = begun;
  MutexLock lock(mutex_);
  if (!ended_) Write(std::move(request));
}

void DumpPull::Write(pb::DumpInfoRequest request) {
  if (writing_) {
    next_.push_back(std::move(request));
    return;
  }
  request_ = std::move(request);
  writing_ = true;
  StartWrite(&request_);
}

void DumpPull::OnReadDone(bool ok) {
  if (!ok) {
    MutexLock lock(mutex_);
    ended_ = true;
    return;
  }
  const pb::DumpInfoResponse info = info_;
  StartRead(&info_);
  if (info.noted() > 0) {
    feed_->Noted(shared_from_this(), info.noted());
  } else {
    feed_->Pulled(shared_from_this(), info);
  }
}

void DumpPull::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  writing_ = false;
  if (!ok || ended_) return;
  if (next_.empty()) {
    // Cancelling could overtake what was written.
    if (close_) StartWritesDone();
    return;
  }
  request_ = std::move(next_.front());
  next_.pop_front();
  writing_ = true;
  StartWrite(&request_);
}

void DumpPull::OnDone(const grpc::Status& status) {
  const std::shared_ptr<DumpPull> self = std::exchange(self_, nullptr);
  feed_->PullEnded(self, status);
}

PagesCall::PagesCall(std::shared_ptr<DumpFeed> feed, const std::shared_ptr<grpc::Channel>& agent,
                     Method method, const pb::AgentDumpRequest& request)
    : feed_(std::move(feed)), agent_(agent), method_(method) {
  bool own_buffer = false;
  (void)grpc::SerializationTraits<pb::AgentDumpRequest>::Serialize(request, &request_, &own_buffer);
}

void PagesCall::Start() {
  self_ = shared_from_this();
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub(agent_);
  stub.PrepareBidiStreamingCall(
      &context_,
      method_ == Method::kDumpPages ? "/pgcapture.Agent/DumpPages" : "/pgcapture.Agent/StreamDump",
      {}, this);
  StartWriteLast(&request_, {});
  StartRead(&part_);
  StartCall();
}

void PagesCall::Cancel() {
  context_.TryCancel();
  MutexLock lock(mutex_);
  cancelled_ = true;
  if (std::exchange(paused_, false)) RemoveHold();
}

void PagesCall::Resume() {
  MutexLock lock(mutex_);
  if (!std::exchange(paused_, false)) return;
  StartRead(&part_);
  RemoveHold();
}

void PagesCall::OnReadDone(bool ok) {
  if (!ok) return;
  grpc::ByteBuffer part;
  part.Swap(&part_);
  {
    // Before the feed is told, which may call Resume at once.
    MutexLock lock(mutex_);
    if (cancelled_) return;
    paused_ = true;
    AddHold();
  }
  if (feed_->Fetched(shared_from_this(), part)) Resume();
}

void PagesCall::OnDone(const grpc::Status& status) {
  const std::shared_ptr<PagesCall> self = std::exchange(self_, nullptr);
  feed_->CallEnded(self, status);
}

}  // namespace pgc
