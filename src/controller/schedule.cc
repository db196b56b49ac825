#include "controller/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/cut_text.h"

namespace pgc {
namespace {

using std::chrono::seconds;

constexpr seconds kFirstPenalty{2};
constexpr seconds kLastPenalty{512};
constexpr uint32_t kGoneInARow = 3;
// What a server or a consumer says is kept and shown: it has a bound.
constexpr size_t kMaxReasonBytes = 1'024;

// That of what fails is not replaced.
void SetReason(JobProgress& progress, std::string_view reason) {
  if (!progress.failing) progress.reason = CutText(reason, kMaxReasonBytes);
}

bool HasOpenPages(const JobProgress& progress) {
  return std::any_of(progress.open.begin(), progress.open.end(),
                     [](const OpenDump& dump) { return !dump.repeats; });
}

seconds PenaltyAfter(uint32_t requeues) {
  if (requeues == 0) return seconds(0);
  return std::min(kFirstPenalty * (1 << std::min(requeues - 1, 16u)), kLastPenalty);
}

}  // namespace

void Schedule::Start(JobList list, uint64_t first_job) {
  Stop();
  list_ = std::move(list);
  first_job_ = first_job;
  ++epoch_;
  running_.clear();
  running_.resize(list_.jobs().size());
  unstarted_ = 0;
  unfinished_ = list_.jobs().size();
  done_ = failed_ = rows_ = bytes_ = 0;
  requeues_in_a_row_ = 0;
}

void Schedule::Stop() {
  list_ = {};
  running_.clear();
  ready_.clear();
  returned_.clear();
  changed_.clear();
  ++epoch_;
  unstarted_ = 0;
  unfinished_ = done_ = failed_ = rows_ = bytes_ = 0;
  cool_down_ = std::chrono::nanoseconds(0);
  requeues_in_a_row_ = 0;
  paused_ = false;
}

// --- Taking

Schedule::Time Schedule::MayTakeAt(std::optional<Time> answered) const {
  Time at = Time::min();
  const auto penalty = PenaltyAfter(requeues_in_a_row_);
  if (requeues_in_a_row_ != 0) at = last_requeue_ + penalty;
  if (answered) {
    at = std::max(at, *answered + std::chrono::duration_cast<Time::duration>(cool_down_) + penalty);
  }
  return at;
}

std::optional<Dump> Schedule::Take(Client client, bool repeats) {
  if (paused_ || unfinished_ == 0 || hands_.contains(client)) return std::nullopt;
  if (auto dump = TakeReturned(client, repeats)) return dump;
  return TakeNext(client);
}

std::optional<Dump> Schedule::TakeReturned(Client client, bool repeats) {
  for (auto it = returned_.begin(); it != returned_.end();) {
    const Running* const running = running_[it->job].get();
    if (running->generation != it->generation) {
      it = returned_.erase(it);
      continue;
    }
    auto dump = repeats || !it->dump.repeats ? Give(client, it->job, it->dump) : std::nullopt;
    if (dump) {
      returned_.erase(it);
      return dump;
    }
    ++it;
  }
  return std::nullopt;
}

// The first segment of a job that has not begun; UINT32_MAX: there is none.
uint32_t Schedule::NextUnstarted() {
  SkipStarted();
  return unstarted_ < list_.segments().size() ? unstarted_ : UINT32_MAX;
}

void Schedule::SkipStarted() {
  const auto& segments = list_.segments();
  while (unstarted_ < segments.size() && running_[segments[unstarted_].job] != nullptr) {
    ++unstarted_;
  }
}

Schedule::Running& Schedule::Begin(uint32_t job) {
  auto& running = running_[job];
  running = std::make_unique<Running>();
  running->generation = ++generations_;
  JobProgress& progress = running->progress;
  progress.state = JobState::kRunning;
  progress.cautious = !list_.jobs()[job].exact;
  progress.segment = list_.jobs()[job].first;
  progress.page = list_.segments()[progress.segment].begin;
  return *running;
}

std::optional<Dump> Schedule::TakeNext(Client client) {
  // One at most is in hand of each client, so that only as many can stand in the way.
  auto ready = ready_.begin();
  while (true) {
    const uint32_t unstarted = NextUnstarted();
    const bool begins = ready == ready_.end() || unstarted < ready->first;
    if (begins && unstarted == UINT32_MAX) return std::nullopt;
    const uint32_t job = begins ? list_.segments()[unstarted].job : ready->second;
    Running& running = begins ? Begin(job) : *running_[job];
    JobProgress& progress = running.progress;
    uint32_t next_segment = 0;
    uint32_t next_page = 0;
    const OpenDump cut = Cut(job, progress, next_segment, next_page);
    auto dump = Give(client, job, cut);
    if (!dump) {
      if (begins) {
        Settle(job);
        ready = ready_.upper_bound({progress.segment, job});
      } else {
        ++ready;
      }
      continue;
    }
    Unready(job);
    progress.segment = next_segment;
    progress.page = next_page;
    progress.open.push_back(cut);
    Changed(job);
    Settle(job);
    return dump;
  }
}

// What is next at the cursor, and where the cursor is after it.
OpenDump Schedule::Cut(uint32_t job, const JobProgress& at, uint32_t& next_segment,
                       uint32_t& next_page) const {
  const JobList::Job& of = list_.jobs()[job];
  const Segment& segment = list_.segments()[at.segment];
  OpenDump dump{.begin = at.page, .end = segment.end};
  const uint64_t after = uint64_t{at.page} + segment.pages_per_dump;
  // Old peers do not say how many pages there are; then what is left is one dump.
  const bool is_first = at.acknowledged == 0 && !HasOpenPages(at);
  const bool size_known = !at.server.empty();
  bool is_last = after > segment.end;
  if (!of.exact) is_last = is_last || at.whole || (!is_first && (!size_known || after >= at.pages));
  if (!is_last) {
    dump.end = static_cast<uint32_t>(after - 1);
    next_segment = at.segment;
    next_page = static_cast<uint32_t>(after);
    return dump;
  }
  next_segment = segment.next;
  next_page = segment.next == UINT32_MAX ? 0 : list_.segments()[segment.next].begin;
  return dump;
}

std::string Schedule::InHandKey(uint32_t job, const OpenDump& dump) const {
  return fmt::format("{}\n{}\n{} {} {} {}", list_.schema(job), list_.table(job), dump.begin,
                     dump.end, dump.sweep, dump.repeats);
}

std::optional<Dump> Schedule::Give(Client client, uint32_t job, const OpenDump& dump) {
  std::string key = InHandKey(job, dump);
  if (!in_hand_.insert(key).second) return std::nullopt;
  Running& running = *running_[job];
  ++running.in_hand;
  hands_[client] = {.epoch = epoch_,
                    .job = job,
                    .generation = running.generation,
                    .dump = dump,
                    .key = std::move(key),
                    .rests = rests_,
                    .debts = running.debts};
  return Dump{.job = first_job_ + job,
              .schema = std::string(list_.schema(job)),
              .table = std::string(list_.table(job)),
              .begin = dump.begin,
              .end = dump.end,
              .server = running.progress.server,
              .relfilenode = running.progress.relfilenode,
              .sweep = dump.sweep,
              .sweep_from = dump.sweep ? running.progress.sweep_from : 0,
              .rows = list_.jobs()[job].rows,
              .owed = dump.repeats ? running.progress.owed : std::nullopt};
}

// --- Answers

bool Schedule::Begun(Client client, const DumpBegun& begun) {
  const auto found = hands_.find(client);
  if (found == hands_.end()) return false;
  Hand& hand = found->second;
  if (hand.dump.began && hand.dump.began->shown <= begun.shown) return true;
  OpenDump dump = hand.dump;
  dump.began = begun;
  if (hand.epoch == epoch_) {
    if (running_[hand.job]->generation == hand.generation) {
      auto& open = running_[hand.job]->progress.open;
      std::replace(open.begin(), open.end(), hand.dump, dump);
      Changed(hand.job);
    } else {
      Owe(hand.job, begun);
    }
  }
  hand.dump = dump;
  return true;
}

// Also of a dump that is not the table's any more, because that began again.
void Schedule::Owe(uint32_t job, const std::optional<DumpBegun>& began) {
  if (!began || running_[job]->progress.state != JobState::kRunning) return;
  AddOwed(job, *began);
  ReturnOwed(job);
  Changed(job);
}

void Schedule::AddOwed(uint32_t job, const DumpBegun& began) {
  Running& running = *running_[job];
  std::optional<DumpBegun>& owed = running.progress.owed;
  if (!owed || began.shown < owed->shown) owed = began;
  ++running.debts;
}

// For dumps that are not the table's any more: who has them in hand may still go away.
void Schedule::OweOpen(uint32_t job) {
  for (const OpenDump& dump : std::exchange(running_[job]->progress.open, {})) {
    if (dump.began) AddOwed(job, *dump.began);
  }
}

// What is owed goes before all else.
void Schedule::ReturnOwed(uint32_t job) {
  Running& running = *running_[job];
  auto& open = running.progress.open;
  const bool is_there =
      std::any_of(open.begin(), open.end(), [](const OpenDump& dump) { return dump.repeats; });
  if (is_there || !running.progress.owed) return;
  open.push_back({.repeats = true});
  returned_.push_front({.job = job, .generation = running.generation, .dump = open.back()});
}

// It was given when all that is owed was known, or there is more by now.
void Schedule::Repeated(const Hand& hand) {
  Running& running = *running_[hand.job];
  if (hand.debts == running.debts) running.progress.owed.reset();
  ReturnOwed(hand.job);
}

bool Schedule::Answer(Client client, const DumpAnswer& answer, Time now) {
  const auto node = hands_.extract(client);
  if (node.empty()) return false;
  const Hand& hand = node.mapped();
  in_hand_.erase(hand.key);
  const bool counts = hand.epoch == epoch_;
  if (!answer.requeue_reason.empty()) {
    if (counts) CountRequeue(hand, now);
  } else {
    requeues_in_a_row_ = 0;
  }
  if (!counts) return true;
  // A session repeats what its rows took back also after that; but it may end before.
  if (!answer.requeue_reason.empty() && answer.owes) Owe(hand.job, hand.dump.began);
  Running& running = *running_[hand.job];
  if (running.generation != hand.generation) return true;
  --running.in_hand;
  std::erase(running.progress.open, hand.dump);
  Changed(hand.job);
  if (!answer.requeue_reason.empty()) {
    TakeBack(hand, answer);
    return true;
  }
  if (hand.dump.repeats) {
    Repeated(hand);
    Settle(hand.job);
    return true;
  }
  running.gone_in_a_row = 0;
  const std::string contradiction = Contradiction(running.progress, answer);
  if (contradiction.empty()) {
    Acknowledge(hand.job, hand.dump, answer);
  } else {
    Restart(hand.job, contradiction, /*counts=*/true);
  }
  return true;
}

void Schedule::GiveBack(Client client, Time now) {
  const auto node = hands_.extract(client);
  if (node.empty()) return;
  const Hand& hand = node.mapped();
  in_hand_.erase(hand.key);
  if (hand.epoch != epoch_) return;
  CountRequeue(hand, now);
  Owe(hand.job, hand.dump.began);
  Running& running = *running_[hand.job];
  if (running.generation != hand.generation) return;
  --running.in_hand;
  ++running.progress.requeues;
  SetReason(running.progress, "a consumer went away");
  Changed(hand.job);
  std::erase(running.progress.open, hand.dump);
  Return(hand.job, hand.dump);
}

// What makes one dump fail makes all fail that are in hand: together they count as one.
void Schedule::CountRequeue(const Hand& hand, Time now) {
  if (hand.rests != rests_) return;
  ++rests_;
  ++requeues_in_a_row_;
  last_requeue_ = now;
}

std::string Schedule::Contradiction(const JobProgress& at, const DumpAnswer& answer) const {
  if (!at.server.empty() && !answer.server.empty() && at.server != answer.server) {
    return fmt::format("it was read from server {}, not from {}", answer.server, at.server);
  }
  if (at.relfilenode != 0 && answer.relfilenode != 0 && at.relfilenode != answer.relfilenode) {
    return "the table was rewritten";
  }
  return {};
}

void Schedule::Acknowledge(uint32_t job, const OpenDump& dump, const DumpAnswer& answer) {
  const JobList::Job& of = list_.jobs()[job];
  JobProgress& progress = running_[job]->progress;
  if (progress.server.empty()) progress.server = answer.server;
  if (progress.relfilenode == 0) progress.relfilenode = answer.relfilenode;
  // The lowest, so that no answer moves the start of the open-ended dump behind another's end.
  if (progress.acknowledged == 0) progress.pages = answer.pages;
  progress.no_key = progress.no_key || answer.no_key;
  progress.rows += answer.rows;
  progress.bytes += answer.bytes;
  rows_ += answer.rows;
  bytes_ += answer.bytes;
  if (!dump.sweep) {
    ++progress.acknowledged;
    if (answer.sweep_from != 0 &&
        (progress.sweep_from == 0 || answer.sweep_from < progress.sweep_from)) {
      progress.sweep_from = answer.sweep_from;
    }
  }
  const bool is_only = progress.acknowledged == 1 && !HasOpenPages(progress) && !dump.sweep;
  if (is_only && !of.exact && !answer.server.empty() && progress.segment != UINT32_MAX) {
    // Nothing is behind the table's end. Of a table without a key an empty rest is not read, too:
    // one dump is exact, two are not.
    const bool was_all =
        answer.pages == 0 || (answer.no_key && answer.pages <= dump.end && of.first == of.last);
    if (was_all) {
      progress.segment = UINT32_MAX;
    } else if (answer.no_key && !of.cut_as_asked && of.first == of.last) {
      Restart(job, "the table has no key: it is dumped as one, so that no row comes twice",
              /*counts=*/false);
      running_[job]->progress.whole = true;
      running_[job]->progress.no_key = true;
      return;
    }
  }
  Settle(job);
}

// After its requeue was counted.
void Schedule::TakeBack(const Hand& hand, const DumpAnswer& answer) {
  const uint32_t job = hand.job;
  OpenDump dump = hand.dump;
  Running& running = *running_[job];
  JobProgress& progress = running.progress;
  ++progress.requeues;
  SetReason(progress, answer.requeue_reason);
  if (answer.requeue != Requeue::kServerGone) {
    running.gone_in_a_row = 0;
  } else if (hand.rests >= running.gone_counts_from) {
    ++running.gone_in_a_row;
    running.gone_counts_from = rests_;
  }
  switch (answer.requeue) {
    case Requeue::kImpossible:
      FailFor(job, dump, answer.requeue_reason);
      return;
    case Requeue::kTableChanged:
      if (!dump.repeats) {
        Restart(job, answer.requeue_reason, /*counts=*/true);
        return;
      }
      Repeated(hand);
      if (progress.failing || !IsWhole(job)) {
        Fail(job, fmt::format("{}: dump all of the table", answer.requeue_reason));
      } else {
        Restart(job, answer.requeue_reason, /*counts=*/false);
      }
      return;
    case Requeue::kServerGone:
      if (running.gone_in_a_row >= kGoneInARow) {
        Restart(job, answer.requeue_reason, /*counts=*/false);
      } else {
        Return(job, dump);
      }
      return;
    case Requeue::kTryAgain:
      if (++dump.tries >= options_.max_tries) {
        FailFor(job, dump, fmt::format("{} tries: {}", dump.tries, answer.requeue_reason));
      } else {
        Return(job, dump);
      }
      return;
  }
}

void Schedule::Return(uint32_t job, OpenDump dump) {
  Running& running = *running_[job];
  dump.began.reset();
  running.progress.open.push_back(dump);
  returned_.push_back({.job = job, .generation = running.generation, .dump = dump});
}

void Schedule::Restart(uint32_t job, std::string_view reason, bool counts) {
  Running& running = *running_[job];
  JobProgress& before = running.progress;
  if (counts && ++before.changes >= options_.max_tries) {
    Fail(job, fmt::format("begun again {} times: {}", before.changes, reason));
    return;
  }
  Unready(job);
  OweOpen(job);
  rows_ -= before.rows;
  bytes_ -= before.bytes;
  JobProgress after;
  after.state = JobState::kRunning;
  after.whole = before.whole;
  after.no_key = before.no_key;
  after.segment = list_.jobs()[job].first;
  after.page = list_.segments()[after.segment].begin;
  after.requeues = before.requeues;
  after.restarts = before.restarts + 1;
  after.changes = before.changes;
  after.reason = CutText(reason, kMaxReasonBytes);
  after.owed = std::move(before.owed);
  running = {.progress = std::move(after), .generation = ++generations_, .debts = running.debts};
  ReturnOwed(job);
  Changed(job);
  Settle(job);
}

// Whether it is all of the table, so that beginning again mends whatever was sent of it.
bool Schedule::IsWhole(uint32_t job) const {
  const JobList::Job& of = list_.jobs()[job];
  const Segment& first = list_.segments()[of.first];
  return of.rows == nullptr && of.first == of.last && first.begin == 0 && first.end == kToTheEnd;
}

// Because of this dump. What is owed and cannot be repeated is the reason then.
void Schedule::FailFor(uint32_t job, const OpenDump& dump, std::string_view reason) {
  JobProgress& progress = running_[job]->progress;
  if (dump.repeats) {
    progress.owed.reset();
    progress.failing = false;
  }
  Fail(job, reason);
}

// What is owed is repeated before.
void Schedule::Fail(uint32_t job, std::string_view reason) {
  Unready(job);
  Running& running = *running_[job];
  running.generation = ++generations_;
  running.in_hand = 0;
  OweOpen(job);
  SetReason(running.progress, reason);
  running.progress.failing = true;
  running.progress.segment = UINT32_MAX;
  ReturnOwed(job);
  Changed(job);
  Settle(job);
}

void Schedule::Unready(uint32_t job) { ready_.erase({running_[job]->progress.segment, job}); }

// What comes next for a job, of which something has changed.
void Schedule::Settle(uint32_t job) {
  JobProgress& progress = running_[job]->progress;
  if (progress.state != JobState::kRunning) return;
  if (progress.segment != UINT32_MAX) {
    const bool waits = progress.cautious && progress.acknowledged == 0 && HasOpenPages(progress);
    if (!waits) ready_.insert({progress.segment, job});
    return;
  }
  if (!progress.open.empty()) return;
  if (progress.failing) {
    progress.state = JobState::kFailed;
    Changed(job);
    --unfinished_;
    ++failed_;
    return;
  }
  // A single dump is of one snapshot: nothing can have moved from one dump's pages to another's.
  if (!progress.swept && progress.sweep_from != 0 && progress.acknowledged > 1) {
    progress.swept = true;
    OpenDump sweep{.begin = UINT32_MAX, .end = 0, .sweep = true};
    for (uint32_t at = list_.jobs()[job].first; at != UINT32_MAX; at = list_.segments()[at].next) {
      sweep.begin = std::min(sweep.begin, list_.segments()[at].begin);
      sweep.end = std::max(sweep.end, list_.segments()[at].end);
    }
    Return(job, sweep);
    Changed(job);
    return;
  }
  progress.state = JobState::kDone;
  Changed(job);
  --unfinished_;
  ++done_;
}

// --- What is stored

std::vector<uint32_t> Schedule::TakeChanged() {
  std::vector<uint32_t> changed(changed_.begin(), changed_.end());
  changed_.clear();
  return changed;
}

absl::Status Schedule::Restore(uint32_t job, JobProgress progress) {
  const auto& segments = list_.segments();
  const bool known = job < list_.jobs().size() && running_[job] == nullptr;
  if (!known) return absl::DataLossError("progress of a table that is not scheduled");
  if (progress.segment != UINT32_MAX) {
    const bool within = progress.segment < segments.size() &&
                        segments[progress.segment].job == job &&
                        progress.page >= segments[progress.segment].begin &&
                        progress.page <= segments[progress.segment].end;
    if (!within) return absl::DataLossError("progress beyond the pages that are scheduled");
  }
  for (const OpenDump& dump : progress.open) {
    if (dump.begin > dump.end) return absl::DataLossError("a dump that ends before it begins");
    if (dump.repeats && !progress.owed) return absl::DataLossError("a repeat of nothing");
  }
  auto& running = running_[job];
  running = std::make_unique<Running>();
  running->generation = ++generations_;
  running->progress = std::move(progress);
  const JobProgress& is = running->progress;
  rows_ += is.rows;
  bytes_ += is.bytes;
  if (is.state == JobState::kDone || is.state == JobState::kFailed) {
    --unfinished_;
    ++(is.state == JobState::kDone ? done_ : failed_);
    return absl::OkStatus();
  }
  running->progress.state = JobState::kRunning;
  std::vector<std::optional<DumpBegun>> began;
  for (OpenDump& dump : running->progress.open) {
    began.push_back(std::exchange(dump.began, std::nullopt));
    returned_.push_back({.job = job, .generation = running->generation, .dump = dump});
  }
  for (const auto& one : began) Owe(job, one);
  Settle(job);
  return absl::OkStatus();
}

// --- What is shown

const JobProgress* Schedule::progress(uint32_t job) const {
  return running_[job] == nullptr ? nullptr : &running_[job]->progress;
}

// With the first dump of a table of unknown size counted as one page.
uint64_t Schedule::PagesDone(uint32_t job) const {
  const JobProgress* const at = progress(job);
  if (at == nullptr) return 0;
  const uint64_t size = at->pages;
  const auto pages = [size](uint64_t begin, uint64_t end) {
    if (size != 0) end = std::min(end, size);
    return end > begin && (size != 0 || end <= UINT32_MAX) ? end - begin : 0;
  };
  if (at->state == JobState::kFailed || at->failing) return 0;
  uint64_t done = 0;
  for (uint32_t i = list_.jobs()[job].first; i != at->segment && i != UINT32_MAX;
       i = list_.segments()[i].next) {
    done += pages(list_.segments()[i].begin, uint64_t{list_.segments()[i].end} + 1);
  }
  if (at->segment != UINT32_MAX) done += pages(list_.segments()[at->segment].begin, at->page);
  for (const OpenDump& dump : at->open) {
    if (dump.sweep || dump.repeats) continue;
    done -= std::min(done, pages(dump.begin, uint64_t{dump.end} + 1));
  }
  return done;
}

JobStatus Schedule::StatusOf(uint32_t job) const {
  JobStatus status{.job = first_job_ + job, .schema = list_.schema(job), .table = list_.table(job)};
  status.begin = UINT32_MAX;
  for (uint32_t at = list_.jobs()[job].first; at != UINT32_MAX; at = list_.segments()[at].next) {
    status.begin = std::min(status.begin, list_.segments()[at].begin);
    status.end = std::max(status.end, list_.segments()[at].end);
  }
  status.progress = progress(job);
  status.pages_done = static_cast<uint32_t>(PagesDone(job));
  if (status.progress != nullptr) {
    status.in_hand = running_[job]->in_hand;
    status.sweeping = status.progress->swept && status.progress->state == JobState::kRunning;
  }
  return status;
}

std::vector<JobStatus> Schedule::Jobs(size_t max) const {
  const auto rank = [this](uint32_t job) {
    const JobProgress* const at = progress(job);
    switch (at == nullptr ? JobState::kScheduled : at->state) {
      case JobState::kRunning:
        return 0;
      case JobState::kFailed:
        return 1;
      case JobState::kScheduled:
        return 2;
      case JobState::kDone:
        return 3;
    }
    return 3;
  };
  // The failed stand before those to come: whoever looks must see them, however many there are.
  std::vector<JobStatus> jobs;
  for (int wanted = 0; wanted < 4 && jobs.size() < max; ++wanted) {
    for (uint32_t job = 0; job < running_.size() && jobs.size() < max; ++job) {
      if (rank(job) == wanted) jobs.push_back(StatusOf(job));
    }
  }
  return jobs;
}

std::pair<uint64_t, std::optional<uint64_t>> Schedule::Pages() const {
  uint64_t done = 0;
  std::optional<uint64_t> left = 0;
  for (uint32_t job = 0; job < running_.size(); ++job) {
    const JobProgress* const at = progress(job);
    if (at == nullptr || at->state != JobState::kRunning) {
      if (at == nullptr) left.reset();
      if (at != nullptr && at->state == JobState::kDone) done += PagesDone(job);
      continue;
    }
    const uint64_t of_job = PagesDone(job);
    done += of_job;
    if (at->pages == 0) left.reset();
    uint64_t total = 0;
    for (uint32_t i = list_.jobs()[job].first; i != UINT32_MAX; i = list_.segments()[i].next) {
      const Segment& segment = list_.segments()[i];
      const uint64_t end = std::min<uint64_t>(uint64_t{segment.end} + 1, at->pages);
      if (end > segment.begin) total += end - segment.begin;
    }
    if (left) *left += total > of_job ? total - of_job : 0;
  }
  return {done, left};
}

}  // namespace pgc
