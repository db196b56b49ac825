#include "store/pulsar_tail.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/host_name.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "pulsar/reader.h"
#include "store/pulsar_event.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{30};
constexpr milliseconds kRetry{50};
// What is published in so long a time is read whole.
constexpr uint64_t kNear_ms = 500;
constexpr uint64_t kFirstStep_ms = 1'000;
constexpr uint64_t kStepFactor = 8;

// A reader that has just been moved may not be connected again.
template <typename Call>
auto Patiently(const Call& call) {
  const auto deadline = steady_clock::now() + kPatience;
  while (true) {
    auto result = call();
    const absl::Status status = [&] {
      if constexpr (std::is_same_v<decltype(result), absl::Status>) {
        return result;
      } else {
        return result.status();
      }
    }();
    if (!absl::IsUnavailable(status) || steady_clock::now() > deadline) return result;
    Pause(kRetry, {});
  }
}

absl::StatusOr<bool> HasMore(pulsar::Reader& reader) {
  return Patiently([&reader] { return reader.HasMore(); });
}

absl::StatusOr<bool> HasMoreSince(pulsar::Reader& reader, uint64_t unix_ms) {
  PGC_RETURN_IF_ERROR(Patiently([&] { return reader.Seek({.unix_ms = unix_ms}); }));
  return HasMore(reader);
}

uint64_t NowMs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<milliseconds>(now).count());
}

// Leaves the reader where only a little is behind it, but something.
absl::Status SeekNearEnd(pulsar::Reader& reader) {
  // A clock that is ahead of ours may have been the publisher's.
  uint64_t none = NowMs();
  uint64_t some = none;
  for (uint64_t step = kFirstStep_ms;; step *= kStepFactor) {
    some = step < NowMs() ? NowMs() - step : 0;
    PGC_ASSIGN_OR_RETURN(const bool more, HasMoreSince(reader, some));
    if (more || some == 0) break;
    none = some;
  }
  while (none > some + kNear_ms) {
    const uint64_t middle = some + (none - some) / 2;
    PGC_ASSIGN_OR_RETURN(const bool more, HasMoreSince(reader, middle));
    (more ? some : none) = middle;
  }
  return HasMoreSince(reader, some).status();
}

absl::StatusOr<pulsar::Message> NextOf(pulsar::Reader& reader, const std::string& topic) {
  PGC_ASSIGN_OR_RETURN(auto next, reader.Next(kPatience));
  if (next.has_value()) return *std::move(next);
  return absl::UnavailableError(fmt::format("the end of topic {} cannot be read", topic));
}

}  // namespace

absl::StatusOr<PulsarTail> ReadPulsarTail(std::shared_ptr<pulsar::Client> client,
                                          const std::string& topic, const pulsar::MessageId& last) {
  pulsar::MessageId first = last;
  first.batch_index = std::min(first.batch_index, 0);
  PGC_ASSIGN_OR_RETURN(const auto reader,
                       pulsar::Reader::Open(std::move(client), {.topic = topic,
                                                                .from = pulsar::FromId{.id = first},
                                                                .name = HostName(),
                                                                .queue_messages = 100}));
  std::optional<PulsarTail> tail;
  while (true) {
    PGC_ASSIGN_OR_RETURN(const pulsar::Message next, NextOf(*reader, topic));
    const bool is_last = !pulsar::Precedes(next.id(), last);
    PGC_ASSIGN_OR_RETURN(const auto event, ReadPulsarEvent(topic, next));
    if (event.has_value()) {
      tail = {.checkpoint = event->checkpoint, .kind = event->kind, .id = next.id()};
    } else if (is_last && !tail.has_value()) {
      PGC_ASSIGN_OR_RETURN(const Checkpoint key, ParseKey(next.key()));
      tail = {.checkpoint = key, .kind = EventKind::kBegin, .id = next.id()};
    }
    if (is_last) return *tail;
  }
}

absl::StatusOr<Checkpoint> FindPulsarTail(std::shared_ptr<pulsar::Client> client,
                                          const std::string& topic) {
  PGC_ASSIGN_OR_RETURN(const auto reader,
                       pulsar::Reader::Open(std::move(client), {.topic = topic,
                                                                .from = pulsar::FromEarliest{},
                                                                .name = topic + "-producer",
                                                                .queue_messages = 100}));
  PGC_ASSIGN_OR_RETURN(const bool any, HasMore(*reader));
  if (!any) return Checkpoint{};
  PGC_RETURN_IF_ERROR(SeekNearEnd(*reader));
  std::optional<pulsar::Message> last;
  while (true) {
    PGC_ASSIGN_OR_RETURN(const bool more, HasMore(*reader));
    if (!more) break;
    PGC_ASSIGN_OR_RETURN(last, NextOf(*reader, topic));
  }
  // It had one before the search.
  if (!last.has_value()) {
    return absl::UnavailableError(fmt::format("the end of topic {} was not found", topic));
  }
  const auto checkpoint = ParseKey(last->key());
  if (!checkpoint.ok()) {
    return absl::DataLossError(
        fmt::format("the last message of topic {} has a key that is no checkpoint: {}", topic,
                    last->key().substr(0, 50)));
  }
  return *checkpoint;
}

}  // namespace pgc
