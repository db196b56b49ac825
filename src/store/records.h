// The small records of the embedded store: docs/store-format.md has their layouts.
//
// The Parse functions give DataLoss, naming what is wrong, whatever the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "store/ack_ranges.h"
#include "store/topic.h"

namespace pgc {

struct TopicRecord {
  uint32_t id = 0;
  TopicHead head;
};
std::string EncodeTopic(const TopicRecord& topic);
absl::StatusOr<TopicRecord> ParseTopic(std::string_view bytes);

std::string EncodeAckRanges(const AckRanges& acked);
// `end`: that of the topic, which no range goes beyond.
absl::StatusOr<AckRanges> ParseAckRanges(std::string_view bytes, uint64_t end);

// Integers in keys are big-endian, so that they sort.
void AppendBigEndian32(std::string& out, uint32_t value);
void AppendBigEndian64(std::string& out, uint64_t value);
// The first four or eight bytes of `bytes`, which has them.
uint32_t ReadBigEndian32(std::string_view bytes);
uint64_t ReadBigEndian64(std::string_view bytes);

}  // namespace pgc
