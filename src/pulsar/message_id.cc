#include "pulsar/message_id.h"

#include <spdlog/fmt/fmt.h>

#include <span>

#include "event/wire.h"
#include "event/wire_reader.h"

namespace pgc::pulsar {
namespace {

constexpr uint32_t kLedger = 1;
constexpr uint32_t kEntry = 2;
constexpr uint32_t kPartition = 3;
constexpr uint32_t kBatchIndex = 4;
constexpr uint32_t kBatchSize = 6;
constexpr uint32_t kFirstPiece = 7;

void AppendNumber(std::string& out, uint32_t field, int64_t value) {
  out += static_cast<char>(wire::Tag(field, wire::Type::kVarint));
  wire::AppendVarint(out, static_cast<uint64_t>(value));
}

void AppendPlace(std::string& out, int64_t ledger, int64_t entry, int32_t partition,
                 int32_t batch_index) {
  AppendNumber(out, kLedger, ledger);
  AppendNumber(out, kEntry, entry);
  AppendNumber(out, kPartition, partition);
  AppendNumber(out, kBatchIndex, batch_index);
}

struct Fields {
  std::optional<int64_t> ledger;
  std::optional<int64_t> entry;
  int32_t partition = -1;
  int32_t batch_index = -1;
  int32_t batch_size = 0;
  std::string_view first_piece;
  bool has_first_piece = false;
};

// False when the bytes are no such message, or a field has a type that is not its own.
bool Read(std::string_view bytes, Fields& fields) {
  wire::Reader reader({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  while (reader.Next()) {
    const uint32_t field = reader.field();
    if (field == 0) return false;
    const bool known_number = field <= kBatchIndex || field == kBatchSize;
    if (known_number && !reader.is_number()) return false;
    const auto number = static_cast<int64_t>(reader.number());
    switch (field) {
      case kLedger:
        fields.ledger = number;
        break;
      case kEntry:
        fields.entry = number;
        break;
      case kPartition:
        fields.partition = static_cast<int32_t>(number);
        break;
      case kBatchIndex:
        fields.batch_index = static_cast<int32_t>(number);
        break;
      case kBatchSize:
        fields.batch_size = static_cast<int32_t>(number);
        break;
      case kFirstPiece:
        if (!reader.is_bytes()) return false;
        fields.first_piece = reader.text();
        fields.has_first_piece = true;
        break;
      default:
        break;
    }
  }
  return reader.ok() && fields.ledger.has_value() && fields.entry.has_value();
}

}  // namespace

std::string Serialize(const MessageId& id) {
  std::string out;
  AppendPlace(out, id.ledger, id.entry, id.partition, id.batch_index);
  if (!id.first_piece.has_value()) {
    AppendNumber(out, kBatchSize, id.batch_size);
    return out;
  }
  std::string first;
  AppendPlace(first, id.first_piece->ledger, id.first_piece->entry, id.partition, -1);
  out += static_cast<char>(wire::Tag(kFirstPiece, wire::Type::kBytes));
  wire::AppendVarint(out, first.size());
  return out + first;
}

absl::StatusOr<MessageId> ParseMessageId(std::string_view bytes) {
  const absl::Status invalid = absl::InvalidArgumentError("these bytes are no message id");
  Fields fields;
  if (!Read(bytes, fields)) return invalid;
  MessageId id{.ledger = *fields.ledger,
               .entry = *fields.entry,
               .partition = fields.partition < 0 ? 0 : fields.partition,
               .batch_index = fields.batch_index,
               .batch_size = fields.batch_size};
  if (fields.has_first_piece) {
    Fields first;
    if (!Read(fields.first_piece, first) || first.has_first_piece) return invalid;
    id.first_piece = {.ledger = *first.ledger, .entry = *first.entry};
  }
  // The ends of a topic are no partition's.
  if (!id.is_message() || id.ledger == INT64_MAX) id.partition = fields.partition;
  return id;
}

MessageId Before(const MessageId& id) {
  if (id.batch_index > 0 && !id.first_piece.has_value()) {
    MessageId before = id;
    --before.batch_index;
    return before;
  }
  const auto [ledger, entry] =
      id.first_piece.value_or(MessageId::Piece{.ledger = id.ledger, .entry = id.entry});
  // Bytes from outside may have the lowest number there is.
  const auto entry_before = static_cast<int64_t>(static_cast<uint64_t>(entry) - 1);
  return {
      .ledger = ledger, .entry = entry_before, .partition = id.partition, .batch_index = INT32_MAX};
}

std::string ToString(const MessageId& id) {
  return fmt::format("{}:{}:{}:{}", id.ledger, id.entry, id.partition, id.batch_index);
}

}  // namespace pgc::pulsar
