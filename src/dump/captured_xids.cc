#include "dump/captured_xids.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "base/log.h"
#include "base/status_macros.h"
#include "event/wire_reader.h"

namespace pgc {
namespace {

using std::chrono::steady_clock;

// How long a dump waits for what the log has to be read. A place that is too low is right as well.
constexpr std::chrono::seconds kReadWait{10};

// A transaction that is in the log and that a later snapshot does not see still runs now, or has
// not begun to write: so it commits after the start of one of these, or after now. Without the
// start of any that runs only the whole log will do; that is what the last column says.
constexpr char kRunningSql[] = R"(
SELECT pg_catalog.pg_current_snapshot(),
  (EXTRACT(epoch FROM least(pg_catalog.now(),
     (SELECT min(xact_start) FROM pg_catalog.pg_stat_activity
      WHERE backend_xid IS NOT NULL AND datname = pg_catalog.current_database()),
     (SELECT min(prepared) FROM pg_catalog.pg_prepared_xacts
      WHERE database = pg_catalog.current_database()))
     - '2000-01-01 00:00+00'::timestamptz) * 1000000)::bigint,
  NOT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
    OR EXISTS (SELECT FROM pg_catalog.pg_stat_activity
      WHERE backend_xid IS NOT NULL AND xact_start IS NULL
        AND (datname IS NULL OR datname = pg_catalog.current_database())))";

// The xid in a Begin, `Message` field 1, its field 3.
uint32_t XidOf(const Event& event) {
  for (wire::Reader message(event.message); message.Next();) {
    if (message.field() != 1 || !message.is_bytes()) continue;
    for (wire::Reader begin(message.bytes()); begin.Next();) {
      if (begin.field() == 3 && begin.is_number()) return static_cast<uint32_t>(begin.number());
    }
  }
  return 0;
}

}  // namespace

CapturedXids::Entry::Entry(Entry&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), run_(other.run_), ticket_(other.ticket_) {}

CapturedXids::Entry::~Entry() {
  if (owner_ != nullptr) owner_->Leave(run_, ticket_);
}

CapturedXids::CapturedXids(EventStore& store, CapturedXidsOptions options)
    : store_(store), options_(std::move(options)) {}

CapturedXids::~CapturedXids() {
  MutexLock lock(start_mutex_);
  thread_ = {};
}

absl::StatusOr<CapturedXids::Entry> CapturedXids::Enter(Connection& source,
                                                        const std::stop_token& stop) {
  MutexLock start_lock(start_mutex_);
  {
    MutexLock lock(mutex_);
    if (running_) return Entry(this, run_, pending_.Enter());
  }
  thread_ = {};  // it has ended, or is about to
  PGC_ASSIGN_OR_RETURN(std::unique_ptr<EventReader> reader, Open(source, stop));
  MutexLock lock(mutex_);
  running_ = true;
  failed_ = absl::OkStatus();
  pending_ = {};
  position_ = reader->start();
  used_ = steady_clock::now();
  ++run_;
  thread_ = std::jthread([this, owned = std::move(reader)](const std::stop_token& stop_following) {
    Follow(*owned, stop_following);
  });
  return Entry(this, run_, pending_.Enter());
}

absl::StatusOr<std::unique_ptr<EventReader>> CapturedXids::Open(Connection& source,
                                                                const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const Result running, source.Query(kRunningSql, {}, stop));
  PGC_ASSIGN_OR_RETURN(first_snapshot_, ParseSnapshot(running.Text(0, 0)));
  const auto topic = store_.Describe(options_.topic);
  if (absl::IsNotFound(topic.status())) {
    return absl::UnavailableError(
        fmt::format("nothing was captured of topic {} yet", options_.topic));
  }
  PGC_RETURN_IF_ERROR(topic.status());
  first_end_ = topic->newest;
  if (!running.Bool(0, 2)) {
    auto reader = store_.OpenReader(
        options_.topic,
        {.start = FromTime{{running.Int(0, 1) - options_.clock_margin.count() * 1000}},
         .cursor = {}});
    // Retention has removed some of it, under a transaction that runs for longer than it keeps.
    if (!absl::IsDataLoss(reader.status())) return reader;
  }
  return store_.OpenReader(options_.topic, {.start = FromBeginning{}, .cursor = {}});
}

void CapturedXids::Follow(EventReader& reader, const std::stop_token& stop) {
  absl::Status status;
  while (status.ok() && !HasEnded()) status = Read(reader, stop);
  sql_ = nullptr;
  if (!status.ok() && !absl::IsCancelled(status)) {
    log::Warning("the log of the source is not followed any more for dumps",
                 {{"topic", options_.topic}, {"error", std::string(status.message())}});
  }
  MutexLock lock(mutex_);
  running_ = false;
  failed_ = status;
  moved_.NotifyAll();
}

// Whether nobody needs it any more; if so it is over.
bool CapturedXids::HasEnded() {
  MutexLock lock(mutex_);
  if (!pending_.idle() || steady_clock::now() < used_ + options_.idle) return false;
  running_ = false;
  return true;
}

absl::Status CapturedXids::Read(EventReader& reader, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const EventSlice slice, reader.Next(stop));
  std::vector<std::pair<uint32_t, Lsn>> begun;
  Checkpoint last;
  for (SliceCursor cursor(slice); cursor.Next();) {
    last = cursor.event().checkpoint;
    if (cursor.event().kind != EventKind::kBegin) continue;
    const uint32_t xid = XidOf(cursor.event());
    // Later ones may be two thousand million transactions away from the first snapshot.
    if (last <= first_end_ && first_snapshot_.Sees(xid)) continue;
    begun.emplace_back(xid, last.lsn);
  }
  size_t pending = 0;
  {
    MutexLock lock(mutex_);
    for (const auto& [xid, lsn] : begun) pending_.Add(xid, lsn);
    position_ = last;
    pending = pending_.size();
    moved_.NotifyAll();
  }
  return pending > options_.most_pending ? LookAtPending(stop) : absl::OkStatus();
}

// A dump that takes its time must not make the list grow.
absl::Status CapturedXids::LookAtPending(const std::stop_token& stop) {
  if (sql_ == nullptr) {
    auto opened = Connection::Open(options_.url, {.application_name = "pgcapture_dump"}, stop);
    if (absl::IsCancelled(opened.status())) return opened.status();
    if (!opened.ok()) return absl::UnavailableError(opened.status().message());
    sql_ = *std::move(opened);
  }
  PendingXids::Ticket ticket = 0;
  {
    MutexLock lock(mutex_);
    ticket = pending_.Enter();
  }
  absl::StatusOr<PgSnapshot> snapshot = [&]() -> absl::StatusOr<PgSnapshot> {
    PGC_ASSIGN_OR_RETURN(const Result row,
                         sql_->Query("SELECT pg_catalog.pg_current_snapshot()", {}, stop));
    return ParseSnapshot(row.Text(0, 0));
  }();
  MutexLock lock(mutex_);
  if (snapshot.ok()) (void)pending_.Place(ticket, *snapshot, {});
  pending_.Leave(ticket);
  return snapshot.status();
}

absl::StatusOr<Lsn> CapturedXids::Place(const Entry& entry, const PgSnapshot& snapshot,
                                        const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(const TopicInfo topic, store_.Describe(options_.topic));
  MutexLock lock(mutex_);
  const uint64_t run = entry.run_;
  moved_.WaitUntil(mutex_, stop, steady_clock::now() + kReadWait, [&]() PGC_REQUIRES(mutex_) {
    return run_ != run || !running_ || position_ >= topic.newest;
  });
  if (stop.stop_requested()) return absl::CancelledError("stopped");
  if (run_ != run || !running_) {
    return failed_.ok() || absl::IsCancelled(failed_)
               ? absl::UnavailableError("the log of the source is not followed any more")
               : failed_;
  }
  return pending_.Place(entry.ticket_, snapshot, position_.lsn);
}

void CapturedXids::Leave(uint64_t run, PendingXids::Ticket ticket) {
  MutexLock lock(mutex_);
  used_ = steady_clock::now();
  if (run == run_) pending_.Leave(ticket);
}

size_t CapturedXids::pending() const {
  MutexLock lock(mutex_);
  return pending_.size();
}

bool CapturedXids::following() const {
  MutexLock lock(mutex_);
  return running_;
}

}  // namespace pgc
