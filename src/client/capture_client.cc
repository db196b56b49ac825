#include "client/capture_client.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "base/status_macros.h"
#include "event/wire.h"
#include "rpc/keepalive.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;

// What is read before it is asked for, so that the network and the caller work side by side.
constexpr size_t kReadAheadBytes = size_t{1} << 20;
// What waits to be sent; an acknowledgement is some 25 bytes.
constexpr size_t kMaxUnsentBytes = size_t{256} << 10;
constexpr size_t kMaxAcksPerRequest = 1'000;
constexpr milliseconds kConnectBackoff{250};
constexpr milliseconds kMaxConnectBackoff{2'000};
constexpr milliseconds kCloseTimeout{5'000};
// For the objects of a batch, so that most batches need no more.
constexpr size_t kBatchMemoryBytes = size_t{512} << 10;
constexpr char kMaxMessageBytesParameter[] = "MaxMessageBytes";
constexpr char kMethod[] = "/pgcapture.DBLogGateway/Capture";

std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(CaptureClient::kMaxMessageBytes));
  KeepAlive(arguments);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   static_cast<int>(kConnectBackoff.count()));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, static_cast<int>(kMaxConnectBackoff.count()));
  // A connection of its own: one that failed must not hold back the next client's attempt.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // gRPC would send even loopback through the proxy that the environment names for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

// A CaptureRequest with a CaptureAck of several checkpoints, written without either.
class AckRequest {
 public:
  void Add(const pb::Checkpoint& checkpoint) {
    Begin(checkpoint.ByteSizeLong());
    checkpoint.AppendToString(&ack_);
  }
  // Of its bytes.
  void Add(std::string_view checkpoint) {
    Begin(checkpoint.size());
    ack_ += checkpoint;
  }
  size_t size() const { return size_; }
  size_t bytes() const { return ack_.size(); }
  std::string Take() {
    std::string request(1, static_cast<char>(wire::Tag(2, wire::Type::kBytes)));
    wire::AppendVarint(request, ack_.size());
    request += ack_;
    ack_.clear();
    size_ = 0;
    return request;
  }

 private:
  void Begin(size_t bytes) {
    wire::AppendVarint(ack_, wire::LongTag(size_++ == 0 ? 1 : 20, wire::Type::kBytes));
    wire::AppendVarint(ack_, bytes);
  }

  std::string ack_;
  size_t size_ = 0;
};

// What an acknowledgement of it is made of.
const pb::Checkpoint& CheckpointOf(const pb::CaptureMessage& message) {
  return message.checkpoint();
}
std::string_view CheckpointOf(const MessageView& message) { return message.checkpoint; }

google::protobuf::ArenaOptions WithFirstBlock(char* memory) {
  google::protobuf::ArenaOptions options;
  options.initial_block = memory;
  options.initial_block_size = kBatchMemoryBytes;
  options.max_block_size = kBatchMemoryBytes;
  return options;
}

}  // namespace

CaptureBatch::CaptureBatch()
    : memory_(std::make_unique<char[]>(kBatchMemoryBytes)), arena_(WithFirstBlock(memory_.get())) {}
CaptureBatch::~CaptureBatch() = default;

pb::CaptureMessage& CaptureBatch::Reset() {
  first_ = nullptr;
  arena_.Reset();
  return *google::protobuf::Arena::CreateMessage<pb::CaptureMessage>(&arena_);
}

// The call. gRPC runs the reactions, the client's threads the rest; one mutex guards all of it,
// also over calls of gRPC, which runs no reaction from within them.
//
// A hold keeps the call from being done while it may be written to from outside; it is removed
// when a read has failed, after which nothing is started any more. So there is always a read under
// way, but for a full read-ahead.
//
// Messages are parsed here and not by gRPC, which ends reading without a word when it cannot.
class CaptureClient::Stream final
    : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit Stream(const CaptureClientOptions& options)
      : address_(options.gateway), channel_(NewChannel(options.gateway)), stub_(channel_) {}

  ~Stream() override {
    MutexLock lock(mutex_);
    if (!started_) return;
    context_.TryCancel();
    closing_ = true;
    Read();
    while (!status_.has_value()) changed_.Wait(mutex_);
  }

  absl::Status Start(const CaptureClientOptions& options, const std::stop_token& stop) {
    pb::CaptureRequest init;
    init.mutable_init()->set_uri(options.uri);
    *init.mutable_init()->mutable_parameters() = options.parameters;
    auto& parameters = *init.mutable_init()->mutable_parameters()->mutable_fields();
    if (!parameters.contains(kMaxMessageBytesParameter)) {
      parameters[kMaxMessageBytesParameter].set_number_value(double{kMaxMessageBytes});
    }
    MutexLock lock(mutex_);
    stub_.PrepareBidiStreamingCall(&context_, kMethod, {}, this);
    AddHold();
    Write(init.SerializeAsString());
    Read();
    started_ = true;
    StartCall();
    changed_.Wait(mutex_, stop, [this]() PGC_NO_THREAD_SAFETY_ANALYSIS {
      return attached_ || status_.has_value();
    });
    if (stop.stop_requested()) return absl::CancelledError("stopped while attaching");
    return attached_ ? absl::OkStatus() : *status_;
  }

  // The bytes of the next message, parsed into `message`.
  absl::Status Next(pb::CaptureMessage& message, const std::stop_token& stop) {
    grpc::ByteBuffer bytes;
    PGC_RETURN_IF_ERROR(Receive(bytes, stop));
    grpc::ProtoBufferReader reader(&bytes);
    if (!reader.status().ok() || !message.ParseFromZeroCopyStream(&reader)) return NoMessage();
    if (message.more_size() > 0) SawMany();
    return absl::OkStatus();
  }

  // The same as views of `slice`.
  absl::Status Next(grpc::Slice& slice, MessageViews& views, const std::stop_token& stop) {
    grpc::ByteBuffer bytes;
    PGC_RETURN_IF_ERROR(Receive(bytes, stop));
    if (!bytes.DumpToSingleSlice(&slice).ok()) return NoMessage();
    if (!views.Parse({slice.begin(), slice.size()}).ok()) return NoMessage();
    if (views.size() > 1) SawMany();
    return absl::OkStatus();
  }

  absl::Status SendAck(const pb::Checkpoint& checkpoint) {
    MutexLock lock(mutex_);
    PGC_RETURN_IF_ERROR(WaitForRoom());
    AddAck(checkpoint);
    return absl::OkStatus();
  }

  template <typename Batch>
  absl::Status SendAcks(const Batch& batch, size_t count) {
    MutexLock lock(mutex_);
    for (size_t i = 0; i < count; ++i) {
      if (i % kMaxAcksPerRequest == 0) PGC_RETURN_IF_ERROR(WaitForRoom());
      AddAck(CheckpointOf(batch[i]), i + 1 == count);
    }
    return absl::OkStatus();
  }

  absl::Status Send(const pb::CaptureRequest& request) {
    MutexLock lock(mutex_);
    PGC_RETURN_IF_ERROR(WaitForRoom());
    SendOpenAcks();
    Write(request.SerializeAsString());
    return absl::OkStatus();
  }

  absl::Status Close() {
    MutexLock lock(mutex_);
    closing_ = true;
    SendOpenAcks();
    if (unsent_.empty()) WriteEnd();
    Read();
    const auto deadline = std::chrono::steady_clock::now() + kCloseTimeout;
    while (!status_.has_value()) {
      if (changed_.WaitUntil(mutex_, deadline)) continue;
      context_.TryCancel();
      while (!status_.has_value()) changed_.Wait(mutex_);
      return absl::UnavailableError(fmt::format(
          "gateway {}: it did not end the session within {} ms", address_, kCloseTimeout.count()));
    }
    return ended_well_ ? absl::OkStatus() : *status_;
  }

  void OnReadInitialMetadataDone(bool ok) override {
    MutexLock lock(mutex_);
    attached_ = ok;
    changed_.NotifyAll();
  }

  void OnReadDone(bool ok) override {
    MutexLock lock(mutex_);
    reading_ = false;
    if (!ok) {
      over_ = true;
      changed_.NotifyAll();
      RemoveHold();
      return;
    }
    if (!closing_) {
      received_bytes_ += incoming_.Length();
      received_.emplace_back();
      received_.back().Swap(&incoming_);
      changed_.NotifyAll();
    }
    Read();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(mutex_);
    unsent_bytes_ -= unsent_.front().Length();
    unsent_.pop_front();
    changed_.NotifyAll();
    if (!ok) {
      // Only the end of what there is to read brings the reason.
      broken_ = true;
      Read();
    } else if (over_) {
      return;
    } else if (!unsent_.empty()) {
      StartWrite(&unsent_.front());
    } else if (acks_.size() > 0) {
      SendOpenAcks();
    } else if (closing_) {
      WriteEnd();
    }
  }

  void OnDone(const grpc::Status& status) override {
    MutexLock lock(mutex_);
    ended_well_ = status.ok();
    // The codes of both are the same numbers.
    status_ =
        status.ok()
            ? absl::UnavailableError(fmt::format("gateway {}: it ended the session", address_))
            : absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                           fmt::format("gateway {}: {}", address_, status.error_message()));
    changed_.NotifyAll();
  }

 private:
  // Goes on reading, unless enough has been read ahead.
  void Read() PGC_REQUIRES(mutex_) {
    const bool wanted = closing_ || broken_ || received_bytes_ < kReadAheadBytes;
    if (reading_ || over_ || !wanted) return;
    reading_ = true;
    StartRead(&incoming_);
  }

  absl::Status Receive(grpc::ByteBuffer& bytes, const std::stop_token& stop) {
    MutexLock lock(mutex_);
    changed_.Wait(mutex_, stop, [this]() PGC_NO_THREAD_SAFETY_ANALYSIS {
      return !received_.empty() || status_.has_value();
    });
    if (stop.stop_requested()) return absl::CancelledError("stopped while waiting for a change");
    if (received_.empty()) return *status_;
    bytes.Swap(&received_.front());
    received_.pop_front();
    received_bytes_ -= bytes.Length();
    Read();
    return absl::OkStatus();
  }

  absl::Status NoMessage() const {
    return absl::DataLossError(
        fmt::format("gateway {}: it sent what is no CaptureMessage", address_));
  }

  void SawMany() {
    MutexLock lock(mutex_);
    takes_many_acks_ = true;
  }

  // Ok when there may be something to write.
  absl::Status WaitForRoom() PGC_REQUIRES(mutex_) {
    if (closing_) return absl::FailedPreconditionError("the session has been closed");
    while (unsent_bytes_ + acks_.bytes() >= kMaxUnsentBytes && !over_) changed_.Wait(mutex_);
    if (!over_) return absl::OkStatus();
    while (!status_.has_value()) changed_.Wait(mutex_);
    return *status_;
  }

  // Those that come while a request is on its way gather for the next.
  template <typename Checkpoint>
  void AddAck(const Checkpoint& checkpoint, bool last = true) PGC_REQUIRES(mutex_) {
    acks_.Add(checkpoint);
    const bool full = !takes_many_acks_ || acks_.size() == kMaxAcksPerRequest;
    if (full || (last && unsent_.empty())) SendOpenAcks();
  }

  void SendOpenAcks() PGC_REQUIRES(mutex_) {
    if (acks_.size() > 0 && !over_) Write(acks_.Take());
  }

  void Write(const std::string& request) PGC_REQUIRES(mutex_) {
    unsent_.push_back(ToBuffer(request));
    unsent_bytes_ += request.size();
    if (unsent_.size() == 1) StartWrite(&unsent_.front());
  }

  void WriteEnd() PGC_REQUIRES(mutex_) {
    if (!over_ && !std::exchange(wrote_end_, true)) StartWritesDone();
  }

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  grpc::ClientContext context_;

  Mutex mutex_;
  CondVar changed_;
  bool started_ PGC_GUARDED_BY(mutex_) = false;
  bool attached_ PGC_GUARDED_BY(mutex_) = false;
  bool reading_ PGC_GUARDED_BY(mutex_) = false;
  bool closing_ PGC_GUARDED_BY(mutex_) = false;    // what comes now is for the next consumer
  bool broken_ PGC_GUARDED_BY(mutex_) = false;     // a write failed
  bool wrote_end_ PGC_GUARDED_BY(mutex_) = false;  // our half of the call is closed
  bool over_ PGC_GUARDED_BY(mutex_) = false;       // there is nothing more to read; OnDone follows
  bool ended_well_ PGC_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> status_ PGC_GUARDED_BY(mutex_);  // once done: never Ok
  grpc::ByteBuffer incoming_ PGC_GUARDED_BY(mutex_);           // gRPC's while reading_
  std::deque<grpc::ByteBuffer> received_ PGC_GUARDED_BY(mutex_);
  size_t received_bytes_ PGC_GUARDED_BY(mutex_) = 0;
  // The first is being written: gRPC's until OnWriteDone.
  std::deque<grpc::ByteBuffer> unsent_ PGC_GUARDED_BY(mutex_);
  size_t unsent_bytes_ PGC_GUARDED_BY(mutex_) = 0;
  AckRequest acks_ PGC_GUARDED_BY(mutex_);  // to follow what is unsent
  // The gateway has sent many changes in a message, so it takes many acks in one. Another one would
  // pass over all but the first.
  bool takes_many_acks_ PGC_GUARDED_BY(mutex_) = false;
};

CaptureClient::CaptureClient(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {}
CaptureClient::~CaptureClient() = default;

absl::StatusOr<std::unique_ptr<CaptureClient>> CaptureClient::Open(
    const CaptureClientOptions& options, std::stop_token stop) {
  auto stream = std::make_unique<Stream>(options);
  const absl::Status started = stream->Start(options, stop);
  if (!started.ok()) return started;
  return std::unique_ptr<CaptureClient>(new CaptureClient(std::move(stream)));
}

absl::StatusOr<pb::CaptureMessage> CaptureClient::Next(std::stop_token stop) {
  if (rest_at_ < rest_.size()) {
    if (stop.stop_requested()) return absl::CancelledError("stopped while waiting for a change");
    return std::move(*rest_.Mutable(rest_at_++));
  }
  pb::CaptureMessage message;
  PGC_RETURN_IF_ERROR(stream_->Next(message, stop));
  rest_.Clear();
  rest_.Swap(message.mutable_more());
  rest_at_ = 0;
  return message;
}

absl::Status CaptureClient::NextBatch(CaptureBatch& batch, std::stop_token stop) {
  pb::CaptureMessage& first = batch.Reset();
  if (rest_at_ < rest_.size()) {
    first = rest_.Get(rest_at_++);
    while (rest_at_ < rest_.size()) *first.add_more() = rest_.Get(rest_at_++);
  } else {
    PGC_RETURN_IF_ERROR(stream_->Next(first, stop));
  }
  batch.first_ = &first;
  return absl::OkStatus();
}

absl::Status CaptureClient::NextViews(CaptureViews& batch, std::stop_token stop) {
  batch.views_.Clear();
  batch.bytes_ = nullptr;
  if (rest_at_ < rest_.size()) {
    CaptureBatch rest;
    PGC_RETURN_IF_ERROR(NextBatch(rest, stop));
    const auto bytes = std::make_shared<std::string>(rest[0].SerializeAsString());
    batch.bytes_ = bytes;
    return batch.views_.Parse({reinterpret_cast<const uint8_t*>(bytes->data()), bytes->size()});
  }
  const auto slice = std::make_shared<grpc::Slice>();
  batch.bytes_ = slice;
  return stream_->Next(*slice, batch.views_, stop);
}

absl::Status CaptureClient::Ack(const pb::Checkpoint& checkpoint) {
  return stream_->SendAck(checkpoint);
}

absl::Status CaptureClient::AckFirst(const CaptureBatch& batch, size_t count) {
  return stream_->SendAcks(batch, count);
}

absl::Status CaptureClient::AckFirst(const CaptureViews& batch, size_t count) {
  return stream_->SendAcks(batch, count);
}

absl::Status CaptureClient::Requeue(const pb::Checkpoint& checkpoint, std::string_view reason) {
  // An empty one would acknowledge.
  if (reason.empty()) return absl::InvalidArgumentError("a requeue needs a reason");
  pb::CaptureRequest request;
  *request.mutable_ack()->mutable_checkpoint() = checkpoint;
  request.mutable_ack()->set_requeue_reason(std::string(reason));
  return stream_->Send(request);
}

absl::Status CaptureClient::Close() { return stream_->Close(); }

}  // namespace pgc
