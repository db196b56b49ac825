// The schedules of all uris, and the clients that take their dumps; no gRPC.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "controller/schedule.h"
#include "controller/schedule_store.h"

namespace pgc {

// A client, as the controller sees it. Called with the controller's mutex held: it must not call
// back from within.
class DumpTaker {
 public:
  virtual ~DumpTaker() = default;
  // Only after the client said that it wants one; it may have ended meanwhile.
  virtual void Give(const Dump& dump) = 0;
  // What it said with Begun is on the disk.
  virtual void Noted() = 0;
  // Nothing can be given any more, for this reason.
  virtual void Fail(const absl::Status& status) = 0;
};

// Who takes dumps of a uri.
struct DumpClient {
  uint64_t consumer = 0;  // clients of one, but 0, rest together
  std::string peer = {};
  std::string hold = {};  // why it takes none now; empty: it does
  bool repeats = false;   // it can repeat what is owed
};

struct JobInfo {
  uint64_t job = 0;
  std::string schema;
  std::string table;
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t pages_done = 0;
  uint32_t in_hand = 0;
  bool sweeping = false;
  JobProgress progress;
};

struct ConsumerInfo {
  std::string peer;
  std::string hold;
  bool has_dump = false;
};

struct UriInfo {
  std::string uri;
  bool scheduled = false;
  bool paused = false;
  uint64_t jobs_total = 0;
  uint64_t jobs_done = 0;
  uint64_t jobs_failed = 0;
  // The rest for Status only.
  uint64_t rows = 0;
  uint64_t bytes = 0;
  double rows_per_second = 0;
  double seconds_left = -1;  // below 0: not known
  std::chrono::nanoseconds cool_down{0};
  std::vector<JobInfo> jobs;
  std::vector<ConsumerInfo> consumers;
};

// Thread-safe. One thread gives dumps when cool-downs end, one writes progress to the disk.
//
// A schedule and what changes it are on the disk when the call returns; progress is within a tenth
// of a second, so that after a crash a dump may be given again, and none is left out.
// Errors: FailedPrecondition: already scheduled, or the disk. ResourceExhausted: too many.
class Controller {
 public:
  using Client = Schedule::Client;
  static constexpr size_t kMaxUris = 10'000;
  // Of those that are done and have no client; the oldest are forgotten.
  static constexpr size_t kMaxDoneUris = 1'000;
  // Of those that StartOnce remembers; the oldest are forgotten.
  static constexpr size_t kMaxOnceUris = 100'000;
  static constexpr size_t kMaxUriBytes = 1'024;
  static constexpr size_t kMaxShownJobs = 1'000;

  struct Options {
    std::filesystem::path data_dir;  // empty: in memory
    ScheduleOptions schedule;
  };
  static absl::StatusOr<std::unique_ptr<Controller>> Open(const Options& options);
  ~Controller();

  // `taker` is called until Detach.
  absl::StatusOr<Client> Attach(const std::string& uri, DumpClient is, DumpTaker& taker);
  // The client, which has none, takes the next dump.
  void Want(Client client);
  // It is about to send rows of the dump in hand; not before Noted.
  // InvalidArgument: a name or a place too long.
  absl::Status Begun(Client client, const DumpBegun& begun);
  // InvalidArgument: it has none in hand.
  absl::Status Answer(Client client, const DumpAnswer& answer);
  // Gives back what it has.
  void Detach(Client client);

  // `jobs` is built by JobList::Add with options().pages_per_dump.
  // FailedPrecondition: something is scheduled.
  absl::Status Start(const std::string& uri, JobList jobs);
  // In the place of what is scheduled, in one write.
  absl::Status Replace(const std::string& uri, JobList jobs);
  // As Replace, once for each uri: false, and nothing is changed, when it
  // has done so before, whatever became of it.
  absl::StatusOr<bool> StartOnce(const std::string& uri, JobList jobs);
  absl::Status Stop(const std::string& uri);
  absl::Status SetCoolDown(const std::string& uri, std::chrono::nanoseconds duration);
  absl::Status Pause(const std::string& uri, bool paused);
  UriInfo Status(const std::string& uri);
  std::vector<UriInfo> List();

  const ScheduleOptions& options() const { return options_.schedule; }

 private:
  using Time = Schedule::Time;

  // Of the calls that are one consumer's.
  struct Consumer {
    std::optional<Time> answered;
    size_t in_hand = 0;
  };
  struct Uri {
    explicit Uri(const ScheduleOptions& options) : schedule(options) {}
    Schedule schedule;
    ScheduleRecord record;  // its number is 0 as long as nothing was scheduled
    std::deque<Client> waiting;
    size_t clients = 0;
    std::map<uint64_t, std::weak_ptr<Consumer>> consumers;
    std::optional<Time> timer;
    std::deque<std::pair<Time, uint64_t>> rows;  // delivered until then
    uint64_t delivered = 0;
    Time begun;                // the rate of pages is counted from here,
    uint64_t begun_pages = 0;  // with this many
  };
  struct Taker {
    std::string uri;
    DumpClient is;
    DumpTaker* taker = nullptr;
    std::shared_ptr<Consumer> consumer;
  };

  explicit Controller(Options options) : options_(std::move(options)) {}
  absl::Status Load();
  void StartThreads();

  absl::StatusOr<Uri*> FindOrMake(const std::string& uri) PGC_REQUIRES(mutex_);
  absl::StatusOr<const Taker*> FindTaker(Client client) const PGC_REQUIRES(mutex_);
  static std::shared_ptr<Consumer> ConsumerOf(Uri& uri, uint64_t number);
  static bool IsResting(const Uri& uri, const Consumer& consumer, Time now,
                        std::optional<Time>& until);
  void Dispatch(const std::string& name, Uri& uri, Time now) PGC_REQUIRES(mutex_);
  void DropIfUnused(const std::string& name) PGC_REQUIRES(mutex_);
  absl::Status ForgetOldest() PGC_REQUIRES(store_mutex_);
  absl::Status ForgetOldestOnce() PGC_REQUIRES(store_mutex_);
  enum class Starting : uint8_t { kNew, kInPlace, kOnce };
  absl::Status StartLocked(const std::string& uri, JobList jobs, Starting how)
      PGC_REQUIRES(store_mutex_);
  absl::Status CheckScheduling(const std::string& uri, Starting how) PGC_REQUIRES(mutex_);
  absl::Status ChangeRecord(const std::string& uri, void (*change)(Uri&, int64_t), int64_t value);
  void Dirty() PGC_REQUIRES(mutex_);
  absl::Status Flush();
  void FailAll(const absl::Status& status) PGC_REQUIRES(mutex_);
  UriInfo Summary(const std::string& name, const Uri& uri) const PGC_REQUIRES(mutex_);
  void RunTimer(const std::stop_token& stop);
  void RunWriter(const std::stop_token& stop);

  const Options options_;

  // Held over writes to the disk, before mutex_: what replaces a schedule and what writes its
  // progress must not overtake one another.
  Mutex store_mutex_;
  std::unique_ptr<ScheduleStore> store_;  // nullptr: in memory
  // What StartOnce has scheduled: the number that the schedule had.
  absl::flat_hash_map<std::string, uint64_t> once_ PGC_GUARDED_BY(store_mutex_);

  Mutex mutex_;
  CondVar timer_changed_;
  CondVar writer_changed_;
  std::map<std::string, Uri> uris_ PGC_GUARDED_BY(mutex_);
  absl::flat_hash_map<Client, Taker> takers_ PGC_GUARDED_BY(mutex_);
  std::multimap<Time, std::string> timers_ PGC_GUARDED_BY(mutex_);
  ScheduleStore::Counters counters_ PGC_GUARDED_BY(mutex_);
  Client next_client_ PGC_GUARDED_BY(mutex_) = 1;
  bool dirty_ PGC_GUARDED_BY(mutex_) = false;
  std::vector<Client> begun_ PGC_GUARDED_BY(mutex_);  // that wait for the disk
  absl::Status failure_ PGC_GUARDED_BY(mutex_);

  std::jthread timer_;
  std::jthread writer_;
};

}  // namespace pgc
