#include "store/retention.h"

#include <algorithm>

#include "base/log.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

// How exactly the hard limit looks for the time before which everything goes.
constexpr int64_t kPrecisionUs = 1'000;

absl::Status TrimToLimits(Topic& topic, const RetentionLimits& limits, int64_t now_us) {
  uint64_t to = 0;
  if (limits.age_us) {
    PGC_ASSIGN_OR_RETURN(to, topic.FirstStoredSince(now_us - *limits.age_us));
  }
  if (limits.bytes) {
    PGC_ASSIGN_OR_RETURN(const uint64_t fits, topic.FirstWithin(*limits.bytes));
    to = std::max(to, fits);
  }
  return topic.Trim(to, Topic::Needed::kStays);
}

uint64_t BytesOf(const std::vector<std::shared_ptr<Topic>>& topics) {
  uint64_t bytes = 0;
  for (const auto& topic : topics) bytes += topic->head().log_bytes - topic->floor().log_bytes;
  return bytes;
}

absl::StatusOr<uint64_t> BytesSince(const std::vector<std::shared_ptr<Topic>>& topics,
                                    int64_t time_us) {
  uint64_t bytes = 0;
  for (const auto& topic : topics) {
    PGC_ASSIGN_OR_RETURN(const uint64_t first, topic->FirstStoredSince(time_us));
    PGC_ASSIGN_OR_RETURN(const TopicFloor floor, topic->FloorAt(first));
    bytes += topic->head().log_bytes - floor.log_bytes;
  }
  return bytes;
}

// The oldest of all topics go first: what was stored before one point in time.
absl::Status TrimToHardLimit(const std::vector<std::shared_ptr<Topic>>& topics,
                             uint64_t max_bytes) {
  int64_t low = 0;
  int64_t high = 0;
  for (const auto& topic : topics) {
    PGC_ASSIGN_OR_RETURN(const int64_t newest_us, topic->NewestStored());
    high = std::max(high, newest_us + 1);
  }
  while (high - low > kPrecisionUs) {
    const int64_t middle = low + (high - low) / 2;
    PGC_ASSIGN_OR_RETURN(const uint64_t bytes, BytesSince(topics, middle));
    (bytes > max_bytes ? low : high) = middle;
  }
  for (const auto& topic : topics) {
    PGC_ASSIGN_OR_RETURN(const uint64_t first, topic->FirstStoredSince(high));
    PGC_RETURN_IF_ERROR(topic->Trim(first, Topic::Needed::kGoes));
  }
  return absl::OkStatus();
}

void LogError(const absl::Status& status, std::string_view topic) {
  if (status.ok()) return;
  log::Warning("old events cannot be removed",
               {{"topic", std::string(topic)}, {"error", std::string(status.message())}});
}

}  // namespace

void Retain(const std::vector<std::shared_ptr<Topic>>& topics, const RetentionLimits& limits,
            int64_t now_us) {
  if (limits.age_us || limits.bytes) {
    for (const auto& topic : topics) LogError(TrimToLimits(*topic, limits, now_us), topic->name());
  }
  if (BytesOf(topics) <= limits.hard_bytes) return;
  LogError(TrimToHardLimit(topics, limits.hard_bytes), "all");
}

}  // namespace pgc
