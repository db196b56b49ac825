// What the tests of the store share: events, a clock that they move, and ways to wait.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "event/store.h"
#include "event/wire.h"
#include "store/timer.h"

namespace pgc {

inline std::ostream& operator<<(std::ostream& out, const Checkpoint& checkpoint) {
  return out << ToKey(checkpoint);
}

// A timer whose clock stands still but for Advance.
class ManualTimer {
 public:
  const std::shared_ptr<Timer>& timer() const { return timer_; }
  void Advance(std::chrono::milliseconds by) {
    *now_ms_ += by.count();
    timer_->ClockChanged();
  }

 private:
  const std::shared_ptr<std::atomic<int64_t>> now_ms_ =
      std::make_shared<std::atomic<int64_t>>(1'000'000);
  const std::shared_ptr<Timer> timer_ = std::make_shared<Timer>(
      [now = now_ms_] { return Timer::Time(std::chrono::milliseconds(now->load())); });
};

// Counts down from another thread.
class Signal {
 public:
  void Set() {
    MutexLock lock(mutex_);
    ++set_;
    changed_.NotifyAll();
  }
  // Waits until it was set so many times; false after `patience`, by default a time that no test
  // should need.
  bool Wait(int times = 1, std::chrono::milliseconds patience = std::chrono::seconds(60)) {
    MutexLock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (set_ < times) {
      if (!changed_.WaitUntil(mutex_, deadline)) return set_ >= times;
    }
    return true;
  }
  int count() {
    MutexLock lock(mutex_);
    return set_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int set_ PGC_GUARDED_BY(mutex_) = 0;
};

inline void AppendField(std::string& out, char tag, const std::string& bytes) {
  out += tag;
  wire::AppendVarint(out, bytes.size());
  out += bytes;
}

// What the event with this checkpoint says in these tests: a change of public.t.
inline std::string MessageOf(const Checkpoint& checkpoint) {
  std::string field;
  AppendField(field, '\x0A', ToKey(checkpoint) + std::string(checkpoint.lsn.value % 50, 'x'));
  std::string change;
  AppendField(change, '\x12', "public");
  AppendField(change, '\x1A', "t");
  AppendField(change, '\x22', field);
  std::string message;
  AppendField(message, '\x1A', change);
  return message;
}

// A block of changes with seq `first_seq` and following, all of one lsn.
inline std::shared_ptr<const Block> MakeBlock(uint64_t lsn, uint32_t first_seq, uint32_t count) {
  BlockBuilder builder;
  const uint32_t table = builder.AddTable({.schema = "public", .name = "t"});
  for (uint32_t seq = first_seq; seq < first_seq + count; ++seq) {
    const Checkpoint checkpoint{.lsn = Lsn{lsn}, .seq = seq};
    const std::string message = MessageOf(checkpoint);
    std::memcpy(builder.Add(EventKind::kChange, table, checkpoint, message.size()), message.data(),
                message.size());
  }
  return builder.Finish();
}

// The bytes of a Begin.
inline std::string BeginMessage(PgTimestamp commit_time) {
  std::string begin(1, '\x08');
  wire::AppendVarint(begin, 1'000'000);
  begin += '\x10';
  wire::AppendVarint(begin, static_cast<uint64_t>(commit_time.us));
  std::string message(1, '\x0A');
  wire::AppendVarint(message, begin.size());
  return message + begin;
}

// A block of transactions with these commit times, each a Begin and a Commit, of lsn `first_lsn`
// and following.
inline std::shared_ptr<const Block> MakeTransactions(uint64_t first_lsn,
                                                     const std::vector<PgTimestamp>& times) {
  BlockBuilder builder;
  for (const PgTimestamp time : times) {
    const std::string begin = BeginMessage(time);
    std::memcpy(builder.Add(EventKind::kBegin, Event::kNoTable, {.lsn = Lsn{first_lsn}, .seq = 0},
                            begin.size()),
                begin.data(), begin.size());
    constexpr char kCommit[] = "\x12";  // of no fields
    std::memcpy(builder.Add(EventKind::kCommit, Event::kNoTable, {.lsn = Lsn{first_lsn}, .seq = 1},
                            sizeof kCommit),
                kCommit, sizeof kCommit);
    ++first_lsn;
  }
  return builder.Finish();
}

inline EventBatch MakeBatch(std::vector<std::shared_ptr<const Block>> blocks, uint64_t captured) {
  return {.blocks = std::move(blocks), .captured = Lsn{captured}, .origin = "origin"};
}

// A writer that can be asked to wait until what it took is durable.
class TestWriter {
 public:
  explicit TestWriter(EventStore& store, std::string_view topic = "topic") {
    auto opened = store.OpenWriter(topic);
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (!opened.ok()) return;
    sink_ = *std::move(opened);
    const auto resumed = sink_->Open([this](Lsn captured) { OnDurable(captured); });
    EXPECT_TRUE(resumed.ok()) << resumed.status();
    if (resumed.ok()) resume_ = *resumed;
    next_lsn_ = std::max(resume_.last.lsn.value, resume_.captured.value) + 1;
  }

  const ResumePoint& resume() const { return resume_; }
  EventSink& sink() { return *sink_; }

  // Appends blocks of `counts` events, each of an lsn of its own, and waits until durable.
  void Append(const std::vector<uint32_t>& counts) {
    std::vector<std::shared_ptr<const Block>> blocks;
    for (const uint32_t count : counts) blocks.push_back(MakeBlock(next_lsn_++, 0, count));
    AppendAndWait(MakeBatch(std::move(blocks), next_lsn_));
    ++next_lsn_;
  }
  void AppendAndWait(EventBatch batch) {
    const Lsn captured = batch.captured;
    const absl::Status status = sink_->Append(std::move(batch));
    EXPECT_TRUE(status.ok()) << status;
    if (status.ok()) WaitDurable(captured);
  }
  void WaitDurable(Lsn captured) {
    MutexLock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (durable_.empty() || durable_.back() < captured) {
      ASSERT_TRUE(changed_.WaitUntil(mutex_, deadline)) << "not durable: " << ToString(captured);
    }
  }
  std::vector<Lsn> durable() {
    MutexLock lock(mutex_);
    return durable_;
  }

 private:
  void OnDurable(Lsn captured) {
    MutexLock lock(mutex_);
    durable_.push_back(captured);
    changed_.NotifyAll();
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<Lsn> durable_ PGC_GUARDED_BY(mutex_);
  ResumePoint resume_;
  uint64_t next_lsn_ = 1;
  std::unique_ptr<EventSink> sink_;  // first to go: it calls back
};

// One event as a consumer or reader sees it.
struct Seen {
  uint64_t ordinal = 0;
  Checkpoint checkpoint;
  std::string message;

  bool operator==(const Seen&) const = default;
};

inline void AppendSeen(const EventSlice& slice, std::vector<Seen>& out) {
  const size_t before = out.size();
  for (SliceCursor cursor(slice); cursor.Next();) {
    const Event& event = cursor.event();
    out.push_back({.ordinal = cursor.ordinal(),
                   .checkpoint = event.checkpoint,
                   .message = std::string(reinterpret_cast<const char*>(event.message.data()),
                                          event.message.size())});
    EXPECT_EQ(out.back().message, MessageOf(event.checkpoint));
  }
  ASSERT_EQ(out.size() - before, slice.end - slice.begin);
}

// All that the consumer has now.
inline std::vector<Seen> TakeAll(EventConsumer& consumer) {
  std::vector<Seen> seen;
  while (true) {
    const auto slice = consumer.TryNext();
    EXPECT_TRUE(slice.ok()) << slice.status();
    if (!slice.ok() || !*slice) return seen;
    AppendSeen(**slice, seen);
  }
}

inline std::vector<uint64_t> Ordinals(const std::vector<Seen>& seen) {
  std::vector<uint64_t> ordinals;
  for (const Seen& event : seen) ordinals.push_back(event.ordinal);
  return ordinals;
}

// The `data` of the event with this ordinal, as a consumer sends it back.
inline std::string DataOf(uint64_t ordinal) {
  std::string data;
  for (int shift = 56; shift >= 0; shift -= 8) data += static_cast<char>(ordinal >> shift);
  return data;
}

inline std::unique_ptr<EventConsumer> OpenConsumer(EventStore& store,
                                                   std::string_view subscription = "s",
                                                   std::string_view topic = "topic") {
  auto consumer = store.OpenConsumer(topic, subscription, {});
  EXPECT_TRUE(consumer.ok()) << consumer.status();
  return consumer.ok() ? *std::move(consumer) : nullptr;
}

// So many events from a reader.
inline std::vector<Seen> ReadCount(EventReader& reader, size_t count) {
  std::vector<Seen> seen;
  while (seen.size() < count) {
    const auto slice = reader.Next({});
    EXPECT_TRUE(slice.ok()) << slice.status();
    if (!slice.ok()) break;
    AppendSeen(*slice, seen);
  }
  return seen;
}

}  // namespace pgc
