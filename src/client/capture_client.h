// The consumer's side of `DBLogGateway.Capture`.
#pragma once

#include <google/protobuf/struct.pb.h>

#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

struct CaptureClientOptions {
  std::string gateway = "127.0.0.1:10001";
  std::string uri;
  google::protobuf::Struct parameters;  // docs/contract.md, sections 7 and 12
};

// One capture session. Destroying it cancels the session: acknowledgements may get lost that Close
// would have brought over.
//
// One thread calls Next and Close; Ack and Requeue may be called by any other.
// Errors are the gateway's, under the same codes, and name its address; Unavailable is worth a
// retry with a new client.
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

  // Hands over the checkpoint of a change that is done with. Waits only while too many of them are
  // on their way. The error of the session when it has ended.
  absl::Status Ack(const pb::Checkpoint& checkpoint);
  // Asks for the change again; `reason` is not empty.
  absl::Status Requeue(const pb::Checkpoint& checkpoint, std::string_view reason);

  // Ends the session; once it returns Ok the gateway has taken every acknowledgement. Changes that
  // were not returned by Next yet go to the next consumer.
  absl::Status Close();

 private:
  class Stream;
  explicit CaptureClient(std::unique_ptr<Stream> stream);

  const std::unique_ptr<Stream> stream_;
};

}  // namespace pgc
