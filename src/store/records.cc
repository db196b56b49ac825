#include "store/records.h"

#include "base/status_macros.h"
#include "event/record.h"
#include "event/wire.h"
#include "store/delivery.h"

namespace pgc {
namespace {

constexpr char kStoreVersion = 1;
constexpr char kFloorVersion = 1;
constexpr char kTopicVersion = 1;
constexpr char kSubscriptionVersion = 1;
constexpr char kCursorVersion = 2;

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
  PGC_ASSIGN_OR_RETURN(RecordReader in, RecordReader::Open(bytes, kStoreVersion));
  const StoreRecord store{.next_topic_id = in.Number32()};
  PGC_RETURN_IF_ERROR(in.End());
  return store;
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
  PGC_ASSIGN_OR_RETURN(RecordReader in, RecordReader::Open(bytes, kFloorVersion));
  TopicFloor floor;
  floor.ordinal = in.Number();
  floor.before = in.ReadCheckpoint();
  floor.newest_commit.us = static_cast<int64_t>(in.Number());
  floor.log_bytes = in.Number();
  PGC_RETURN_IF_ERROR(in.End());
  return floor;
}

std::string EncodeTopic(const TopicRecord& topic) {
  std::string out(1, kTopicVersion);
  wire::AppendVarint(out, topic.id);
  wire::AppendVarint(out, topic.head.end);
  wire::AppendVarint(out, topic.head.last.lsn.value);
  wire::AppendVarint(out, topic.head.last.seq);
  wire::AppendVarint(out, topic.head.captured.value);
  AppendText(out, topic.head.origin);
  return out;
}

absl::StatusOr<TopicRecord> ParseTopic(std::string_view bytes) {
  PGC_ASSIGN_OR_RETURN(RecordReader in, RecordReader::Open(bytes, kTopicVersion));
  TopicRecord topic;
  topic.id = in.Number32();
  topic.head.end = in.Number();
  topic.head.last = in.ReadCheckpoint();
  topic.head.captured.value = in.Number();
  topic.head.origin = in.Text();
  PGC_RETURN_IF_ERROR(in.End());
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
  PGC_ASSIGN_OR_RETURN(
      RecordReader in,
      RecordReader::Open(bytes, subscription.cursor ? kCursorVersion : kSubscriptionVersion));
  subscription.last_used_us = static_cast<int64_t>(in.Number());
  subscription.lost_after = in.ReadCheckpoint();
  AckRanges& acked = subscription.acked;
  acked = AckRanges(in.Number());
  const uint64_t ranges = subscription.cursor ? 0 : in.Number();
  if (in.failed()) return in.End();
  if (acked.low() > end) return MalformedRecord("it is beyond the end of the topic");
  if (ranges > Delivery::kMaxRanges) return MalformedRecord("its number of ranges");
  uint64_t at = acked.low();
  for (uint64_t i = 0; i < ranges; ++i) {
    const uint64_t hole = in.Number();
    const uint64_t length = in.Number();
    if (in.failed()) return in.End();
    if (hole == 0 || length == 0) return MalformedRecord("an empty range or hole");
    if (hole > end - at || length > end - at - hole) {
      return MalformedRecord("it is beyond the end of the topic");
    }
    acked.Add(at + hole, at + hole + length, Delivery::kMaxRanges);
    at += hole + length;
  }
  PGC_RETURN_IF_ERROR(in.End());
  return subscription;
}

uint32_t ReadBigEndian32(std::string_view bytes) { return ReadBigEndian<uint32_t>(bytes); }
uint64_t ReadBigEndian64(std::string_view bytes) { return ReadBigEndian<uint64_t>(bytes); }

}  // namespace pgc
