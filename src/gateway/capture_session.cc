#include "gateway/capture_session.h"

#include <fmt/format.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/server_context.h>

#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "gateway/splice.h"

namespace pgc {
namespace {

// Blocks without a change that the consumer wants, after which others get their turn.
constexpr int kSlicesPerTurn = 16;
// A status travels in HTTP headers, of which a peer takes 8 KiB.
constexpr size_t kMaxMessageBytes = 2'048;

// The codes of both are the same numbers.
grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message().substr(0, kMaxMessageBytes))};
}

// An error that the consumer did not cause is the operator's to see.
log::Level LevelOf(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::DATA_LOSS:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
      return log::Level::kError;
    default:
      return log::Level::kInfo;
  }
}

absl::Status WentAway() { return absl::CancelledError("the consumer went away"); }
absl::Status NoInit() { return absl::InvalidArgumentError("the first request must be init"); }

// Uris come from outside: what is longer than any that was resolved says nothing to people.
std::string ForLog(const std::string& uri) { return uri.substr(0, 512); }

}  // namespace

CaptureSession::CaptureSession(Resolver& resolver, WakeQueue& wakes, SessionSet& sessions,
                               grpc::CallbackServerContext& context)
    : resolver_(resolver),
      wakes_(wakes),
      sessions_(sessions),
      context_(context),
      peer_(context.peer()) {}

void CaptureSession::Start() {
  MutexLock lock(mutex_);
  if (!ended_.has_value()) StartRead(&request_);
}

void CaptureSession::End(const absl::Status& status) {
  MutexLock lock(mutex_);
  EndLocked(status);
}

void CaptureSession::Wake() {
  MutexLock lock(mutex_);
  wake_is_due_ = false;
  Pump();
}

void CaptureSession::OnReadDone(bool ok) {
  MutexLock lock(mutex_);
  if (ended_.has_value()) return;
  if (!ok) {
    EndLocked(context_.IsCancelled() ? WentAway()
              : consumer_ != nullptr ? absl::OkStatus()  // it closed its side
                                     : NoInit());
    return;
  }
  const absl::Status taken = TakeRequest();
  if (!taken.ok()) EndLocked(taken);
  if (!ended_.has_value()) StartRead(&request_);
}

void CaptureSession::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  writing_ = false;
  reply_.Clear();
  if (ended_.has_value()) {
    Finish(*ended_);
    return;
  }
  if (!ok) {
    EndLocked(WentAway());
    return;
  }
  ++delivered_;
  Pump();
}

void CaptureSession::OnCancel() { End(WentAway()); }

void CaptureSession::OnDone() {
  {
    MutexLock lock(mutex_);
    log::Write(LevelOf(*ended_), "capture session ended",
               {{"uri", ForLog(init_.uri)},
                {"peer", peer_},
                {"delivered", std::to_string(delivered_)},
                {"error", ended_->error_message()}});
  }
  sessions_.Remove(this);
}

absl::Status CaptureSession::TakeRequest() {
  pb::CaptureRequest request;
  grpc::ByteBuffer bytes;
  bytes.Swap(&request_);
  if (!grpc::SerializationTraits<pb::CaptureRequest>::Deserialize(&bytes, &request).ok()) {
    return absl::InvalidArgumentError("a request is no CaptureRequest");
  }
  if (consumer_ == nullptr) {
    if (!request.has_init()) return NoInit();
    return Attach(request.init());
  }
  // A later init is ignored by contract; so is what a newer consumer may send.
  return request.has_ack() ? TakeAck(request.ack()) : absl::OkStatus();
}

absl::Status CaptureSession::Attach(const pb::CaptureInit& init) {
  PGC_ASSIGN_OR_RETURN(init_, ReadCaptureInit(init));
  PGC_ASSIGN_OR_RETURN(consumer_,
                       resolver_.OpenConsumer(init_.uri, {.ephemeral = init_.ephemeral}));
  log::Info("capture session started",
            {{"uri", ForLog(init_.uri)}, {"peer", peer_}, {"after", ToKey(consumer_->start())}});
  // Tells the consumer that it is attached, before there is anything to send.
  StartSendInitialMetadata();
  Pump();
  return absl::OkStatus();
}

absl::Status CaptureSession::TakeAck(const pb::CaptureAck& ack) {
  if (!ack.has_checkpoint()) return absl::InvalidArgumentError("an ack without a checkpoint");
  if (ack.checkpoint().lsn() == 0) {
    return absl::InvalidArgumentError("an ack of lsn 0, which no change of this gateway has");
  }
  const std::string& data = ack.checkpoint().data();
  return ack.requeue_reason().empty() ? consumer_->Ack(data) : consumer_->Requeue(data);
}

void CaptureSession::Pump() {
  int slices = 0;
  while (consumer_ != nullptr && !writing_ && !wake_is_due_) {
    if (!position_.has_value()) {
      if (++slices > kSlicesPerTurn) {
        wake_is_due_ = true;
        wakes_.Push(weak_from_this());
        return;
      }
      auto slice = consumer_->TryNext();
      if (!slice.ok()) {
        EndLocked(slice.status());
        return;
      }
      if (!slice->has_value()) {
        wake_is_due_ = true;
        consumer_->NotifyWhenReady(
            [&wakes = wakes_, session = weak_from_this()] { wakes.Push(session); });
        return;
      }
      MoveTo(*std::move(*slice));
    }
    const absl::StatusOr<bool> wrote = WriteNext();
    if (!wrote.ok()) {
      EndLocked(wrote.status());
      return;
    }
    if (!*wrote) position_.reset();
  }
}

void CaptureSession::MoveTo(EventSlice slice) {
  Block::Cursor cursor(*slice.block);
  cursor.SkipTo(slice.begin);
  std::vector<bool> wanted;
  wanted.reserve(slice.block->tables().size());
  for (const TableName& table : slice.block->tables()) {
    wanted.push_back(init_.tables.Matches(table.name));
  }
  position_.emplace(
      Position{.slice = std::move(slice), .cursor = cursor, .wanted = std::move(wanted)});
}

// Starts to write the next change that the consumer wants, and acknowledges what lies before it.
// False when the slice has no more.
absl::StatusOr<bool> CaptureSession::WriteNext() {
  Position& position = *position_;
  const EventSlice& slice = position.slice;
  const uint32_t begin = position.cursor.index() + 1;
  uint32_t at = begin;
  while (at < slice.end && position.cursor.Next()) {
    const Event& event = position.cursor.event();
    if (event.kind == EventKind::kChange && position.Wants(event.table)) break;
    ++at;
  }
  if (at > begin) consumer_->AckRange(slice, begin, at);
  if (at == slice.end) return false;

  const Event& event = position.cursor.event();
  if (event.table == Event::kNoTable || !IsChangeMessage(event)) {
    return absl::DataLossError(
        fmt::format("the stored event {} is no change, but is indexed as one: restore the store",
                    ToKey(event.checkpoint)));
  }
  data_.clear();
  consumer_->AppendData(slice, at, data_);
  reply_ = SpliceCaptureMessage(slice.block, event, data_);
  writing_ = true;
  StartWrite(&reply_);
  return true;
}

void CaptureSession::EndLocked(const absl::Status& status) {
  if (ended_.has_value()) return;
  ended_ = ToGrpc(status);
  position_.reset();
  consumer_.reset();
  // Finish is to come after the last write; OnWriteDone calls it then.
  if (!writing_) Finish(*ended_);
}

}  // namespace pgc
