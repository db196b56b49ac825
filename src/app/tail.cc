#include "app/tail.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "app/grpc_log.h"
#include "base/backoff.h"
#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "client/capture_client.h"
#include "client/message_text.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstRetry{250};
constexpr milliseconds kLastRetry{10'000};

// Nobody reads the output any more: `tail | head` has had what it wanted.
absl::Status OutputClosed() { return absl::OutOfRangeError("the output is closed"); }

class TailRun {
 public:
  explicit TailRun(const TailOptions& options)
      : options_(options), uri_(options.uri.empty() ? options.topic : options.uri) {}

  // Ok at the end that was asked for.
  absl::Status Run(const std::stop_token& stop) {
    Backoff backoff(kFirstRetry, kLastRetry);
    while (true) {
      absl::Status status = Session(stop, backoff);
      if (status.ok() || absl::IsOutOfRange(status) || stop.stop_requested()) {
        return absl::OkStatus();
      }
      if (!absl::IsUnavailable(status) || !attached_) return status;
      if (IsEphemeral()) {
        return absl::UnavailableError(fmt::format(
            "{}; without --uri nothing remembers the place, so what is captured meanwhile would be "
            "missed: start tail again, or name a subscription with --uri {}/NAME",
            std::string(status.message()), uri_));
      }
      const milliseconds delay = backoff.Next();
      log::Warning("the gateway is unavailable and will be tried again",
                   {{"uri", uri_},
                    {"error", std::string(status.message())},
                    {"retry_ms", std::to_string(delay.count())}});
      Pause(delay, stop);
    }
  }

 private:
  bool IsEphemeral() const { return options_.uri.empty(); }

  // Reads until stopped, until the limit, or until an error.
  absl::Status Session(const std::stop_token& stop, Backoff& backoff) {
    CaptureClientOptions options{.gateway = options_.gateway, .uri = uri_, .parameters = {}};
    AddParameters(*options.parameters.mutable_fields());
    PGC_ASSIGN_OR_RETURN(const auto client, CaptureClient::Open(options, stop));
    attached_ = true;
    backoff.Reset();
    log::Info("reading", {{"uri", uri_}, {"gateway", options_.gateway}});
    absl::Status status = Read(*client, stop);
    if (!status.ok() && !absl::IsCancelled(status) && !absl::IsOutOfRange(status)) return status;
    // Brings over the acknowledgements of what has been printed.
    absl::Status closed = client->Close();
    return closed.ok() || IsEphemeral() ? status : closed;
  }

  void AddParameters(google::protobuf::Map<std::string, google::protobuf::Value>& out) const {
    const auto add_text = [&out](const char* name, const std::string& value) {
      if (!value.empty()) out[name].set_string_value(value);
    };
    const auto add_bool = [&out](const char* name, bool value) {
      if (value) out[name].set_bool_value(true);
    };
    add_text("TableRegex", options_.table_regex);
    add_text("SchemaRegex", options_.schema_regex);
    add_text("From", options_.from);
    add_bool("Ephemeral", IsEphemeral());
    add_bool("Extras", options_.extras);
    add_bool("Boundaries", options_.boundaries);
    add_bool("KeyShared", options_.key_shared);
    add_bool("Batched", true);
  }

  absl::Status Read(CaptureClient& client, const std::stop_token& stop) {
    CaptureBatch batch;
    while (options_.limit == 0 || printed_ < options_.limit) {
      PGC_RETURN_IF_ERROR(client.NextBatch(batch, stop));
      size_t count = batch.size();
      if (options_.limit != 0) count = std::min<uint64_t>(count, options_.limit - printed_);
      PGC_RETURN_IF_ERROR(Print(batch, count));
      printed_ += count;
      if (!options_.no_ack) PGC_RETURN_IF_ERROR(client.AckFirst(batch, count));
    }
    return absl::OkStatus();
  }

  // Writes the first `count`, so that they are out when this returns.
  absl::Status Print(const CaptureBatch& batch, size_t count) {
    bool written = true;
    for (size_t i = 0; i < count && written; ++i) {
      std::string line =
          options_.format == TailFormat::kJson ? MessageToJson(batch[i]) : MessageToText(batch[i]);
      line += '\n';
      written = std::fwrite(line.data(), 1, line.size(), options_.output) == line.size();
    }
    written = written && std::fflush(options_.output) == 0;
    if (written) return absl::OkStatus();
    if (errno == EPIPE) return OutputClosed();
    return absl::FailedPreconditionError(
        fmt::format("cannot write the changes: {}", std::strerror(errno)));
  }

  const TailOptions& options_;
  const std::string uri_;
  bool attached_ = false;  // at least once
  uint64_t printed_ = 0;
};

}  // namespace

absl::Status RunTail(const TailOptions& options, std::stop_token stop) {
  SendGrpcLogToOurs();
  return TailRun(options).Run(stop);
}

}  // namespace pgc
