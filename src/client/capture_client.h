// The consumer's side of `DBLogGateway.Capture`.
#pragma once

#include <google/protobuf/arena.h>
#include <google/protobuf/struct.pb.h>

#include <cstddef>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "event/message_views.h"
#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

struct CaptureClientOptions {
  std::string gateway = "127.0.0.1:10001";
  std::string uri;
  google::protobuf::Struct parameters;  // docs/contract.md, sections 7 and 12
};

// Messages that came together. One is used again and again, so that its memory is too: what it
// holds is valid until it is filled again or destroyed. Not thread-safe.
class CaptureBatch {
 public:
  CaptureBatch();
  ~CaptureBatch();
  CaptureBatch(const CaptureBatch&) = delete;
  CaptureBatch& operator=(const CaptureBatch&) = delete;

  size_t size() const {
    return first_ == nullptr ? 0 : 1 + static_cast<size_t>(first_->more_size());
  }
  // All but what is in `more` of the first, which are those after it.
  const pb::CaptureMessage& operator[](size_t at) const {
    return at == 0 ? *first_ : first_->more(static_cast<int>(at - 1));
  }

 private:
  friend class CaptureClient;
  pb::CaptureMessage& Reset();

  const std::unique_ptr<char[]> memory_;
  google::protobuf::Arena arena_;
  pb::CaptureMessage* first_ = nullptr;  // the arena's
};

// The same as views of the bytes that came, which costs a fraction of the time. Not thread-safe.
class CaptureViews {
 public:
  size_t size() const { return views_.size(); }
  const MessageView& operator[](size_t at) const { return views_[at]; }

 private:
  friend class CaptureClient;

  std::shared_ptr<const void> bytes_;
  MessageViews views_;
};

// One capture session. Destroying it cancels the session: acknowledgements may get lost that Close
// would have brought over.
//
// It says that it can receive kMaxMessageBytes, unless its parameters say something else.
//
// One thread calls Next, NextBatch, NextViews and Close; Ack and Requeue may be called by any
// other. Errors are the gateway's, under the same codes, and name its address; Unavailable is worth
// a retry with a new client.
class CaptureClient {
 public:
  // What a message can be at most.
  static constexpr size_t kMaxMessageBytes = size_t{256} << 20;

  // Returns once the gateway has attached the subscription: what is stored from now on will come.
  // (A gateway that sends its headers only with the first change makes it wait for that.)
  // Cancelled when `stop` is requested.
  static absl::StatusOr<std::unique_ptr<CaptureClient>> Open(const CaptureClientOptions& options,
                                                             std::stop_token stop);
  ~CaptureClient();
  CaptureClient(const CaptureClient&) = delete;
  CaptureClient& operator=(const CaptureClient&) = delete;

  // Waits for the next change. Cancelled when `stop` is requested; the session goes on then.
  absl::StatusOr<pb::CaptureMessage> Next(std::stop_token stop);
  // The same for all that came in one message, of which there are many when the parameters have
  // `Batched`: several times faster then. DataLoss, and an empty batch, when it cannot be read.
  absl::Status NextBatch(CaptureBatch& batch, std::stop_token stop);
  absl::Status NextViews(CaptureViews& batch, std::stop_token stop);

  // Hands over the checkpoint of a change that is done with. Waits only while too many of them are
  // on their way. The error of the session when it has ended.
  //
  // Sent at once, but for those that come while one is being sent: they follow together, where the
  // gateway understands that.
  absl::Status Ack(const pb::Checkpoint& checkpoint);
  // Acknowledges the first `count` of the batch.
  absl::Status AckFirst(const CaptureBatch& batch, size_t count);
  absl::Status AckFirst(const CaptureViews& batch, size_t count);
  // Asks for the change again; `reason` is not empty.
  absl::Status Requeue(const pb::Checkpoint& checkpoint, std::string_view reason);

  // Ends the session; once it returns Ok the gateway has taken every acknowledgement. Changes that
  // were not returned by Next yet go to the next consumer.
  absl::Status Close();

 private:
  class Stream;
  explicit CaptureClient(std::unique_ptr<Stream> stream);

  const std::unique_ptr<Stream> stream_;
  google::protobuf::RepeatedPtrField<pb::CaptureMessage> rest_;  // of a batch, for Next
  int rest_at_ = 0;
};

}  // namespace pgc
