#include "store/commit_time.h"

#include <algorithm>
#include <cstddef>

#include "event/wire.h"

namespace pgc {
namespace {

constexpr uint32_t kBeginField = 1;       // of Message
constexpr uint64_t kCommitTimeField = 2;  // of Begin

// The end of a field's value at `in`, or nullptr when it is cut off or of a type that is not ours.
const uint8_t* SkipValue(const uint8_t* in, const uint8_t* end, uint64_t type) {
  uint64_t value = 0;
  switch (static_cast<wire::Type>(type)) {
    case wire::Type::kVarint:
      return wire::ReadVarint(in, end, value);
    case wire::Type::kFixed64:
      return end - in < 8 ? nullptr : in + 8;
    case wire::Type::kFixed32:
      return end - in < 4 ? nullptr : in + 4;
    case wire::Type::kBytes:
      in = wire::ReadVarint(in, end, value);
      return in == nullptr || value > static_cast<uint64_t>(end - in) ? nullptr : in + value;
  }
  return nullptr;
}

}  // namespace

std::optional<PgTimestamp> CommitTime(const Event& event) {
  if (event.kind != EventKind::kBegin || event.message.empty()) return std::nullopt;
  const uint8_t* in = event.message.data();
  const uint8_t* const message_end = in + event.message.size();
  if (*in++ != wire::Tag(kBeginField, wire::Type::kBytes)) return std::nullopt;
  uint64_t length = 0;
  in = wire::ReadVarint(in, message_end, length);
  if (in == nullptr || length > static_cast<uint64_t>(message_end - in)) return std::nullopt;
  const uint8_t* const end = in + length;
  while (in != nullptr && in != end) {
    uint64_t tag = 0;
    in = wire::ReadVarint(in, end, tag);
    if (in == nullptr) return std::nullopt;
    if (tag == wire::Tag(kCommitTimeField, wire::Type::kVarint)) {
      uint64_t time = 0;
      if (wire::ReadVarint(in, end, time) == nullptr) return std::nullopt;
      return PgTimestamp{static_cast<int64_t>(time)};
    }
    in = SkipValue(in, end, tag & 7);
  }
  return std::nullopt;
}

PgTimestamp NewestCommit(const Block& block, PgTimestamp before) {
  for (Block::Cursor cursor(block); cursor.Next();) {
    if (const auto time = CommitTime(cursor.event())) before = std::max(before, *time);
  }
  return before;
}

}  // namespace pgc
