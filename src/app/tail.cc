#include "app/tail.h"

#include <fmt/format.h>
#include <grpc/support/log.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "base/backoff.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "client/capture_client.h"
#include "client/change_json.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstRetry{250};
constexpr milliseconds kLastRetry{10'000};

// gRPC's own lines would be in a format of their own.
void LogFromGrpc(gpr_log_func_args* line) { log::Debug(line->message, {{"from", "gRPC"}}); }

// Nobody reads the output any more: `tail | head` has had what it wanted.
absl::Status OutputClosed() { return absl::OutOfRangeError("the output is closed"); }

class Tail {
 public:
  explicit Tail(const TailOptions& options)
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
      WaitFor(delay, stop);
    }
  }

 private:
  bool IsEphemeral() const { return options_.uri.empty(); }

  static void WaitFor(milliseconds delay, const std::stop_token& stop) {
    Mutex mutex;
    CondVar never;
    MutexLock lock(mutex);
    never.WaitUntil(mutex, stop, std::chrono::steady_clock::now() + delay, [] { return false; });
  }

  // Reads until stopped, until the limit, or until an error.
  absl::Status Session(const std::stop_token& stop, Backoff& backoff) {
    CaptureClientOptions options{.gateway = options_.gateway, .uri = uri_, .parameters = {}};
    auto& parameters = *options.parameters.mutable_fields();
    if (!options_.table_regex.empty()) {
      parameters["TableRegex"].set_string_value(options_.table_regex);
    }
    if (IsEphemeral()) parameters["Ephemeral"].set_bool_value(true);
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

  absl::Status Read(CaptureClient& client, const std::stop_token& stop) {
    while (options_.limit == 0 || printed_ < options_.limit) {
      PGC_ASSIGN_OR_RETURN(const pb::CaptureMessage message, client.Next(stop));
      PGC_RETURN_IF_ERROR(Print(message));
      ++printed_;
      if (!options_.no_ack) PGC_RETURN_IF_ERROR(client.Ack(message.checkpoint()));
    }
    return absl::OkStatus();
  }

  absl::Status Print(const pb::CaptureMessage& message) {
    std::string line =
        options_.format == TailFormat::kJson ? ChangeToJson(message) : ChangeToText(message);
    line += '\n';
    const bool written = std::fwrite(line.data(), 1, line.size(), options_.output) == line.size() &&
                         std::fflush(options_.output) == 0;
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
  gpr_set_log_function(LogFromGrpc);
  return Tail(options).Run(stop);
}

}  // namespace pgc
