// What is to be dumped for one uri, cut into dumps as consumers take them.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pgc {

inline constexpr uint32_t kToTheEnd = UINT32_MAX;  // as the last page

// Which rows of a table, and what of them.
struct DumpRows {
  std::string where;
  std::vector<std::string> columns;
  std::vector<std::string> keys;

  bool operator==(const DumpRows&) const = default;
  bool IsAll() const { return where.empty() && columns.empty() && keys.empty(); }
};

// What a request asks for.
struct PageRange {
  std::string schema;
  std::string table;
  uint32_t begin = 0;
  uint32_t end = kToTheEnd;     // included
  uint32_t pages_per_dump = 0;  // 0: the schedule's choice
  // One dump, exactly as it was asked for: neither cut nor made open-ended.
  bool exact = false;
  DumpRows rows;
};

// What rows of a dump take back, from when on some may have been sent: what came to their table
// after `shown`.
struct DumpBegun {
  static constexpr size_t kMaxPlaceBytes = 1'024;

  uint64_t shown = 0;  // as a position in the log
  std::string place;   // of that, as the store names it
  std::string schema;  // as the table's changes have it
  std::string table;
  uint32_t fields = 0;  // of a row with all its values

  bool operator==(const DumpBegun&) const = default;
};

struct Dump {
  uint64_t job = 0;
  std::string schema;
  std::string table;
  uint32_t begin = 0;
  uint32_t end = 0;
  std::string server;
  uint32_t relfilenode = 0;
  bool sweep = false;
  uint64_t sweep_from = 0;
  std::shared_ptr<const DumpRows> rows;  // nullptr: all
  // No pages are to be read, but what rows took back is to be repeated.
  std::optional<DumpBegun> owed = std::nullopt;
};

enum class Requeue { kTryAgain, kServerGone, kTableChanged, kImpossible };

struct DumpAnswer {
  std::string requeue_reason;  // empty: acknowledged
  Requeue requeue = Requeue::kTryAgain;
  uint32_t pages = 0;
  std::string server;
  uint32_t relfilenode = 0;
  uint64_t sweep_from = 0;
  uint64_t rows = 0;
  uint64_t bytes = 0;
  bool no_key = false;
  bool owes = false;  // with a requeue: what its rows took back may not have come again
};

enum class JobState : uint8_t { kScheduled, kRunning, kDone, kFailed };

// A run of dumps of one job, in the order of the request.
struct Segment {
  uint32_t job = 0;  // index
  uint32_t begin = 0;
  uint32_t end = 0;  // included
  uint32_t pages_per_dump = 0;
  uint32_t next = UINT32_MAX;  // of the same job; UINT32_MAX: none
};

// A dump that was cut and is not acknowledged.
struct OpenDump {
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t tries = 0;  // that failed
  bool sweep = false;
  bool repeats = false;  // no pages, but what is owed
  std::optional<DumpBegun> began = std::nullopt;

  bool operator==(const OpenDump&) const = default;
};

// How far a job is; all that is stored of it while it runs. What lies before the cursor and is not
// open is acknowledged, so that it is as small as the number of consumers, however large the table.
struct JobProgress {
  JobState state = JobState::kScheduled;
  bool whole = false;    // cut no more, because the table has no key
  bool cautious = true;  // one dump alone, until it says which server the table is read from
  bool no_key = false;
  bool swept = false;             // the sweep has been cut
  bool failing = false;           // fails for `reason`, once nothing is owed
  uint32_t segment = UINT32_MAX;  // the cursor; UINT32_MAX: all is cut
  uint32_t page = 0;
  uint32_t pages = 0;  // of the table
  uint32_t relfilenode = 0;
  uint32_t requeues = 0;
  uint32_t restarts = 0;
  uint32_t changes = 0;       // restarts because of what was read
  uint64_t acknowledged = 0;  // dumps, since the last restart
  uint64_t sweep_from = 0;
  uint64_t rows = 0;
  uint64_t bytes = 0;
  std::string server;
  std::string reason;  // of the last requeue, restart or failure
  // Who had sent rows is gone, and perhaps did not send again what they took back: of all such rows
  // those that show least. One of `open` repeats it.
  std::optional<DumpBegun> owed;
  std::vector<OpenDump> open;

  bool operator==(const JobProgress&) const = default;
};

struct JobStatus {
  uint64_t job = 0;
  std::string_view schema;
  std::string_view table;
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t pages_done = 0;
  uint32_t in_hand = 0;
  bool sweeping = false;
  const JobProgress* progress = nullptr;
};

struct ScheduleOptions {
  uint32_t pages_per_dump = 128;
  uint32_t max_tries = 10;
};

// The jobs of one request, and their order. A job is one table's dump; its ranges may stand between
// those of other tables. Small for a million ranges.
class JobList {
 public:
  static constexpr size_t kMaxJobs = 1'000'000;
  static constexpr size_t kMaxSegments = 4'000'000;
  static constexpr size_t kMaxNameBytes = 255;
  static constexpr size_t kMaxRowsBytes = size_t{1} << 20;  // of all conditions together

  struct Job {
    uint32_t name_at = 0;
    uint8_t schema_bytes = 0;
    uint8_t table_bytes = 0;
    bool exact = false;
    bool cut_as_asked = false;  // the request says how many pages a dump has
    uint32_t first = 0;         // segment
    uint32_t last = 0;
    std::shared_ptr<const DumpRows> rows;
  };

  // InvalidArgument: begin above end, no table. ResourceExhausted: too much of something.
  absl::Status Add(const PageRange& range, uint32_t default_pages_per_dump);
  // Lets go of what was needed for adding only.
  void Finish();

  // What was stored, in its order: a job, then its segments. DataLoss: it was no list.
  absl::Status RestoreJob(const PageRange& range, bool cut_as_asked);
  absl::Status RestoreSegment(Segment segment);

  const std::vector<Job>& jobs() const { return jobs_; }
  const std::vector<Segment>& segments() const { return segments_; }
  std::string_view schema(uint32_t job) const;
  std::string_view table(uint32_t job) const;
  size_t memory_bytes() const;

 private:
  std::string KeyOf(const PageRange& range) const;
  absl::StatusOr<uint32_t> FindOrAdd(const PageRange& range);
  absl::Status AddJob(const PageRange& range);
  void AddSegment(const Segment& segment);

  std::vector<Job> jobs_;
  std::vector<Segment> segments_;
  std::string names_;
  size_t rows_bytes_ = 0;
  absl::flat_hash_map<std::string, uint32_t> by_key_;
  std::string last_key_;
  uint32_t last_job_ = 0;
};

// What is to be dumped for one uri, and who has which dump in hand.
//
// Not thread-safe; the time is passed in. A dump is cut when it is taken. Of a table that it cuts
// itself, the first is alone until it is acknowledged: its answer says which server the others are
// read from, and how many pages there are. The last one is open-ended. When all are acknowledged,
// and there were several, a sweep reads what was written meanwhile, if the answers ask for one.
// Answers for what was restarted, stopped or replaced meanwhile change nothing.
class Schedule {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Client = uint64_t;

  explicit Schedule(const ScheduleOptions& options) : options_(options) {}

  // Begins anew, with jobs numbered from `first_job`; what is in hand stays there, without effect.
  void Start(JobList list, uint64_t first_job);
  // Puts a job where it was; with all of them before the first Take. DataLoss: cannot be.
  absl::Status Restore(uint32_t job, JobProgress progress);
  void Stop();

  void Pause(bool paused) { paused_ = paused; }
  void SetCoolDown(std::chrono::nanoseconds duration) { cool_down_ = duration; }

  // When a client that last answered at `answered` may have its next dump.
  Time MayTakeAt(std::optional<Time> answered) const;
  // The next dump for `client`, which has none in hand. Nothing: there is none now.
  // Of what is owed only with `repeats`.
  std::optional<Dump> Take(Client client, bool repeats = true);
  // The client is about to send rows of the dump in hand. False as Answer.
  bool Begun(Client client, const DumpBegun& begun);
  // False when the client has none in hand.
  bool Answer(Client client, const DumpAnswer& answer, Time now);
  // The client is gone. Counts for the cool-down, and not as a try: a dump is not to blame for
  // consumers that die.
  void GiveBack(Client client, Time now);

  bool scheduled() const { return unfinished_ != 0; }
  bool paused() const { return paused_; }
  std::chrono::nanoseconds cool_down() const { return cool_down_; }
  uint64_t first_job() const { return first_job_; }
  const JobList& list() const { return list_; }
  uint64_t jobs_done() const { return done_; }
  uint64_t jobs_failed() const { return failed_; }
  uint64_t rows() const { return rows_; }
  uint64_t bytes() const { return bytes_; }
  // nullptr: the job has not begun.
  const JobProgress* progress(uint32_t job) const;
  JobStatus StatusOf(uint32_t job) const;
  // At most `max`, the unfinished first.
  std::vector<JobStatus> Jobs(size_t max) const;
  bool has_in_hand(Client client) const { return hands_.contains(client); }

  // Pages acknowledged and pages to come; the second is nothing when a table's size is not known.
  std::pair<uint64_t, std::optional<uint64_t>> Pages() const;

  // Jobs whose progress is another since the last call.
  std::vector<uint32_t> TakeChanged();

 private:
  struct Running {
    JobProgress progress;
    uint64_t generation = 0;
    uint32_t in_hand = 0;
    // Rests, each of all that was in hand, after which the server was still gone, and of the uri's
    // the one from which on the next counts.
    uint32_t gone_in_a_row = 0;
    uint64_t gone_counts_from = 0;
    uint64_t debts = 0;  // how often what is owed has become another
  };
  struct Hand {
    uint64_t epoch = 0;
    uint32_t job = 0;
    uint64_t generation = 0;
    OpenDump dump;
    std::string key;     // in in_hand_
    uint64_t rests = 0;  // of the uri, when it was given
    uint64_t debts = 0;  // of the job
  };
  struct Returned {
    uint32_t job = 0;
    uint64_t generation = 0;
    OpenDump dump;
  };

  Running& Begin(uint32_t job);
  std::optional<Dump> TakeReturned(Client client, bool repeats);
  std::optional<Dump> TakeNext(Client client);
  OpenDump Cut(uint32_t job, const JobProgress& at, uint32_t& next_segment,
               uint32_t& next_page) const;
  std::optional<Dump> Give(Client client, uint32_t job, const OpenDump& dump);
  std::string InHandKey(uint32_t job, const OpenDump& dump) const;
  uint32_t NextUnstarted();
  void SkipStarted();

  void Acknowledge(uint32_t job, const OpenDump& dump, const DumpAnswer& answer);
  void Owe(uint32_t job, const std::optional<DumpBegun>& began);
  void AddOwed(uint32_t job, const DumpBegun& began);
  void OweOpen(uint32_t job);
  void ReturnOwed(uint32_t job);
  void Repeated(const Hand& hand);
  void TakeBack(const Hand& hand, const DumpAnswer& answer);
  // Whether the answer comes from where the job's other dumps were read.
  std::string Contradiction(const JobProgress& at, const DumpAnswer& answer) const;
  void Restart(uint32_t job, std::string_view reason, bool counts);
  bool IsWhole(uint32_t job) const;
  void Fail(uint32_t job, std::string_view reason);
  void FailFor(uint32_t job, const OpenDump& dump, std::string_view reason);
  void Settle(uint32_t job);
  void Return(uint32_t job, OpenDump dump);
  void CountRequeue(const Hand& hand, Time now);
  void Unready(uint32_t job);
  uint64_t PagesDone(uint32_t job) const;
  void Changed(uint32_t job) { changed_.insert(job); }

  const ScheduleOptions options_;
  JobList list_;
  uint64_t first_job_ = 0;
  uint64_t epoch_ = 0;
  uint64_t generations_ = 0;
  bool paused_ = false;
  std::chrono::nanoseconds cool_down_{0};
  uint32_t requeues_in_a_row_ = 0;  // without those of dumps that were given before the last rest
  uint64_t rests_ = 0;
  Time last_requeue_;

  // One for each job that has begun, by index.
  std::vector<std::unique_ptr<Running>> running_;
  uint32_t unstarted_ = 0;                         // no segment before it is of an unstarted job
  std::set<std::pair<uint32_t, uint32_t>> ready_;  // cursor and job, of those that can be cut
  std::deque<Returned> returned_;                  // next in line
  absl::flat_hash_map<Client, Hand> hands_;
  absl::flat_hash_set<std::string> in_hand_;  // what no two clients may have at a time
  absl::flat_hash_set<uint32_t> changed_;
  uint64_t unfinished_ = 0;
  uint64_t done_ = 0;
  uint64_t failed_ = 0;
  uint64_t rows_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace pgc
