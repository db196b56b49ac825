#include "store/commit_time.h"

#include <algorithm>

#include "event/wire_reader.h"

namespace pgc {
namespace {

constexpr uint32_t kBegin = 1;       // of Message
constexpr uint32_t kCommitTime = 2;  // of Begin

}  // namespace

std::optional<PgTimestamp> CommitTime(const Event& event) {
  if (event.kind != EventKind::kBegin) return std::nullopt;
  wire::Reader message(event.message);
  if (!message.Next() || message.field() != kBegin) return std::nullopt;
  wire::Reader begin(message.bytes());
  while (begin.Next()) {
    if (begin.field() == kCommitTime && begin.is_number()) {
      return PgTimestamp{static_cast<int64_t>(begin.number())};
    }
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
