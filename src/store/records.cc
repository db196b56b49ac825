#include "store/records.h"

#include <fmt/format.h>

#include "base/status_macros.h"
#include "event/wire.h"
#include "store/delivery.h"

namespace pgc {
namespace {

constexpr char kStoreVersion = 1;
constexpr char kFloorVersion = 1;
constexpr char kTopicVersion = 1;
constexpr char kSubscriptionVersion = 1;
constexpr char kCursorVersion = 2;

// Reads varints and texts; once something is wrong, everything is.
class Reader {
 public:
  explicit Reader(std::string_view bytes)
      : in_(reinterpret_cast<const uint8_t*>(bytes.data())), end_(in_ + bytes.size()) {}

  uint64_t Varint() {
    uint64_t value = 0;
    if (in_ != nullptr) in_ = wire::ReadVarint(in_, end_, value);
    return in_ == nullptr ? 0 : value;
  }
  Checkpoint ReadCheckpoint() {
    const uint64_t lsn = Varint();
    const uint64_t seq = Varint();
    if (seq > UINT32_MAX) in_ = nullptr;
    return {.lsn = Lsn{lsn}, .seq = static_cast<uint32_t>(seq)};
  }
  std::string Text() {
    const uint64_t length = Varint();
    if (in_ == nullptr || length > static_cast<uint64_t>(end_ - in_)) {
      in_ = nullptr;
      return {};
    }
    std::string text(reinterpret_cast<const char*>(in_), length);
    in_ += length;
    return text;
  }
  bool failed() const { return in_ == nullptr; }
  bool done() const { return in_ == end_; }

 private:
  const uint8_t* in_;  // nullptr: failed
  const uint8_t* const end_;
};

absl::Status Malformed(std::string_view what) {
  return absl::DataLossError(fmt::format("malformed record: {}", what));
}

absl::Status CheckVersion(std::string_view bytes, char version) {
  if (bytes.empty()) return Malformed("it is empty");
  if (bytes[0] == version) return absl::OkStatus();
  return Malformed(
      fmt::format("version {}, not {}", static_cast<int>(bytes[0]), static_cast<int>(version)));
}

template <typename T>
T ReadBigEndian(std::string_view bytes) {
  T value = 0;
  for (const char byte : bytes.substr(0, sizeof value)) {
    value = static_cast<T>(value << 8 | static_cast<uint8_t>(byte));
  }
  return value;
}

}  // namespace

std::string EncodeStore(const StoreRecord& store) {
  std::string out(1, kStoreVersion);
  wire::AppendVarint(out, store.next_topic_id);
  return out;
}

absl::StatusOr<StoreRecord> ParseStore(std::string_view bytes) {
  PGC_RETURN_IF_ERROR(CheckVersion(bytes, kStoreVersion));
  Reader in(bytes.substr(1));
  const uint64_t next = in.Varint();
  if (in.failed()) return Malformed("it is cut off");
  if (!in.done()) return Malformed("bytes after its end");
  if (next > UINT32_MAX) return Malformed("a number out of range");
  return StoreRecord{.next_topic_id = static_cast<uint32_t>(next)};
}

std::string EncodeFloor(const TopicFloor& floor) {
  std::string out(1, kFloorVersion);
  wire::AppendVarint(out, floor.ordinal);
  wire::AppendVarint(out, floor.before.lsn.value);
  wire::AppendVarint(out, floor.before.seq);
  wire::AppendVarint(out, static_cast<uint64_t>(floor.newest_commit.us));
  wire::AppendVarint(out, floor.log_bytes);
  return out;
}

absl::StatusOr<TopicFloor> ParseFloor(std::string_view bytes) {
  PGC_RETURN_IF_ERROR(CheckVersion(bytes, kFloorVersion));
  Reader in(bytes.substr(1));
  TopicFloor floor;
  floor.ordinal = in.Varint();
  floor.before = in.ReadCheckpoint();
  floor.newest_commit.us = static_cast<int64_t>(in.Varint());
  floor.log_bytes = in.Varint();
  if (in.failed()) return Malformed("it is cut off");
  if (!in.done()) return Malformed("bytes after its end");
  return floor;
}

std::string EncodeTopic(const TopicRecord& topic) {
  std::string out(1, kTopicVersion);
  wire::AppendVarint(out, topic.id);
  wire::AppendVarint(out, topic.head.end);
  wire::AppendVarint(out, topic.head.last.lsn.value);
  wire::AppendVarint(out, topic.head.last.seq);
  wire::AppendVarint(out, topic.head.captured.value);
  wire::AppendVarint(out, topic.head.origin.size());
  out += topic.head.origin;
  return out;
}

absl::StatusOr<TopicRecord> ParseTopic(std::string_view bytes) {
  PGC_RETURN_IF_ERROR(CheckVersion(bytes, kTopicVersion));
  Reader in(bytes.substr(1));
  TopicRecord topic;
  const uint64_t id = in.Varint();
  topic.head.end = in.Varint();
  topic.head.last.lsn.value = in.Varint();
  const uint64_t seq = in.Varint();
  topic.head.captured.value = in.Varint();
  topic.head.origin = in.Text();
  if (in.failed()) return Malformed("it is cut off");
  if (!in.done()) return Malformed("bytes after its end");
  if (id > UINT32_MAX || seq > UINT32_MAX) return Malformed("a number out of range");
  topic.id = static_cast<uint32_t>(id);
  topic.head.last.seq = static_cast<uint32_t>(seq);
  return topic;
}

std::string EncodeSubscription(const SubscriptionRecord& subscription) {
  const AckRanges& acked = subscription.acked;
  std::string out(1, subscription.cursor ? kCursorVersion : kSubscriptionVersion);
  wire::AppendVarint(out, static_cast<uint64_t>(subscription.last_used_us));
  wire::AppendVarint(out, subscription.lost_after.lsn.value);
  wire::AppendVarint(out, subscription.lost_after.seq);
  wire::AppendVarint(out, acked.low());
  if (subscription.cursor) return out;
  wire::AppendVarint(out, acked.above().size());
  uint64_t before = acked.low();
  for (const auto& [begin, end] : acked.above()) {
    wire::AppendVarint(out, begin - before);
    wire::AppendVarint(out, end - begin);
    before = end;
  }
  return out;
}

absl::StatusOr<SubscriptionRecord> ParseSubscription(std::string_view bytes, uint64_t end) {
  SubscriptionRecord subscription;
  subscription.cursor = bytes.starts_with(kCursorVersion);
  if (!subscription.cursor) PGC_RETURN_IF_ERROR(CheckVersion(bytes, kSubscriptionVersion));
  Reader in(bytes.substr(1));
  subscription.last_used_us = static_cast<int64_t>(in.Varint());
  subscription.lost_after = in.ReadCheckpoint();
  AckRanges& acked = subscription.acked;
  acked = AckRanges(in.Varint());
  const uint64_t ranges = subscription.cursor ? 0 : in.Varint();
  if (in.failed()) return Malformed("it is cut off");
  if (acked.low() > end) return Malformed("it is beyond the end of the topic");
  if (ranges > Delivery::kMaxRanges) return Malformed("its number of ranges");
  uint64_t at = acked.low();
  for (uint64_t i = 0; i < ranges; ++i) {
    const uint64_t hole = in.Varint();
    const uint64_t length = in.Varint();
    if (in.failed()) return Malformed("it is cut off");
    if (hole == 0 || length == 0) return Malformed("an empty range or hole");
    if (hole > end - at || length > end - at - hole) {
      return Malformed("it is beyond the end of the topic");
    }
    acked.Add(at + hole, at + hole + length, Delivery::kMaxRanges);
    at += hole + length;
  }
  if (!in.done()) return Malformed("bytes after its end");
  return subscription;
}

uint32_t ReadBigEndian32(std::string_view bytes) { return ReadBigEndian<uint32_t>(bytes); }
uint64_t ReadBigEndian64(std::string_view bytes) { return ReadBigEndian<uint64_t>(bytes); }

}  // namespace pgc
