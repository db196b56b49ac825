#include "event/block.h"

#include <fmt/format.h>

#include <bit>
#include <cassert>
#include <cstring>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "event/event_kind.h"
#include "event/wire.h"

static_assert(std::endian::native == std::endian::little, "block headers are little-endian");

namespace pgc {
namespace {

constexpr char kMagic[4] = {'P', 'G', 'C', 'B'};
constexpr uint8_t kVersion = 1;

struct Header {
  char magic[4];
  uint8_t version;
  uint8_t flags;
  uint16_t header_bytes;
  uint32_t events;
  uint32_t tables;
  uint32_t dictionary_bytes;
  uint32_t index_bytes;
  uint32_t events_bytes;
  uint32_t first_seq;
  uint64_t first_lsn;
  uint64_t last_lsn;
};
static_assert(sizeof(Header) == 48);

// Of the kind byte: the change moved its row to another key.
constexpr uint8_t kMoved = 0x80;

// kind, table, lsn, seq, length, key, key before
constexpr size_t kMaxIndexEntryBytes = 1 + 5 + 10 + 5 + 5 + 4 + 4;

absl::Status Malformed(std::string_view what) {
  return absl::DataLossError(fmt::format("malformed block: {}", what));
}

struct Entry {
  uint8_t kind = 0;
  uint64_t table = 0;
  uint64_t lsn_delta = 0;
  uint64_t seq = 0;
  uint64_t length = 0;
  EventKey key;
};

// The end of the entry at `in`, or nullptr when it is cut off.
const uint8_t* ReadEntry(const uint8_t* in, const uint8_t* end, Entry& entry) {
  if (in == end) return nullptr;
  const bool moved = (*in & kMoved) != 0;
  entry.kind = *in++ & ~kMoved;
  for (uint64_t* field : {&entry.table, &entry.lsn_delta, &entry.seq, &entry.length}) {
    in = wire::ReadVarint(in, end, *field);
    if (in == nullptr) return nullptr;
  }
  if (entry.kind != static_cast<uint8_t>(EventKind::kChange)) return moved ? nullptr : in;
  const size_t key_bytes = moved ? sizeof entry.key : sizeof entry.key.hash;
  if (static_cast<size_t>(end - in) < key_bytes) return nullptr;
  std::memcpy(&entry.key, in, key_bytes);
  if (!moved) entry.key.before = entry.key.hash;
  return in + key_bytes;
}

Checkpoint After(const Checkpoint& before, const Entry& entry) {
  return {.lsn = Lsn{before.lsn.value + entry.lsn_delta},
          .seq = static_cast<uint32_t>(entry.lsn_delta == 0 ? before.seq + entry.seq : entry.seq)};
}

const uint8_t* ReadText(const uint8_t* in, const uint8_t* end, std::string_view& text) {
  uint64_t length = 0;
  in = wire::ReadVarint(in, end, length);
  if (in == nullptr || length > static_cast<uint64_t>(end - in)) return nullptr;
  text = {reinterpret_cast<const char*>(in), length};
  return in + length;
}

void AppendText(std::string& out, std::string_view text) {
  wire::AppendVarint(out, text.size());
  out += text;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Block>> Block::Parse(std::string bytes) {
  std::shared_ptr<Block> block(new Block());
  block->bytes_ = std::move(bytes);
  PGC_RETURN_IF_ERROR(block->Read());
  return std::shared_ptr<const Block>(std::move(block));
}

absl::Status Block::Read() {
  Header header;
  if (bytes_.size() < sizeof header) return Malformed("shorter than its header");
  std::memcpy(&header, bytes_.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return Malformed("no magic bytes");
  if (header.version != kVersion) {
    return Malformed(fmt::format("version {}, not {}", header.version, kVersion));
  }
  if (header.header_bytes < sizeof header || uint64_t{header.header_bytes} +
                                                     header.dictionary_bytes + header.index_bytes +
                                                     header.events_bytes !=
                                                 bytes_.size()) {
    return Malformed("its lengths do not add up to its size");
  }
  if (header.events == 0) return Malformed("no events");
  if (header.tables > kMaxTables) return Malformed("too many tables");

  const auto* in = reinterpret_cast<const uint8_t*>(bytes_.data()) + header.header_bytes;
  index_ = in + header.dictionary_bytes;
  events_ = index_ + header.index_bytes;
  index_end_ = events_;
  events_end_ = events_ + header.events_bytes;
  size_ = header.events;
  first_ = {.lsn = Lsn{header.first_lsn}, .seq = header.first_seq};

  for (uint32_t i = 0; i < header.tables; ++i) {
    TableName table;
    in = ReadText(in, index_, table.schema);
    if (in != nullptr) in = ReadText(in, index_, table.name);
    if (in == nullptr) return Malformed("its dictionary is cut off");
    tables_.push_back(table);
  }
  if (in != index_) return Malformed("bytes after its dictionary");

  uint64_t length = 0;
  last_ = first_;
  for (uint32_t i = 0; i < size_; ++i) {
    Entry entry;
    in = ReadEntry(in, index_end_, entry);
    if (in == nullptr) return Malformed("its index is cut off");
    if (!EventKindOf(entry.kind)) return Malformed(fmt::format("event kind {}", entry.kind));
    if (entry.table > tables_.size()) return Malformed("a table that its dictionary has not");
    const bool first = i == 0;
    if (entry.seq > UINT32_MAX || entry.lsn_delta > UINT64_MAX - last_.lsn.value ||
        (entry.lsn_delta == 0 && entry.seq > UINT32_MAX - last_.seq)) {
      return Malformed("a checkpoint out of range");
    }
    if (first ? entry.lsn_delta != 0 || entry.seq != 0 : entry.lsn_delta == 0 && entry.seq == 0) {
      return Malformed("its checkpoints do not rise");
    }
    last_ = After(last_, entry);
    length += entry.length;
    if (entry.length == 0 || length > header.events_bytes) return Malformed("an event's length");
  }
  if (in != index_end_) return Malformed("bytes after its index");
  if (length != header.events_bytes) return Malformed("bytes after its events");
  if (last_.lsn.value != header.last_lsn) return Malformed("its last lsn");
  return absl::OkStatus();
}

Block::Cursor::Cursor(const Block& block)
    : block_(&block), in_(block.index_), message_(block.events_) {
  event_.checkpoint = block.first_;
}

bool Block::Cursor::Next() {
  if (next_ == block_->size_) return false;
  Entry entry;
  in_ = ReadEntry(in_, block_->index_end_, entry);
  event_.kind = static_cast<EventKind>(entry.kind);
  event_.table = entry.table == 0 ? Event::kNoTable : static_cast<uint32_t>(entry.table - 1);
  event_.checkpoint = After(event_.checkpoint, entry);
  event_.key = entry.key;
  event_.message = {message_, entry.length};
  message_ += entry.length;
  ++next_;
  return true;
}

void Block::Cursor::SkipTo(uint32_t index) {
  while (next_ < index && Next()) {
  }
}

uint32_t BlockBuilder::AddTable(TableName table) {
  AppendText(dictionary_, table.schema);
  AppendText(dictionary_, table.name);
  return tables_++;
}

uint8_t* BlockBuilder::Add(EventKind kind, uint32_t table, const Checkpoint& checkpoint,
                           size_t length, EventKey key) {
  assert(table == Event::kNoTable || table < tables_);
  assert(size_ == 0 || checkpoint > last_);
  if (size_ == 0) first_ = last_ = checkpoint;
  uint8_t entry[kMaxIndexEntryBytes];
  uint8_t* out = entry;
  const bool is_change = kind == EventKind::kChange;
  *out++ =
      static_cast<uint8_t>(static_cast<uint8_t>(kind) | (is_change && key.moved() ? kMoved : 0));
  out = wire::WriteVarint(out, table == Event::kNoTable ? 0 : uint64_t{table} + 1);
  out = wire::WriteVarint(out, checkpoint.lsn.value - last_.lsn.value);
  out = wire::WriteVarint(
      out, checkpoint.lsn == last_.lsn ? checkpoint.seq - last_.seq : checkpoint.seq);
  out = wire::WriteVarint(out, length);
  if (is_change) {
    const size_t key_bytes = key.moved() ? sizeof key : sizeof key.hash;
    std::memcpy(out, &key, key_bytes);
    out += key_bytes;
  }
  index_.append(reinterpret_cast<const char*>(entry), static_cast<size_t>(out - entry));
  last_ = checkpoint;
  ++size_;
  const size_t before = events_.size();
  events_.resize(before + length);
  return reinterpret_cast<uint8_t*>(events_.data()) + before;
}

size_t BlockBuilder::bytes() const {
  return empty() ? 0 : sizeof(Header) + dictionary_.size() + index_.size() + events_.size();
}

bool BlockBuilder::full(size_t length) const {
  return !empty() && (bytes() + length > Block::kTargetBytes || tables_ >= Block::kMaxTables);
}

std::shared_ptr<const Block> BlockBuilder::Finish() {
  assert(!empty());
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.header_bytes = sizeof header;
  header.events = size_;
  header.tables = tables_;
  header.dictionary_bytes = static_cast<uint32_t>(dictionary_.size());
  header.index_bytes = static_cast<uint32_t>(index_.size());
  header.events_bytes = static_cast<uint32_t>(events_.size());
  header.first_seq = first_.seq;
  header.first_lsn = first_.lsn.value;
  header.last_lsn = last_.lsn.value;

  std::shared_ptr<Block> block(new Block());
  block->bytes_.reserve(bytes());
  block->bytes_.append(reinterpret_cast<const char*>(&header), sizeof header);
  block->bytes_ += dictionary_;
  block->bytes_ += index_;
  block->bytes_ += events_;
  const auto* const data = reinterpret_cast<const uint8_t*>(block->bytes_.data());
  block->size_ = size_;
  block->index_ = data + sizeof header + dictionary_.size();
  block->index_end_ = block->events_ = block->index_ + index_.size();
  block->events_end_ = block->events_ + events_.size();
  block->first_ = first_;
  block->last_ = last_;
  const uint8_t* in = data + sizeof header;
  for (uint32_t i = 0; i < tables_; ++i) {
    TableName table;
    in = ReadText(ReadText(in, block->index_, table.schema), block->index_, table.name);
    block->tables_.push_back(table);
  }

  dictionary_.clear();
  index_.clear();
  if (events_.capacity() > 4 * Block::kTargetBytes) events_ = std::string();
  events_.clear();
  tables_ = 0;
  size_ = 0;
  ++generation_;
  return block;
}

std::shared_ptr<const Block> Tail(const Block& block, uint32_t from) {
  BlockBuilder builder;
  for (const TableName& table : block.tables()) builder.AddTable(table);
  Block::Cursor cursor(block);
  cursor.SkipTo(from);
  while (cursor.Next()) {
    const Event& event = cursor.event();
    uint8_t* const out =
        builder.Add(event.kind, event.table, event.checkpoint, event.message.size(), event.key);
    std::memcpy(out, event.message.data(), event.message.size());
  }
  return builder.Finish();
}

}  // namespace pgc
