#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "event/encoder.h"
#include "event/pipeline.h"
#include "event/store.h"

namespace pgc {

// Writes transactions into a topic of a store, as capture does: for tests of what reads it.
//
// Tables are in the schema `public` and have the columns id int4 and note text. Not thread-safe.
class ChangeLog {
 public:
  explicit ChangeLog(EventStore& store, std::string_view topic = "pgcapture");
  ~ChangeLog();

  struct Row {
    std::string_view table;
    int32_t id = 0;
    std::string_view note;
  };

  // A transaction that inserts these rows; returns its LSN once it is durable. A row has its place
  // in the list, from 1, as its seq.
  Lsn Insert(const std::vector<Row>& rows);
  // As Insert, with `count` rows of ids from 0 on.
  Lsn InsertMany(std::string_view table, int32_t count, std::string_view note = "");
  // These blocks, as they are.
  void Append(std::vector<std::shared_ptr<const Block>> blocks);

 private:
  void AddRow(const Row& row, const Checkpoint& checkpoint);
  Lsn Commit(uint32_t rows);

  std::unique_ptr<EventSink> sink_;
  BlockStream stream_;
  Lsn next_{0x1000};
  Mutex mutex_;
  CondVar changed_;
  Lsn durable_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
