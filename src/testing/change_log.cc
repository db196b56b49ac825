#include "testing/change_log.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace pgc {
namespace {

constexpr uint32_t kInt4 = 23;
constexpr uint32_t kText = 25;
constexpr PgTimestamp kCommitTime{.us = 848'788'404'243'914};

void Require(const absl::Status& status) {
  if (status.ok()) return;
  (void)std::fprintf(stderr, "ChangeLog: %s\n", status.ToString().c_str());
  std::abort();
}

}  // namespace

ChangeLog::ChangeLog(EventStore& store, std::string_view topic) {
  auto sink = store.OpenWriter(topic);
  Require(sink.status());
  sink_ = *std::move(sink);
  const auto resumed = sink_->Open([this](Lsn captured) {
    MutexLock lock(mutex_);
    durable_ = captured;
    changed_.NotifyAll();
  });
  Require(resumed.status());
  if (resumed->captured >= next_) next_ = Lsn{resumed->captured.value + 1};
}

ChangeLog::~ChangeLog() { sink_.reset(); }

Lsn ChangeLog::Insert(const std::vector<Row>& rows) {
  EncodeBegin(stream_, next_, kCommitTime, 7);
  uint32_t seq = 0;
  for (const Row& row : rows) AddRow(row, {.lsn = next_, .seq = ++seq});
  return Commit(seq);
}

Lsn ChangeLog::InsertMany(std::string_view table, int32_t count, std::string_view note) {
  EncodeBegin(stream_, next_, kCommitTime, 7);
  for (int32_t id = 0; id < count; ++id) {
    AddRow({.table = table, .id = id, .note = note},
           {.lsn = next_, .seq = static_cast<uint32_t>(id) + 1});
  }
  return Commit(static_cast<uint32_t>(count));
}

void ChangeLog::AddRow(const Row& row, const Checkpoint& checkpoint) {
  const TableEncoder::Column columns[] = {{.name = "id", .type_oid = kInt4},
                                          {.name = "note", .type_oid = kText}};
  uint8_t id[4];
  for (int i = 0; i < 4; ++i) id[i] = static_cast<uint8_t>(row.id >> (24 - 8 * i));
  const FieldValue values[] = {
      {.kind = FieldValue::Kind::kBinary, .bytes = id},
      {.kind = FieldValue::Kind::kBinary,
       .bytes = {reinterpret_cast<const uint8_t*>(row.note.data()), row.note.size()}}};
  TableEncoder encoder({.schema = "public", .name = row.table}, columns);
  Require(encoder.Encode(stream_, Operation::kInsert, values, {}, checkpoint));
}

Lsn ChangeLog::Commit(uint32_t rows) {
  const Lsn lsn = next_;
  EncodeCommit(stream_, {.lsn = lsn, .seq = rows + 1}, Lsn{lsn.value + 8}, kCommitTime);
  std::vector<std::shared_ptr<const Block>> blocks = stream_.TakeFull();
  blocks.push_back(stream_.Flush());
  Append(std::move(blocks));
  return lsn;
}

void ChangeLog::Append(std::vector<std::shared_ptr<const Block>> blocks) {
  const Lsn captured{std::max(next_, blocks.back()->last().lsn).value + 8};
  next_ = Lsn{captured.value + 8};
  Require(sink_->Append({.blocks = std::move(blocks), .captured = captured, .origin = "test"}));
  MutexLock lock(mutex_);
  while (durable_ < captured) changed_.Wait(mutex_);
}

}  // namespace pgc
