#include "agent/dump_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace pgc {
namespace {

// How soon servers that were behind are asked again.
constexpr std::chrono::milliseconds kAskAgain{50};

absl::Status ShuttingDown() { return absl::UnavailableError("the agent is shutting down"); }

}  // namespace

DumpPool::~DumpPool() { Shutdown(); }

void DumpPool::Add(std::shared_ptr<DumpServer> server) {
  MutexLock lock(mutex_);
  if (is_shut_down_) return;
  members_.push_back(
      std::make_shared<Member>(Member{.id = ++last_id_, .server = std::move(server)}));
  while (threads_.size() < members_.size() * static_cast<size_t>(options_.connections)) {
    threads_.emplace_back([this](const std::stop_token& stop) { Work(stop); });
  }
  changed_.NotifyAll();
}

void DumpPool::Remove(const std::shared_ptr<DumpServer>& server) {
  Ended ended;
  {
    MutexLock lock(mutex_);
    const auto found = std::find_if(members_.begin(), members_.end(),
                                    [&](const auto& member) { return member->server == server; });
    if (found == members_.end()) return;
    const std::shared_ptr<Member> member = *found;
    members_.erase(found);
    for (const EntryPtr& entry : running_) {
      if (entry->on == member) entry->stop.request_stop();
    }
    EndHopeless(ended);
    while (member->running > 0) changed_.Wait(mutex_);
  }
  Tell(ended);
}

bool DumpPool::empty() const {
  MutexLock lock(mutex_);
  return members_.empty();
}

void DumpPool::Submit(const std::shared_ptr<ServerJob>& job) {
  Ended ended;
  {
    MutexLock lock(mutex_);
    const auto entry = std::make_shared<Entry>();
    entry->job = job;
    if (is_shut_down_) {
      ended.emplace_back(entry, ShuttingDown());
    } else if (waiting_.size() >= options_.max_waiting) {
      ended.emplace_back(entry, absl::ResourceExhaustedError(fmt::format(
                                    "{} dumps wait for a connection: ask for fewer at once, or "
                                    "give the agent more (--dump-connections)",
                                    waiting_.size())));
    } else {
      waiting_.push_back(entry);
      EndHopeless(ended);
      changed_.NotifyAll();
    }
  }
  Tell(ended);
}

void DumpPool::Cancel(const ServerJob& job) {
  Ended ended;
  {
    MutexLock lock(mutex_);
    const auto is_it = [&job](const EntryPtr& entry) { return entry->job.get() == &job; };
    const auto waiting = std::find_if(waiting_.begin(), waiting_.end(), is_it);
    if (waiting != waiting_.end()) {
      ended.emplace_back(*waiting, absl::CancelledError("the dump was cancelled"));
      waiting_.erase(waiting);
    }
    const auto running = std::find_if(running_.begin(), running_.end(), is_it);
    if (running != running_.end()) {
      (*running)->cancelled = true;
      (*running)->stop.request_stop();
    }
  }
  Tell(ended);
}

void DumpPool::Shutdown() {
  Ended ended;
  std::vector<std::jthread> threads;
  {
    MutexLock lock(mutex_);
    is_shut_down_ = true;
    for (const EntryPtr& entry : waiting_) ended.emplace_back(entry, ShuttingDown());
    waiting_.clear();
    for (const EntryPtr& entry : running_) entry->stop.request_stop();
    threads.swap(threads_);
  }
  Tell(ended);
  for (std::jthread& thread : threads) thread.request_stop();
}

void DumpPool::Work(const std::stop_token& stop) {
  while (true) {
    Ended ended;
    const EntryPtr entry = TakeNext(stop, ended);
    Tell(ended);
    if (entry == nullptr) {
      if (stop.stop_requested()) return;
      continue;
    }
    absl::Status status = entry->job->RunOn(*entry->on->server, entry->stop.get_token());
    ended.clear();
    {
      MutexLock lock(mutex_);
      running_.erase(std::find(running_.begin(), running_.end(), entry));
      std::optional<absl::Status> done = AfterRun(*entry, std::move(status));
      --entry->on->running;
      entry->on = nullptr;
      if (done.has_value()) {
        ended.emplace_back(entry, *std::move(done));
      } else {
        waiting_.push_front(entry);
      }
      // The others may know by now that a server is not theirs.
      EndHopeless(ended);
      changed_.NotifyAll();
    }
    Tell(ended);
  }
}

// Waits for a job that a server is free for. None when stopped, or when jobs have ended meanwhile.
DumpPool::EntryPtr DumpPool::TakeNext(const std::stop_token& stop, Ended& ended) {
  MutexLock lock(mutex_);
  while (!stop.stop_requested()) {
    EndHopeless(ended);
    if (!ended.empty()) return nullptr;
    const auto now = Clock::now();
    auto wake = now + std::chrono::hours(1);
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
      EntryPtr entry = *it;
      if (entry->not_before > now) {
        wake = std::min(wake, entry->not_before);
        continue;
      }
      entry->on = ChooseFor(*entry);
      if (entry->on == nullptr) continue;
      waiting_.erase(it);
      running_.push_back(entry);
      entry->stop = std::stop_source();
      ++entry->on->running;
      entry->on->last_used = ++uses_;
      return entry;
    }
    // Whatever changes, the list is to be looked through again.
    bool woken = false;
    changed_.WaitUntil(mutex_, stop, wake, [&woken] { return std::exchange(woken, true); });
  }
  return nullptr;
}

// The job's end, or nothing when it goes back to those that wait.
std::optional<absl::Status> DumpPool::AfterRun(Entry& entry, absl::Status status) {
  const Member& member = *entry.on;
  if (status.ok()) return status;
  if (entry.cancelled) return absl::CancelledError("the dump was cancelled");
  if (is_shut_down_) return ShuttingDown();
  const bool removed = std::find(members_.begin(), members_.end(), entry.on) == members_.end();
  if (removed) status = absl::UnavailableError("its server is not dumped from any more");
  const std::optional<uint64_t> identifier = member.server->identity();
  if (entry.job->server.has_value() && identifier != entry.job->server) {
    // What another server says about the table is no answer.
    status =
        absl::UnavailableError(identifier.has_value() ? fmt::format("a server is {}, not {}",
                                                                    *identifier, *entry.job->server)
                                                      : std::string(status.message()));
  }
  if (!entry.job->may_begin_anew()) return status;
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      entry.failed = std::move(status);
      break;
    case absl::StatusCode::kFailedPrecondition:
      entry.behind = std::move(status);
      break;
    default:
      return status;
  }
  entry.tried.push_back(member.id);
  return std::nullopt;
}

// The job's end when no server is left for it, or nothing when there is to be another round.
std::optional<absl::Status> DumpPool::AfterRound(Entry& entry) const {
  if (entry.behind.ok()) {
    if (!entry.failed.ok()) return entry.failed;
    return absl::UnavailableError(entry.job->server.has_value()
                                      ? fmt::format("none of the servers is {}", *entry.job->server)
                                      : "no server to dump from");
  }
  const auto now = Clock::now();
  if (!entry.give_up.has_value()) entry.give_up = now + entry.job->catch_up_time;
  if (now >= *entry.give_up) return entry.behind;
  entry.not_before = std::min(now + kAskAgain, *entry.give_up);
  entry.tried.clear();
  return std::nullopt;
}

bool DumpPool::MayRun(const Entry& entry, const Member& member) const {
  if (std::find(entry.tried.begin(), entry.tried.end(), member.id) != entry.tried.end()) {
    return false;
  }
  if (!entry.job->server.has_value()) return true;
  // One that was not reached yet may be it.
  return member.server->identity().value_or(*entry.job->server) == *entry.job->server;
}

// The server that is to run it now; none when those that may have no connection free.
std::shared_ptr<DumpPool::Member> DumpPool::ChooseFor(const Entry& entry) const {
  std::shared_ptr<Member> best;
  for (const auto& member : members_) {
    if (member->running >= options_.connections || !MayRun(entry, *member)) continue;
    if (best == nullptr ||
        std::pair(member->running, member->last_used) < std::pair(best->running, best->last_used)) {
      best = member;
    }
  }
  return best;
}

void DumpPool::EndHopeless(Ended& ended) {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    const EntryPtr entry = *it;
    const bool hope = std::any_of(members_.begin(), members_.end(),
                                  [&](const auto& member)
                                      PGC_REQUIRES(mutex_) { return MayRun(*entry, *member); });
    std::optional<absl::Status> end = hope ? std::nullopt : AfterRound(*entry);
    if (end.has_value()) {
      ended.emplace_back(entry, *std::move(end));
      it = waiting_.erase(it);
    } else {
      ++it;
    }
  }
}

void DumpPool::Tell(Ended& ended) {
  for (auto& [entry, status] : ended) entry->job->Done(std::move(status));
  ended.clear();
}

}  // namespace pgc
