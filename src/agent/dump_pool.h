// Who reads which dump from which server, and who waits.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "dump/dump_server.h"

namespace pgc {

// What a pool runs on one of its servers. One thread at a time calls it.
class ServerJob {
 public:
  virtual ~ServerJob() = default;

  virtual absl::Status RunOn(DumpServer& server, std::stop_token stop) = 0;
  // Whether another server can still begin it anew.
  virtual bool may_begin_anew() const = 0;
  // How it ended; called once, by a thread of the pool or within a call of the pool. It must not
  // call the pool.
  virtual void Done(absl::Status status) = 0;

  // The only server that may run it, by its identity.
  std::optional<uint64_t> server;
  // How long a server that is behind is waited for.
  std::chrono::milliseconds catch_up_time{0};
};

struct DumpPoolOptions {
  int connections = 4;  // of each server; a thread for each
  size_t max_waiting = 1'000;
};

// Runs jobs on dump servers: each on the one that may run it and has the least in hand, in turn
// among equals, so that a job has a connection as soon as it runs. A job of a server that is
// Unavailable, or behind (FailedPrecondition), goes to the next that may run it, as long as it can
// begin anew; when all are behind it waits for them without holding a thread.
//
// Thread-safe but for destruction.
class DumpPool {
 public:
  explicit DumpPool(DumpPoolOptions options) : options_(options) {}
  // As Shutdown.
  ~DumpPool();
  DumpPool(const DumpPool&) = delete;
  DumpPool& operator=(const DumpPool&) = delete;

  void Add(std::shared_ptr<DumpServer> server);
  // What it runs is stopped and is UNAVAILABLE, or goes to another server. Returns when all of it
  // has ended, so not to be called by a job.
  void Remove(const std::shared_ptr<DumpServer>& server);
  bool empty() const;

  // Done is called for it in any case. ResourceExhausted: too many wait. Unavailable: none of the
  // servers may run it, or Shutdown.
  void Submit(const std::shared_ptr<ServerJob>& job);
  // Stops it where it is; Done tells Cancelled, unless it has ended before.
  void Cancel(const ServerJob& job);

  // Stops all jobs, as Unavailable, and refuses later ones.
  void Shutdown();

 private:
  using Clock = std::chrono::steady_clock;

  struct Member {
    uint64_t id = 0;
    std::shared_ptr<DumpServer> server;
    int running = 0;
    uint64_t last_used = 0;
  };
  struct Entry {
    std::shared_ptr<ServerJob> job;
    std::shared_ptr<Member> on;  // while it runs
    std::stop_source stop;       // of that run
    bool cancelled = false;
    std::vector<uint64_t> tried;   // ids of members, in the round under way
    absl::Status failed;           // what a member was in it
    absl::Status behind;           // likewise: one that may catch up
    Clock::time_point not_before;  // of the next round
    std::optional<Clock::time_point> give_up;
  };
  using EntryPtr = std::shared_ptr<Entry>;
  // Jobs that have ended, to be told so without the mutex.
  using Ended = std::vector<std::pair<EntryPtr, absl::Status>>;

  void Work(const std::stop_token& stop);
  EntryPtr TakeNext(const std::stop_token& stop, Ended& ended);
  std::optional<absl::Status> AfterRun(Entry& entry, absl::Status status) PGC_REQUIRES(mutex_);
  std::optional<absl::Status> AfterRound(Entry& entry) const PGC_REQUIRES(mutex_);
  bool MayRun(const Entry& entry, const Member& member) const PGC_REQUIRES(mutex_);
  std::shared_ptr<Member> ChooseFor(const Entry& entry) const PGC_REQUIRES(mutex_);
  void EndHopeless(Ended& ended) PGC_REQUIRES(mutex_);
  static void Tell(Ended& ended);

  const DumpPoolOptions options_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<std::shared_ptr<Member>> members_ PGC_GUARDED_BY(mutex_);
  std::deque<EntryPtr> waiting_ PGC_GUARDED_BY(mutex_);
  std::vector<EntryPtr> running_ PGC_GUARDED_BY(mutex_);
  uint64_t last_id_ PGC_GUARDED_BY(mutex_) = 0;
  uint64_t uses_ PGC_GUARDED_BY(mutex_) = 0;
  bool is_shut_down_ PGC_GUARDED_BY(mutex_) = false;
  std::vector<std::jthread> threads_ PGC_GUARDED_BY(mutex_);
};

}  // namespace pgc
