// A block: the unit in which events pass between threads and lie on disk.
//
// A block is one buffer, the same bytes in memory and (compressed) on disk, all little-endian:
//
//   header (48 bytes)
//      0  4  magic "PGCB"
//      4  1  version, 1
//      5  1  flags, 0
//      6  2  header length in bytes, 48 (a later version may append to the header)
//      8  4  number of events
//     12  4  number of tables
//     16  4  length of the dictionary
//     20  4  length of the index
//     24  4  length of the events
//     28  4  seq of the first event
//     32  8  lsn of the first event
//     40  8  lsn of the last event
//   dictionary: per table  varint length, schema, varint length, name
//   index: per event       kind (1 byte; 128 more when the change moved its row to another key),
//                          varint table (0 none, else 1 + its place in the dictionary), varint
//                          lsn - lsn before, varint seq (less the seq before when the lsn is the
//                          same), varint length; of a change also its key (4 bytes) and, when it
//                          moved, the key before (4 bytes)
//   events: the bytes of each event, a serialized protobuf `Message`, one after the other
//
// (lsn, seq) rises strictly from event to event.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "event/checkpoint.h"

namespace pgc {

// The member of the protobuf `Message` that an event is; the values are its field numbers.
enum class EventKind : uint8_t {
  kBegin = 1,
  kCommit = 2,
  kChange = 3,
  kTruncate = 20,
  kLogicalMessage = 21,
  kSequences = 22,
};

// Which row a change is of, as a hash of its table and replica identity: changes of one row have
// the same, and some of different rows have too. A whole table is one key where nothing less
// identifies a row. docs/contract.md, section 12, says how it is computed.
struct EventKey {
  uint32_t hash = 0;    // as the row is after the change; of a DELETE, as it was
  uint32_t before = 0;  // as it was; differs when an UPDATE moved the row to another key

  bool moved() const { return hash != before; }
  bool operator==(const EventKey&) const = default;
};

struct TableName {
  std::string_view schema;
  std::string_view name;

  bool operator==(const TableName&) const = default;
};

// The table that DDL is written into, a row a command.
inline constexpr TableName kDdlLog{.schema = "pgcapture", .name = "ddl_logs"};

// A view of one event in a block, valid as long as the block.
struct Event {
  static constexpr uint32_t kNoTable = UINT32_MAX;

  EventKind kind = EventKind::kBegin;
  uint32_t table = kNoTable;  // place in Block::tables(); kNoTable for all but changes
  Checkpoint checkpoint;
  EventKey key;                      // of a change; zero for all others
  std::span<const uint8_t> message;  // a serialized protobuf `Message`
};

// Immutable and thread-safe; shared by everyone who reads it.
class Block {
 public:
  // A block is finished when its events reach this size; a larger event has a block of its own.
  static constexpr size_t kTargetBytes = 256 << 10;
  // What an event, and with it a block, can be at most: what protobuf can address.
  static constexpr size_t kMaxBytes = (size_t{2} << 30) - 1;
  static constexpr size_t kMaxTables = 65'535;

  // Takes bytes of the layout above. DataLoss, naming what is wrong, when they are not: every
  // count and length is checked here, so that reading events cannot fail.
  static absl::StatusOr<std::shared_ptr<const Block>> Parse(std::string bytes);

  const std::string& bytes() const { return bytes_; }
  uint32_t size() const { return size_; }  // number of events, at least 1
  // The lengths of all events together.
  size_t event_bytes() const { return static_cast<size_t>(events_end_ - events_); }
  const std::vector<TableName>& tables() const { return tables_; }
  const Checkpoint& first() const { return first_; }
  const Checkpoint& last() const { return last_; }

  // Walks the events in order:
  //   for (Block::Cursor cursor(block); cursor.Next();) Use(cursor.event());
  class Cursor {
   public:
    explicit Cursor(const Block& block);

    // Moves to the next event, at first to the first; false after the last.
    bool Next();
    // Moves so that the next call of Next() gives event number `index`, not before the current.
    void SkipTo(uint32_t index);
    const Event& event() const { return event_; }
    uint32_t index() const { return next_ - 1; }  // of event()

   private:
    const Block* block_;
    const uint8_t* in_;
    const uint8_t* message_;
    uint32_t next_ = 0;
    Event event_;
  };

 private:
  friend class BlockBuilder;
  Block() = default;
  absl::Status Read();

  std::string bytes_;
  uint32_t size_ = 0;
  const uint8_t* index_ = nullptr;
  const uint8_t* index_end_ = nullptr;
  const uint8_t* events_ = nullptr;
  const uint8_t* events_end_ = nullptr;
  std::vector<TableName> tables_;
  Checkpoint first_;
  Checkpoint last_;
};

// Builds one block after the other. Not thread-safe.
class BlockBuilder {
 public:
  // The place of a table in the dictionary of the block being built. Look it up once per block
  // and keep it with generation(); full() is to be asked before.
  uint32_t AddTable(TableName table);

  // Adds an event and returns where its `length` bytes are to be written, valid until the next
  // call. `checkpoint` is after that of the event before; `length` is at most Block::kMaxBytes;
  // `key` is kept for changes only.
  uint8_t* Add(EventKind kind, uint32_t table, const Checkpoint& checkpoint, size_t length,
               EventKey key = {});

  // The bytes that the block would have now; 0 when it has no event.
  size_t bytes() const;
  bool empty() const { return size_ == 0; }
  // Whether a further event of `length` bytes should go to the next block.
  bool full(size_t length) const;
  // Changes with each Finish(): table places of an earlier generation are void.
  uint64_t generation() const { return generation_; }

  // The block of all events added since the last call, at least one.
  std::shared_ptr<const Block> Finish();

 private:
  std::string dictionary_;
  std::string index_;
  std::string events_;
  uint32_t tables_ = 0;
  uint32_t size_ = 0;
  uint64_t generation_ = 1;
  Checkpoint first_;
  Checkpoint last_;
};

// A copy of the events of `block` from number `from` (less than its size) on.
std::shared_ptr<const Block> Tail(const Block& block, uint32_t from);

}  // namespace pgc
