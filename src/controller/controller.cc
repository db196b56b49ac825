#include "controller/controller.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kFlushInterval{50};
constexpr seconds kRateWindow{30};

double Seconds(Schedule::Time::duration time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Controller>> Controller::Open(const Options& options) {
  std::unique_ptr<Controller> controller(new Controller(options));
  if (!options.data_dir.empty()) {
    PGC_ASSIGN_OR_RETURN(controller->store_, ScheduleStore::Open(options.data_dir));
    PGC_RETURN_IF_ERROR(controller->Load());
  }
  controller->StartThreads();
  return controller;
}

absl::Status Controller::Load() {
  MutexLock store_lock(store_mutex_);
  PGC_ASSIGN_OR_RETURN(const auto once, store_->LoadOnce());
  once_.insert(once.begin(), once.end());
  MutexLock lock(mutex_);
  return store_->Load(
      counters_, [this](ScheduleStore::Stored stored) PGC_NO_THREAD_SAFETY_ANALYSIS {
        Uri& uri = uris_.try_emplace(stored.uri, options_.schedule).first->second;
        uri.record = stored.record;
        if (!stored.record.active) return absl::OkStatus();
        uri.schedule.Start(std::move(stored.jobs), stored.record.first_job);
        uri.schedule.Pause(stored.record.paused);
        uri.schedule.SetCoolDown(std::chrono::nanoseconds(stored.record.cool_down_ns));
        for (auto& [job, progress] : stored.progress) {
          PGC_RETURN_IF_ERROR(uri.schedule.Restore(job, std::move(progress)));
        }
        uri.begun = std::chrono::steady_clock::now();
        uri.begun_pages = uri.schedule.Pages().first;
        if (uri.schedule.scheduled()) {
          log::Info("a schedule goes on",
                    {{"uri", stored.uri},
                     {"tables", std::to_string(uri.schedule.list().jobs().size())},
                     {"done", std::to_string(uri.schedule.jobs_done())}});
        }
        return absl::OkStatus();
      });
}

void Controller::StartThreads() {
  timer_ = std::jthread([this](const std::stop_token& stop) { RunTimer(stop); });
  if (store_ == nullptr) return;
  writer_ = std::jthread([this](const std::stop_token& stop) { RunWriter(stop); });
}

Controller::~Controller() {
  timer_ = {};
  writer_ = {};
  if (store_ != nullptr) (void)Flush();
}

// --- Clients

absl::StatusOr<Controller::Uri*> Controller::FindOrMake(const std::string& uri) {
  if (uri.empty()) return absl::InvalidArgumentError("the uri is empty");
  if (uri.size() > kMaxUriBytes) {
    return absl::InvalidArgumentError(fmt::format("a uri of more than {} bytes", kMaxUriBytes));
  }
  const auto found = uris_.find(uri);
  if (found != uris_.end()) return &found->second;
  if (uris_.size() >= kMaxUris) {
    return absl::ResourceExhaustedError(fmt::format(
        "{} uris have a schedule or a consumer: stop one (dump --stop) to make room", kMaxUris));
  }
  return &uris_.try_emplace(uri, options_.schedule).first->second;
}

absl::StatusOr<Controller::Client> Controller::Attach(const std::string& uri, DumpClient is,
                                                      DumpTaker& taker) {
  MutexLock lock(mutex_);
  PGC_RETURN_IF_ERROR(failure_);
  PGC_ASSIGN_OR_RETURN(Uri* const of, FindOrMake(uri));
  ++of->clients;
  const Client client = next_client_++;
  const auto consumer = ConsumerOf(*of, is.consumer);
  takers_[client] = {.uri = uri, .is = std::move(is), .taker = &taker, .consumer = consumer};
  return client;
}

std::shared_ptr<Controller::Consumer> Controller::ConsumerOf(Uri& uri, uint64_t number) {
  if (number == 0) return std::make_shared<Consumer>();
  std::erase_if(uri.consumers, [](const auto& known) { return known.second.expired(); });
  auto consumer = uri.consumers[number].lock();
  if (consumer == nullptr) uri.consumers[number] = consumer = std::make_shared<Consumer>();
  return consumer;
}

void Controller::Want(Client client) {
  MutexLock lock(mutex_);
  const auto found = takers_.find(client);
  if (found == takers_.end() || !found->second.is.hold.empty()) return;
  const std::string name = found->second.uri;
  Uri& uri = uris_.at(name);
  uri.waiting.push_back(client);
  Dispatch(name, uri, std::chrono::steady_clock::now());
}

absl::StatusOr<const Controller::Taker*> Controller::FindTaker(Client client) const {
  PGC_RETURN_IF_ERROR(failure_);
  const auto found = takers_.find(client);
  if (found == takers_.end()) return absl::InvalidArgumentError("no client");
  return &found->second;
}

absl::Status Controller::Begun(Client client, const DumpBegun& begun) {
  const bool is_short = begun.place.size() <= DumpBegun::kMaxPlaceBytes &&
                        begun.schema.size() <= JobList::kMaxNameBytes &&
                        begun.table.size() <= JobList::kMaxNameBytes;
  if (!is_short) return absl::InvalidArgumentError("rows begin with a name or a place too long");
  MutexLock lock(mutex_);
  PGC_ASSIGN_OR_RETURN(const Taker* const taker, FindTaker(client));
  Uri& uri = uris_.at(taker->uri);
  // It may have answered meanwhile.
  (void)uri.schedule.Begun(client, begun);
  Dispatch(taker->uri, uri, std::chrono::steady_clock::now());
  if (store_ == nullptr) {
    taker->taker->Noted();
    return absl::OkStatus();
  }
  begun_.push_back(client);
  dirty_ = true;
  writer_changed_.NotifyAll();
  return absl::OkStatus();
}

absl::Status Controller::Answer(Client client, const DumpAnswer& answer) {
  MutexLock lock(mutex_);
  PGC_ASSIGN_OR_RETURN(const Taker* const taker, FindTaker(client));
  Uri& uri = uris_.at(taker->uri);
  const Time now = std::chrono::steady_clock::now();
  if (!uri.schedule.Answer(client, answer, now)) {
    return absl::InvalidArgumentError("an answer, but no dump is in hand");
  }
  Consumer& consumer = *taker->consumer;
  consumer.answered = now;
  --consumer.in_hand;
  if (answer.requeue_reason.empty()) uri.delivered += answer.rows;
  if (uri.rows.empty() || now - uri.rows.back().first >= seconds(1)) {
    uri.rows.emplace_back(now, uri.delivered);
    while (now - uri.rows.front().first > kRateWindow) uri.rows.pop_front();
  }
  Dirty();
  Dispatch(taker->uri, uri, now);
  return absl::OkStatus();
}

void Controller::Detach(Client client) {
  MutexLock lock(mutex_);
  const auto node = takers_.extract(client);
  if (node.empty()) return;
  const std::string& name = node.mapped().uri;
  Uri& uri = uris_.at(name);
  const Time now = std::chrono::steady_clock::now();
  std::erase(uri.waiting, client);
  if (uri.schedule.has_in_hand(client)) {
    uri.schedule.GiveBack(client, now);
    --node.mapped().consumer->in_hand;
    Dirty();
  }
  --uri.clients;
  Dispatch(name, uri, now);
  DropIfUnused(name);
}

// One that was only asked about, or whose clients are gone, has nothing worth keeping.
void Controller::DropIfUnused(const std::string& name) {
  const auto found = uris_.find(name);
  if (found == uris_.end()) return;
  const Uri& uri = found->second;
  if (uri.clients == 0 && uri.record.schedule == 0) uris_.erase(found);
}

// Where there is a cool-down, a consumer has one dump at a time. `until` is brought forward to when
// it may have the next.
bool Controller::IsResting(const Uri& uri, const Consumer& consumer, Time now,
                           std::optional<Time>& until) {
  if (uri.schedule.cool_down().count() > 0 && consumer.in_hand > 0) return true;
  const Time at = uri.schedule.MayTakeAt(consumer.answered);
  if (at > now) until = until ? std::min(*until, at) : at;
  return at > now;
}

void Controller::Dispatch(const std::string& name, Uri& uri, Time now) {
  std::optional<Time> next;
  for (auto it = uri.waiting.begin(); it != uri.waiting.end();) {
    const Taker& taker = takers_.at(*it);
    if (IsResting(uri, *taker.consumer, now, next)) {
      ++it;
      continue;
    }
    const auto dump = uri.schedule.Take(*it, taker.is.repeats);
    if (!dump && taker.is.repeats) break;
    if (!dump) {
      ++it;
      continue;
    }
    ++taker.consumer->in_hand;
    Dirty();
    taker.taker->Give(*dump);
    it = uri.waiting.erase(it);
  }
  if (!next || !uri.schedule.scheduled() || (uri.timer && *uri.timer <= *next)) return;
  uri.timer = *next;
  timers_.emplace(*next, name);
  timer_changed_.NotifyAll();
}

void Controller::RunTimer(const std::stop_token& stop) {
  MutexLock lock(mutex_);
  while (!stop.stop_requested()) {
    if (timers_.empty()) {
      timer_changed_.Wait(mutex_, stop, [this]() PGC_REQUIRES(mutex_) { return !timers_.empty(); });
      continue;
    }
    const Time due = timers_.begin()->first;
    const Time now = std::chrono::steady_clock::now();
    if (now < due) {
      timer_changed_.WaitUntil(mutex_, stop, due, [this, due]() PGC_REQUIRES(mutex_) {
        return timers_.empty() || timers_.begin()->first < due;
      });
      continue;
    }
    const std::string name = timers_.begin()->second;
    timers_.erase(timers_.begin());
    const auto found = uris_.find(name);
    if (found == uris_.end()) continue;
    if (found->second.timer == due) found->second.timer.reset();
    Dispatch(name, found->second, now);
  }
}

// --- The disk

void Controller::Dirty() {
  if (store_ == nullptr || dirty_) return;
  dirty_ = true;
  writer_changed_.NotifyAll();
}

void Controller::RunWriter(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    {
      MutexLock lock(mutex_);
      if (!writer_changed_.Wait(mutex_, stop, [this]() PGC_REQUIRES(mutex_) { return dirty_; })) {
        return;
      }
    }
    const absl::Status status = Flush();
    if (!status.ok()) {
      log::Error(std::string(status.message()));
      return;
    }
    // What comes meanwhile is one write, unless somebody waits for it.
    MutexLock lock(mutex_);
    writer_changed_.WaitUntil(mutex_, stop, std::chrono::steady_clock::now() + kFlushInterval,
                              [this]() PGC_REQUIRES(mutex_) { return !begun_.empty(); });
  }
}

absl::Status Controller::Flush() {
  MutexLock store_lock(store_mutex_);
  std::vector<ScheduleStore::Progress> all;
  std::vector<Client> begun;
  {
    MutexLock lock(mutex_);
    dirty_ = false;
    begun.swap(begun_);
    for (auto& [name, uri] : uris_) {
      for (const uint32_t job : uri.schedule.TakeChanged()) {
        all.push_back({.schedule = uri.record.schedule,
                       .job = job,
                       .bytes = EncodeProgress(*uri.schedule.progress(job))});
      }
    }
  }
  absl::Status status = all.empty() ? absl::OkStatus() : store_->SaveProgress(all);
  MutexLock lock(mutex_);
  if (!status.ok()) {
    FailAll(status);
    return status;
  }
  for (const Client client : begun) {
    const auto found = takers_.find(client);
    if (found != takers_.end()) found->second.taker->Noted();
  }
  return status;
}

void Controller::FailAll(const absl::Status& status) {
  failure_ = status;
  for (auto& [client, taker] : takers_) taker.taker->Fail(status);
}

// --- Schedules

absl::Status Controller::CheckScheduling(const std::string& uri, Starting how) {
  PGC_RETURN_IF_ERROR(failure_);
  PGC_ASSIGN_OR_RETURN(const Uri* const of, FindOrMake(uri));
  if (how != Starting::kNew || !of->schedule.scheduled()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("already scheduled: {}", uri));
}

absl::Status Controller::ForgetOldest() {
  const auto is_done = [](const Uri& uri) {
    return uri.record.schedule != 0 && uri.clients == 0 && !uri.schedule.scheduled();
  };
  std::string name;
  uint64_t oldest = UINT64_MAX;
  {
    MutexLock lock(mutex_);
    size_t done = 0;
    for (const auto& [known, uri] : uris_) {
      if (!is_done(uri)) continue;
      ++done;
      if (uri.record.schedule >= oldest) continue;
      oldest = uri.record.schedule;
      name = known;
    }
    if (done <= kMaxDoneUris) return absl::OkStatus();
  }
  if (store_ != nullptr) PGC_RETURN_IF_ERROR(store_->Remove(name, oldest));
  MutexLock lock(mutex_);
  const auto found = uris_.find(name);
  if (found == uris_.end()) return absl::OkStatus();
  // A client may have come meanwhile.
  found->second.record = {};
  found->second.schedule.Stop();
  DropIfUnused(name);
  return absl::OkStatus();
}

absl::Status Controller::ForgetOldestOnce() {
  if (once_.size() < kMaxOnceUris) return absl::OkStatus();
  const auto oldest = std::min_element(
      once_.begin(), once_.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (store_ != nullptr) PGC_RETURN_IF_ERROR(store_->ForgetOnce(oldest->first));
  once_.erase(oldest);
  return absl::OkStatus();
}

absl::Status Controller::Start(const std::string& uri, JobList jobs) {
  MutexLock store_lock(store_mutex_);
  return StartLocked(uri, std::move(jobs), Starting::kNew);
}

absl::Status Controller::Replace(const std::string& uri, JobList jobs) {
  MutexLock store_lock(store_mutex_);
  return StartLocked(uri, std::move(jobs), Starting::kInPlace);
}

absl::StatusOr<bool> Controller::StartOnce(const std::string& uri, JobList jobs) {
  MutexLock store_lock(store_mutex_);
  if (once_.contains(uri)) return false;
  PGC_RETURN_IF_ERROR(StartLocked(uri, std::move(jobs), Starting::kOnce));
  return true;
}

absl::Status Controller::StartLocked(const std::string& uri, JobList jobs, Starting how) {
  const bool once = how == Starting::kOnce;
  PGC_RETURN_IF_ERROR(ForgetOldest());
  ScheduleRecord record;
  uint64_t before = 0;
  ScheduleStore::Counters counters;
  {
    MutexLock lock(mutex_);
    if (absl::Status status = CheckScheduling(uri, how); !status.ok()) {
      DropIfUnused(uri);
      return status;
    }
    before = uris_.at(uri).record.schedule;
    record.schedule = counters_.next_schedule++;
    record.first_job = counters_.next_job;
    record.active = true;
    counters_.next_job += jobs.jobs().size();
    counters = counters_;
  }
  if (once) PGC_RETURN_IF_ERROR(ForgetOldestOnce());
  if (store_ != nullptr) {
    PGC_RETURN_IF_ERROR(store_->Replace(uri, before, record, jobs, counters, once));
  }
  if (once) once_[uri] = record.schedule;
  MutexLock lock(mutex_);
  Uri& of = uris_.try_emplace(uri, options_.schedule).first->second;
  of.record = record;
  of.schedule.Start(std::move(jobs), record.first_job);
  const Time now = std::chrono::steady_clock::now();
  of.begun = now;
  of.begun_pages = 0;
  of.rows.clear();
  Dispatch(uri, of, now);
  return absl::OkStatus();
}

absl::Status Controller::Stop(const std::string& uri) {
  MutexLock store_lock(store_mutex_);
  uint64_t schedule = 0;
  {
    MutexLock lock(mutex_);
    PGC_RETURN_IF_ERROR(failure_);
    const auto found = uris_.find(uri);
    if (found == uris_.end() || found->second.record.schedule == 0) return absl::OkStatus();
    schedule = found->second.record.schedule;
  }
  if (store_ != nullptr) PGC_RETURN_IF_ERROR(store_->Remove(uri, schedule));
  MutexLock lock(mutex_);
  Uri& of = uris_.at(uri);
  of.record = {};
  of.schedule.Stop();
  DropIfUnused(uri);
  return absl::OkStatus();
}

absl::Status Controller::ChangeRecord(const std::string& uri, void (*change)(Uri&, int64_t),
                                      int64_t value) {
  MutexLock store_lock(store_mutex_);
  ScheduleRecord record;
  {
    MutexLock lock(mutex_);
    PGC_RETURN_IF_ERROR(failure_);
    const auto found = uris_.find(uri);
    if (found == uris_.end() || !found->second.schedule.scheduled()) return absl::OkStatus();
    change(found->second, value);
    record = found->second.record;
    found->second.timer.reset();
    Dispatch(uri, found->second, std::chrono::steady_clock::now());
  }
  return store_ == nullptr ? absl::OkStatus() : store_->SaveRecord(uri, record);
}

absl::Status Controller::SetCoolDown(const std::string& uri, std::chrono::nanoseconds duration) {
  const auto set = [](Uri& of, int64_t ns) {
    of.record.cool_down_ns = ns;
    of.schedule.SetCoolDown(std::chrono::nanoseconds(ns));
  };
  return ChangeRecord(uri, set, duration.count());
}

absl::Status Controller::Pause(const std::string& uri, bool paused) {
  const auto set = [](Uri& of, int64_t pauses) {
    of.record.paused = pauses != 0;
    of.schedule.Pause(pauses != 0);
  };
  return ChangeRecord(uri, set, paused ? 1 : 0);
}

// --- What is shown

UriInfo Controller::Summary(const std::string& name, const Uri& uri) const {
  UriInfo info;
  info.uri = name;
  info.scheduled = uri.schedule.scheduled();
  info.paused = uri.schedule.paused();
  info.jobs_total = uri.schedule.list().jobs().size();
  info.jobs_done = uri.schedule.jobs_done();
  info.jobs_failed = uri.schedule.jobs_failed();
  return info;
}

UriInfo Controller::Status(const std::string& name) {
  MutexLock lock(mutex_);
  const auto found = uris_.find(name);
  if (found == uris_.end()) {
    UriInfo info;
    info.uri = name;
    return info;
  }
  const Uri& uri = found->second;
  UriInfo info = Summary(name, uri);
  info.rows = uri.schedule.rows();
  info.bytes = uri.schedule.bytes();
  info.cool_down = uri.schedule.cool_down();
  const Time now = std::chrono::steady_clock::now();
  for (const auto& [at, delivered] : uri.rows) {
    if (now - at > kRateWindow) continue;
    const double time = std::max(1.0, Seconds(now - at));
    info.rows_per_second = static_cast<double>(uri.delivered - delivered) / time;
    break;
  }
  const auto [done, left] = uri.schedule.Pages();
  if (left && done > uri.begun_pages) {
    const double rate = static_cast<double>(done - uri.begun_pages) / Seconds(now - uri.begun);
    info.seconds_left = static_cast<double>(*left) / rate;
  }
  for (const JobStatus& job : uri.schedule.Jobs(kMaxShownJobs)) {
    info.jobs.push_back({.job = job.job,
                         .schema = std::string(job.schema),
                         .table = std::string(job.table),
                         .begin = job.begin,
                         .end = job.end,
                         .pages_done = job.pages_done,
                         .in_hand = job.in_hand,
                         .sweeping = job.sweeping,
                         .progress = job.progress == nullptr ? JobProgress() : *job.progress});
  }
  for (const auto& [client, taker] : takers_) {
    if (taker.uri != name) continue;
    info.consumers.push_back({.peer = taker.is.peer,
                              .hold = taker.is.hold,
                              .has_dump = uri.schedule.has_in_hand(client)});
  }
  std::sort(info.consumers.begin(), info.consumers.end(),
            [](const ConsumerInfo& a, const ConsumerInfo& b) { return a.peer < b.peer; });
  return info;
}

std::vector<UriInfo> Controller::List() {
  MutexLock lock(mutex_);
  std::vector<UriInfo> all;
  for (const auto& [name, uri] : uris_) {
    if (uri.record.schedule != 0) all.push_back(Summary(name, uri));
  }
  return all;
}

}  // namespace pgc
