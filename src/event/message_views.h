// What a gateway sends (`CaptureMessage`, docs/contract.md, sections 7 and 12), taken apart without
// a copy; no gRPC, no protobuf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "event/block.h"
#include "event/encoder.h"
#include "event/lsn.h"

namespace pgc {

// A column of a change. One that was not sent (an unchanged TOAST value) is not there.
struct FieldView {
  std::string_view name;
  uint32_t type_oid = 0;
  FieldValue::Kind kind = FieldValue::Kind::kNull;  // never kAbsent
  // In PostgreSQL's binary representation, or as text. Text is not checked to be UTF-8.
  std::string_view value;
};

struct ChangeView {
  Operation operation = Operation::kInsert;
  std::string_view schema;
  std::string_view table;
  std::span<const FieldView> new_fields;
  std::span<const FieldView> old_fields;
};

struct MessageView {
  // The checkpoint, and the bytes of it.
  Lsn lsn;  // zero: a row of a dump
  uint32_t seq = 0;
  std::string_view data;
  std::string_view checkpoint;
  Lsn dump_lsn;  // of a row of a dump: as of when it is
  EventKind kind = EventKind::kChange;
  ChangeView change;  // of a change
  std::string_view
      content;  // the bytes of a `Change`, `Begin`, `Commit`, and so on, as `kind` says
};

// The messages of one that may hold many. Used again and again, its memory is too.
// Not thread-safe.
class MessageViews {
 public:
  // They point into `bytes`, which outlive them. InvalidArgument, and none of them, when that is no
  // CaptureMessage, or has a member twice that no gateway sends twice. What is unknown here is
  // passed over.
  absl::Status Parse(std::span<const uint8_t> bytes);
  void Clear();

  size_t size() const { return messages_.size(); }
  const MessageView& operator[](size_t at) const { return messages_[at]; }

 private:
  struct Ends {
    size_t new_fields = 0;
    size_t old_fields = 0;
  };
  bool AddAll(std::span<const uint8_t> bytes);
  bool Add(std::span<const uint8_t> bytes, bool& has_more);
  bool AddChange(std::span<const uint8_t> bytes, ChangeView& change);

  std::vector<MessageView> messages_;
  std::vector<Ends> ends_;  // of each one's fields
  std::vector<FieldView> new_fields_;
  std::vector<FieldView> old_fields_;
};

}  // namespace pgc
