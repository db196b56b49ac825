// The small records of the embedded store: docs/store-format.md has their layouts.
//
// The Parse functions give DataLoss, naming what is wrong, whatever the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "store/topic.h"

namespace pgc {

struct StoreRecord {
  uint32_t next_topic_id = 0;

  bool operator==(const StoreRecord&) const = default;
};
std::string EncodeStore(const StoreRecord& store);
absl::StatusOr<StoreRecord> ParseStore(std::string_view bytes);

std::string EncodeFloor(const TopicFloor& floor);
absl::StatusOr<TopicFloor> ParseFloor(std::string_view bytes);

struct TopicRecord {
  uint32_t id = 0;
  TopicHead head;
};
std::string EncodeTopic(const TopicRecord& topic);
absl::StatusOr<TopicRecord> ParseTopic(std::string_view bytes);

std::string EncodeSubscription(const SubscriptionRecord& subscription);
// `end`: that of the topic, which no acknowledged range goes beyond.
absl::StatusOr<SubscriptionRecord> ParseSubscription(std::string_view bytes, uint64_t end);

// Integers in keys are big-endian, so that they sort. The first four or eight bytes of `bytes`,
// which has them.
uint32_t ReadBigEndian32(std::string_view bytes);
uint64_t ReadBigEndian64(std::string_view bytes);

}  // namespace pgc
