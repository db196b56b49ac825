#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "event/lsn.h"
#include "gateway/dump_rows.h"
#include "gateway/dump_sources.h"
#include "pgcapture.pb.h"

namespace pgc {

class DumpPull;
class PagesCall;

// A dump that the controller gave to a session, with those of its rows that are here.
struct SessionDump {
  pb::DumpInfoResponse info;
  uint32_t id = 0;      // in its rows' checkpoints; the same when it is given once more
  uint32_t serial = 0;  // never the same again
  std::string schema;   // the name that the rows carry
  std::string table;
  PagesHeader answer;
  // It has no rows, and whether its server shows all that came up to here is not known: see
  // NewestCommitIs.
  std::optional<Lsn> looks_up_to;
  size_t fields = 0;     // of its first row
  uint32_t fetches = 0;  // that came to nothing
  uint32_t answers = 0;  // how often an agent began to answer
};

// The dumps of one capture session: takes them from the controller, a few at a time, asks an agent
// for their rows ahead of need, and answers the controller for what the consumer has acknowledged.
//
//   pull -----> fetching ----------> ready -> active -> sent ----------> answered, pull again
//     ^            | behind, gone:     | rows change     | acknowledged: done
//     |            | again             | meanwhile:      | requeued: put back
//     +------------+-------------------+ fetch again ----+
//
// Where in the stream the rows go is the session's matter.
//
// Thread-safe. gRPC's threads bring what the peers send, the session's calls never wait. `ready` is
// called, with the feed locked, when the session may go on. Bounded: kMaxPulls dumps in hand, each
// with at most kMaxDumpBytes of rows, and one message more, that are not sent yet. What fails is
// tried again with backoff, and the stream goes on meanwhile.
class DumpFeed : public std::enable_shared_from_this<DumpFeed> {
 public:
  static constexpr size_t kMaxPulls = 8;
  static constexpr size_t kMaxDumpBytes = size_t{4} << 20;

  struct Options {
    // Let go when the feed and its calls have let go of all channels: gRPC's threads must not be
    // the last to have one, because its end waits for them.
    std::shared_ptr<void> hold;
    std::string uri;
    DumpSources sources;
    // Whether the consumer wants the rows of a table.
    std::function<bool(std::string_view schema, std::string_view table)> wants;
    std::function<void()> ready;
  };

  explicit DumpFeed(Options options);

  // Begins to take dumps, for a stream that begins behind the events up to `begun_at`.
  void Start(Lsn begun_at);
  // Gives back what is in hand. Later calls change nothing.
  void Close();

  // Where the stream is: rows are to show at least this much, if the server has come so far.
  void SetPosition(Lsn position);
  // Takes no further dumps for this reason, until it is empty.
  void SetHold(std::string reason);
  // Calls `ready`, and that in a few milliseconds.
  void Wake() { Ready(); }
  void WakeSoon();

  // Rises when what the next calls say has changed.
  uint64_t changes() const { return changes_.load(std::memory_order_acquire); }
  // Of the dumps whose rows are here, all of them or as many as it holds, and were not taken yet,
  // the one that goes first.
  std::shared_ptr<const SessionDump> FirstReady();
  // The next rows of a dump, if they are here. `complete` says that none will come behind them.
  std::optional<PagesRows> TakeRows(uint32_t serial, bool& complete);
  // The dump is to be read again, not behind the stream: what was read has no place in it.
  void FetchAgain(uint32_t serial, const std::string& reason);
  // The newest commit behind R and up to `looks_up_to`; zero: there is none, and so no row.
  void NewestCommitIs(uint32_t serial, Lsn commit);
  // Its first row was sent, or its last.
  void RowSent(uint32_t serial, bool last);
  // One more repeat was; of what is owed, perhaps one that a row cannot be right by.
  void RepeatSent(uint32_t serial, bool loses);
  // All rows and repeats were.
  void Sent(uint32_t serial);
  // When what is not to be sent any more goes back to the controller.
  enum class When : uint8_t {
    kRepeated,  // once the consumer has what its rows took back
    kNowOwing,  // at once: this session cannot repeat that, or not soon
    kNow,       // at once: the consumer put it back, so it goes by versions and is owed nothing
  };
  void Requeue(uint32_t serial, std::string_view reason,
               pb::DumpInfoRequest::Requeue kind = pb::DumpInfoRequest::TRY_AGAIN,
               When when = When::kRepeated);
  // Whether it is still to be sent.
  bool IsInHand(uint32_t serial) const;

  // The consumer's answers. What is not in hand is ignored.
  void AckRow(uint32_t id, bool last);
  void RequeueRow(uint32_t id, std::string_view reason);
  void AckRepeat(uint32_t serial, uint32_t number);
  void RequeueRepeat(uint32_t serial, std::string_view reason) {
    Requeue(serial, reason, pb::DumpInfoRequest::TRY_AGAIN, When::kNow);
  }

  // For DumpPull and PagesCall.
  void Pulled(const std::shared_ptr<DumpPull>& pull, const pb::DumpInfoResponse& info);
  void Noted(const std::shared_ptr<DumpPull>& pull, uint32_t begun);
  void PullEnded(const std::shared_ptr<DumpPull>& pull, const grpc::Status& status);
  // Whether it may read on.
  bool Fetched(const std::shared_ptr<PagesCall>& call, const grpc::ByteBuffer& bytes);
  void CallEnded(const std::shared_ptr<PagesCall>& call, const grpc::Status& status);

 private:
  struct InHand : SessionDump {
    // What its server does not show yet is to be repeated, behind no row, or what is owed.
    bool has_no_rows() const { return complete && total_rows == 0; }

    std::shared_ptr<DumpPull> pull;
    std::shared_ptr<PagesCall> call;  // while rows come
    std::deque<PagesRows> rows;
    size_t bytes = 0;  // of rows
    bool answered = false;
    std::optional<Lsn> begun;   // what the controller was told that rows show, at least
    uint32_t begun_number = 0;  // of the call, in that of its pull
    bool noted = false;         // and knows
    bool paused = false;        // the call waits for room
    bool complete = false;
    bool taken = false;     // some rows, or that there are none
    bool row_sent = false;  // some
    bool last_sent = false;
    bool last_acked = false;
    bool sent = false;
    uint64_t total_rows = 0;
    uint64_t total_bytes = 0;
    uint32_t failures = 0;
    size_t agent = 0;  // that was asked last
    size_t agents_tried = 0;
    bool any_place = false;  // the server is behind: its rows are taken as they are
    bool strict = false;     // or not
    Lsn asked;
    bool pages_unknown = false;                        // the agent knows StreamDump only
    std::optional<pb::DumpInfoRequest> answer_at_end;  // of what is put back; no rows come any more
    uint32_t repeats = 0;                              // that were sent
    bool loses = false;                                // by one of them
    std::vector<bool> repeats_acked;                   // by number, as far as they go
    uint32_t repeats_answered = 0;
  };
  using Hands = std::map<uint32_t, std::unique_ptr<InHand>>;  // by id
  // What is to be done once the lock is free.
  using Later = std::vector<std::function<void()>>;

  void Pull(Later& later) PGC_REQUIRES(mutex_);
  void TakeOwed(InHand& dump, Later& later) PGC_REQUIRES(mutex_);
  void StartFetch(InHand& dump, Later& later) PGC_REQUIRES(mutex_);
  void FetchLater(InHand& dump) PGC_REQUIRES(mutex_);
  bool TakePart(InHand& dump, PagesPart part, Later& later) PGC_REQUIRES(mutex_);
  bool IsWanted(InHand& dump, Later& later) PGC_REQUIRES(mutex_);
  void TakeEmpty(InHand& dump, Later& later) PGC_REQUIRES(mutex_);
  void AskStrictly(InHand& dump, Later& later) PGC_REQUIRES(mutex_);
  void TellBegun(Later& later) PGC_REQUIRES(mutex_);
  void TellBegun(InHand& dump, Later& later) PGC_REQUIRES(mutex_);
  InHand* Next(const InHand* but) const PGC_REQUIRES(mutex_);
  void CallFailed(InHand& dump, const grpc::Status& status, Later& later) PGC_REQUIRES(mutex_);
  void FailedOnce(InHand& dump, const std::string& reason, pb::DumpInfoRequest::Requeue kind,
                  Later& later) PGC_REQUIRES(mutex_);
  void CheckDone(InHand& dump, Later& later) PGC_REQUIRES(mutex_);
  void Answer(InHand& dump, pb::DumpInfoRequest request, Later& later) PGC_REQUIRES(mutex_);
  void PutBack(InHand& dump, std::string_view reason, pb::DumpInfoRequest::Requeue kind,
               Later& later, When when = When::kRepeated) PGC_REQUIRES(mutex_);
  void EndCall(InHand& dump, Later& later) PGC_REQUIRES(mutex_);
  InHand* Find(uint32_t serial) const PGC_REQUIRES(mutex_);
  InHand* FindCall(const std::shared_ptr<PagesCall>& call) const PGC_REQUIRES(mutex_);
  void ResumeIfRoom(InHand& dump, Later& later) PGC_REQUIRES(mutex_);
  void After(std::chrono::milliseconds delay, std::function<void(DumpFeed&)> what);
  void Run(const Later& later);
  void Ready();

  const Options options_;
  const uint64_t consumer_;  // what it is to the controller
  std::atomic<uint64_t> changes_ = 1;
  mutable Mutex mutex_;
  bool closed_ PGC_GUARDED_BY(mutex_) = false;
  bool disabled_ PGC_GUARDED_BY(mutex_) = false;  // there is no controller
  std::string hold_ PGC_GUARDED_BY(mutex_);
  // Where the stream began, and the newest commit before, as far as that is known.
  Lsn begun_at_ PGC_GUARDED_BY(mutex_);
  Lsn begun_commit_ PGC_GUARDED_BY(mutex_);
  Lsn position_ PGC_GUARDED_BY(mutex_);
  std::set<std::shared_ptr<DumpPull>> pulls_ PGC_GUARDED_BY(mutex_);  // open
  Hands hands_ PGC_GUARDED_BY(mutex_);
  uint32_t last_serial_ PGC_GUARDED_BY(mutex_) = 0;
  std::map<std::string, size_t> agent_of_ PGC_GUARDED_BY(mutex_);  // by server
  uint32_t pull_failures_ PGC_GUARDED_BY(mutex_) = 0;
  bool pull_is_due_ PGC_GUARDED_BY(mutex_) = false;
  bool wake_is_due_ PGC_GUARDED_BY(mutex_) = false;
};

}  // namespace pgc
