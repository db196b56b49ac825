#include "client/capture_client.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include "base/mutex.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;

// What is read before it is asked for, so that the network and the caller work side by side.
constexpr size_t kReadAheadBytes = size_t{1} << 20;
constexpr size_t kMaxUnsentRequests = 1'024;
constexpr milliseconds kConnectBackoff{250};
constexpr milliseconds kMaxConnectBackoff{2'000};
// A gateway in Go takes more than one ping in 5 minutes for an attack.
constexpr milliseconds kPingInterval{330'000};
constexpr milliseconds kPingTimeout{20'000};
constexpr milliseconds kCloseTimeout{5'000};
constexpr char kMethod[] = "/pgcapture.DBLogGateway/Capture";

std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(CaptureClient::kMaxMessageBytes));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(kPingInterval.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(kPingTimeout.count()));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   static_cast<int>(kConnectBackoff.count()));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, static_cast<int>(kMaxConnectBackoff.count()));
  // A connection of its own: one that failed must not hold back the next client's attempt.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // gRPC would send even loopback through the proxy that the environment names for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

// The call. gRPC runs the reactions, the client's threads the rest; one mutex guards all of it,
// also over calls of gRPC, which runs no reaction from within them.
//
// A hold keeps the call from being done while it may be written to from outside; it is removed
// when a read has failed, after which nothing is started any more. So there is always a read under
// way, but for a full read-ahead.
//
// Messages are parsed here and not by gRPC, which ends reading without a word when it cannot.
class CaptureClient::Stream final
    : public grpc::ClientBidiReactor<pb::CaptureRequest, grpc::ByteBuffer> {
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
    MutexLock lock(mutex_);
    stub_.PrepareBidiStreamingCall(&context_, kMethod, {}, this);
    AddHold();
    Write(std::move(init));
    Read();
    started_ = true;
    StartCall();
    changed_.Wait(mutex_, stop, [this]() PGC_NO_THREAD_SAFETY_ANALYSIS {
      return attached_ || status_.has_value();
    });
    if (stop.stop_requested()) return absl::CancelledError("stopped while attaching");
    return attached_ ? absl::OkStatus() : *status_;
  }

  absl::StatusOr<pb::CaptureMessage> Next(const std::stop_token& stop) {
    MutexLock lock(mutex_);
    changed_.Wait(mutex_, stop, [this]() PGC_NO_THREAD_SAFETY_ANALYSIS {
      return !received_.empty() || status_.has_value();
    });
    if (stop.stop_requested()) return absl::CancelledError("stopped while waiting for a change");
    if (received_.empty()) return *status_;
    grpc::ByteBuffer bytes;
    bytes.Swap(&received_.front());
    received_.pop_front();
    received_bytes_ -= bytes.Length();
    Read();
    pb::CaptureMessage message;
    if (!grpc::SerializationTraits<pb::CaptureMessage>::Deserialize(&bytes, &message).ok()) {
      return absl::DataLossError(
          fmt::format("gateway {}: it sent what is no CaptureMessage", address_));
    }
    return message;
  }

  absl::Status Send(pb::CaptureRequest request) {
    MutexLock lock(mutex_);
    if (closing_) return absl::FailedPreconditionError("the session has been closed");
    while (unsent_.size() >= kMaxUnsentRequests && !over_) changed_.Wait(mutex_);
    if (over_) {
      while (!status_.has_value()) changed_.Wait(mutex_);
      return *status_;
    }
    Write(std::move(request));
    return absl::OkStatus();
  }

  absl::Status Close() {
    MutexLock lock(mutex_);
    closing_ = true;
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

  void Write(pb::CaptureRequest request) PGC_REQUIRES(mutex_) {
    unsent_.push_back(std::move(request));
    if (unsent_.size() == 1) StartWrite(&unsent_.front());
  }

  void WriteEnd() PGC_REQUIRES(mutex_) {
    if (!over_ && !std::exchange(wrote_end_, true)) StartWritesDone();
  }

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::TemplatedGenericStub<pb::CaptureRequest, grpc::ByteBuffer> stub_;
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
  std::deque<pb::CaptureRequest> unsent_ PGC_GUARDED_BY(mutex_);
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
  return stream_->Next(stop);
}

absl::Status CaptureClient::Ack(const pb::Checkpoint& checkpoint) {
  pb::CaptureRequest request;
  *request.mutable_ack()->mutable_checkpoint() = checkpoint;
  return stream_->Send(std::move(request));
}

absl::Status CaptureClient::Requeue(const pb::Checkpoint& checkpoint, std::string_view reason) {
  // An empty one would acknowledge.
  if (reason.empty()) return absl::InvalidArgumentError("a requeue needs a reason");
  pb::CaptureRequest request;
  *request.mutable_ack()->mutable_checkpoint() = checkpoint;
  request.mutable_ack()->set_requeue_reason(std::string(reason));
  return stream_->Send(std::move(request));
}

absl::Status CaptureClient::Close() { return stream_->Close(); }

}  // namespace pgc
