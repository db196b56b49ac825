#include "gateway/dump_feed.h"

#include <fmt/format.h>
#include <grpcpp/alarm.h>

#include <algorithm>
#include <limits>
#include <random>
#include <utility>

#include "base/cut_text.h"
#include "base/log.h"
#include "gateway/dump_calls.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstDelay{200};
constexpr milliseconds kLastPullDelay{5'000};
constexpr milliseconds kWakeDelay{20};
// Reads of a dump before it is given back: that fail, which takes its time with each, and in all.
constexpr uint32_t kMaxFailures = 2;
constexpr uint32_t kMaxFetches = 6;
constexpr size_t kMaxReasonBytes = 1'000;
// What a row counts for beside its bytes.
constexpr size_t kRowBytes = sizeof(std::span<const uint8_t>);

milliseconds DelayOf(uint32_t failures, milliseconds most) {
  return std::min(kFirstDelay * (1 << std::min<uint32_t>(failures, 10)), most);
}

size_t BytesOf(const PagesRows& rows) { return rows.bytes->size() + rows.rows.size() * kRowBytes; }

// One that no other consumer has, in this process or another.
uint64_t AnyNumber() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

bool IsPartial(const pb::DumpInfoResponse& info) {
  return !info.where().empty() || info.columns_size() > 0 || info.keys_size() > 0 || info.sweep();
}

}  // namespace

DumpFeed::DumpFeed(Options options) : options_(std::move(options)), consumer_(AnyNumber()) {}

void DumpFeed::Start(Lsn begun_at) {
  Later later;
  {
    MutexLock lock(mutex_);
    begun_at_ = begun_at;
    begun_commit_ = position_;
    Pull(later);
  }
  Run(later);
}

void DumpFeed::Close() {
  Later later;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    for (const auto& pull : pulls_) later.emplace_back([pull] { pull->Cancel(); });
    for (const auto& [id, dump] : hands_) EndCall(*dump, later);
    hands_.clear();
  }
  Run(later);
}

void DumpFeed::SetPosition(Lsn position) {
  MutexLock lock(mutex_);
  position_ = position;
}

void DumpFeed::SetHold(std::string reason) {
  Later later;
  {
    MutexLock lock(mutex_);
    if (hold_ == reason || (!hold_.empty() && !reason.empty())) return;
    hold_ = std::move(reason);
    // Those that wait for a dump go; their end begins the others.
    for (const auto& pull : pulls_) {
      if (pull->has_dump) continue;
      pull->is_leaving = true;
      later.emplace_back([pull] { pull->Cancel(); });
    }
    Pull(later);
  }
  Run(later);
}

// Sees to it that one pull waits for a dump, as long as more may be in hand.
void DumpFeed::Pull(Later& later) {
  if (closed_ || disabled_ || pull_is_due_ || pulls_.size() >= kMaxPulls) return;
  for (const auto& pull : pulls_) {
    if (!pull->has_dump && pull->hold() == hold_) return;
  }
  auto pull = std::make_shared<DumpPull>(shared_from_this(), options_.sources.controller,
                                         options_.uri, consumer_, hold_);
  pulls_.insert(pull);
  later.emplace_back([pull] { pull->Start(); });
}

void DumpFeed::PullEnded(const std::shared_ptr<DumpPull>& pull, const grpc::Status& status) {
  Later later;
  {
    MutexLock lock(mutex_);
    pulls_.erase(pull);
    // The controller gives the dump in hand to somebody else.
    for (auto& [id, dump] : hands_) {
      if (dump->pull != pull) continue;
      EndCall(*dump, later);
      hands_.erase(id);
      later.emplace_back([this] { Ready(); });
      break;
    }
    if (closed_) return;
    if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
      disabled_ = true;
    } else if (pull->is_leaving) {
      Pull(later);
    } else if (!pull_is_due_) {
      const milliseconds delay = DelayOf(pull_failures_++, kLastPullDelay);
      if (pull_failures_ == 1) {
        log::Warning("the controller of the dumps is unavailable and will be tried again",
                     {{"uri", options_.uri.substr(0, 512)}, {"error", status.error_message()}});
      }
      pull_is_due_ = true;
      later.emplace_back([this, delay] {
        After(delay, [](DumpFeed& feed) {
          Later pulls;
          {
            MutexLock due_lock(feed.mutex_);
            feed.pull_is_due_ = false;
            feed.Pull(pulls);
          }
          feed.Run(pulls);
        });
      });
    }
  }
  Run(later);
}

void DumpFeed::Pulled(const std::shared_ptr<DumpPull>& pull, const pb::DumpInfoResponse& info) {
  Later later;
  {
    MutexLock lock(mutex_);
    if (closed_) return;
    pull_failures_ = 0;
    pull->has_dump = true;
    const uint32_t id = DumpId(info);
    if (hands_.contains(id)) {
      pb::DumpInfoRequest again;
      again.set_uri(options_.uri);
      again.set_requeue_reason("a dump of the same pages is in hand");
      pull->has_dump = false;
      later.emplace_back([pull, again] { pull->Answer(again, false); });
    } else {
      auto dump = std::make_unique<InHand>();
      dump->info = info;
      dump->id = id;
      dump->serial = ++last_serial_;
      dump->pull = pull;
      const auto known = agent_of_.find(info.server());
      dump->agent = (known != agent_of_.end() ? known->second : info.job()) %
                    std::max<size_t>(options_.sources.agents.size(), 1);
      InHand& in_hand = *(hands_[id] = std::move(dump));
      if (info.has_owed()) {
        TakeOwed(in_hand, later);
      } else if (options_.sources.agents.empty()) {
        PutBack(in_hand, "no agent is configured that could read it",
                pb::DumpInfoRequest::IMPOSSIBLE, later);
      } else {
        StartFetch(in_hand, later);
      }
    }
    Pull(later);
  }
  Run(later);
}

// As if rows without any had been read that show as little as those that somebody else has sent.
void DumpFeed::TakeOwed(InHand& dump, Later& later) {
  const pb::DumpBegun& owed = dump.info.owed();
  dump.answer.applied = dump.answer.upper = Lsn{owed.shown()};
  dump.answer.store_position = owed.place();
  dump.schema = owed.schema();
  dump.table = owed.table();
  dump.fields = owed.fields();
  dump.complete = dump.noted = true;
  if (!IsWanted(dump, later)) return;
  dump.last_acked = true;
  later.emplace_back([this] { Ready(); });
}

void DumpFeed::StartFetch(InHand& dump, Later& later) {
  pb::AgentDumpRequest request;
  dump.asked = dump.any_place && !dump.strict && !dump.pages_unknown
                   ? Lsn{}
                   : std::max(position_, begun_commit_);
  request.set_min_lsn(dump.asked.value);
  *request.mutable_info() = dump.info;
  const auto method =
      dump.pages_unknown ? PagesCall::Method::kStreamDump : PagesCall::Method::kDumpPages;
  dump.call = std::make_shared<PagesCall>(shared_from_this(), options_.sources.agents[dump.agent],
                                          method, request);
  dump.looks_up_to.reset();
  dump.rows.clear();
  dump.bytes = 0;
  dump.fields = 0;
  dump.total_rows = dump.total_bytes = 0;
  dump.answered = dump.complete = dump.paused = false;
  dump.sent = dump.last_acked = false;
  later.emplace_back([call = dump.call] { call->Start(); });
}

void DumpFeed::FetchLater(InHand& dump) {
  const milliseconds delay = DelayOf(dump.fetches, kLastPullDelay);
  After(delay, [serial = dump.serial](DumpFeed& feed) {
    Later later;
    {
      MutexLock lock(feed.mutex_);
      InHand* const found = feed.Find(serial);
      if (found != nullptr && found->call == nullptr && !found->complete && !found->taken) {
        feed.StartFetch(*found, later);
      }
    }
    feed.Run(later);
  });
}

bool DumpFeed::Fetched(const std::shared_ptr<PagesCall>& call, const grpc::ByteBuffer& bytes) {
  auto part = call->method() == PagesCall::Method::kDumpPages ? ReadPagesPart(bytes)
                                                              : ReadDumpChange(bytes);
  Later later;
  bool go_on = false;
  {
    MutexLock lock(mutex_);
    InHand* const dump = FindCall(call);
    if (dump == nullptr) {
      later.emplace_back([call] { call->Cancel(); });
    } else if (!part.ok()) {
      PutBack(*dump, std::string(part.status().message()), pb::DumpInfoRequest::TRY_AGAIN, later);
    } else {
      go_on = TakePart(*dump, *std::move(part), later);
    }
  }
  Run(later);
  return go_on;
}

// Whether there is room for more.
bool DumpFeed::TakePart(InHand& dump, PagesPart part, Later& later) {
  if (!dump.answered) {
    dump.answered = true;
    ++dump.answers;
    dump.answer = part.answer;
    // An agent that says nothing of it showed at least what it was asked for.
    if (dump.pages_unknown) dump.answer.applied = dump.asked;
    if (dump.answer.system_identifier != 0) {
      agent_of_[std::to_string(dump.answer.system_identifier)] = dump.agent;
    }
  }
  if (!part.rows.rows.empty()) {
    const auto first = Summarize(ChangeOf(part.rows.rows.front()));
    if (!first) {
      PutBack(dump, "the agent sent a row that is no change", pb::DumpInfoRequest::TRY_AGAIN,
              later);
      return false;
    }
    if (dump.fields > 0 && (dump.schema != first->schema || dump.table != first->table)) {
      PutBack(dump, "the agent sent rows of two tables", pb::DumpInfoRequest::TRY_AGAIN, later);
      return false;
    }
    if (dump.fields == 0) {
      dump.schema = first->schema;
      dump.table = first->table;
      dump.fields = std::max<size_t>(first->new_fields, 1);
      if (!IsWanted(dump, later)) return false;
    }
    dump.bytes += BytesOf(part.rows);
    dump.total_bytes += part.rows.bytes->size();
    dump.total_rows += part.rows.rows.size();
    dump.rows.push_back(std::move(part.rows));
  }
  if (part.last) dump.complete = true;
  if (dump.complete && dump.total_rows == 0) {
    TakeEmpty(dump, later);
    return true;
  }
  dump.paused = !dump.complete && dump.bytes >= kMaxDumpBytes;
  TellBegun(later);
  if (dump.complete || dump.paused || dump.taken) later.emplace_back([this] { Ready(); });
  return !dump.paused;
}

// Where this session ends before they are repeated, somebody has to know what its rows took back.
// Of a table without a key that is nothing: the first row takes the place of all that was there.
// Only the dumps that go next are told of, and one ahead, so that its place does not pass while it
// waits for that: the others may never go.
void DumpFeed::TellBegun(Later& later) {
  InHand* const next = Next(nullptr);
  if (next == nullptr) return;
  TellBegun(*next, later);
  if (InHand* const second = Next(next); second != nullptr) TellBegun(*second, later);
}

void DumpFeed::TellBegun(InHand& dump, Later& later) {
  if (dump.looks_up_to || (dump.begun && *dump.begun <= dump.answer.applied)) return;
  dump.begun = dump.answer.applied;
  dump.noted = !dump.info.asks_begun() || dump.answer.no_key;
  if (dump.noted) return;
  dump.begun_number = ++dump.pull->begins;
  pb::DumpBegun begun;
  begun.set_shown(dump.answer.applied.value);
  begun.set_place(dump.answer.store_position);
  begun.set_schema(dump.schema);
  begun.set_table(dump.table);
  // Where only some columns are read, every UPDATE that moves a row leaves out values.
  begun.set_fields(dump.info.columns_size() > 0
                       ? UINT32_MAX
                       : static_cast<uint32_t>(std::min<size_t>(dump.fields, UINT32_MAX)));
  later.emplace_back([pull = dump.pull, begun = std::move(begun)] { pull->Begin(begun); });
}

void DumpFeed::Noted(const std::shared_ptr<DumpPull>& pull, uint32_t begun) {
  Later later;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, dump] : hands_) {
      if (dump->pull != pull || dump->begun_number > begun || !dump->begun) continue;
      dump->noted = true;
      later.emplace_back([this] { Ready(); });
    }
  }
  Run(later);
}

// What is filtered out counts as done.
bool DumpFeed::IsWanted(InHand& dump, Later& later) {
  if (options_.wants(dump.schema, dump.table)) return true;
  EndCall(dump, later);
  dump.complete = dump.sent = dump.last_acked = true;
  CheckDone(dump, later);
  return false;
}

// The pages, or the table, may have had rows before this stream began, and the server does not show
// them yet: they come as what is repeated then, behind no row.
void DumpFeed::TakeEmpty(InHand& dump, Later& later) {
  // It is not known of which table they would be, or they would be there twice: without a row,
  // nothing takes the place of what the consumer has.
  const bool cannot_repeat = dump.answer.table.empty() || dump.answer.no_key;
  const bool is_unknown = begun_commit_ == Lsn{} && dump.answer.applied < begun_at_;
  if (cannot_repeat && is_unknown && !dump.pages_unknown) {
    dump.looks_up_to = begun_at_;
    later.emplace_back([this] { Ready(); });
    return;
  }
  if (dump.answer.applied >= (cannot_repeat ? begun_commit_ : begun_at_)) {
    dump.sent = dump.last_acked = true;
    return CheckDone(dump, later);
  }
  if (cannot_repeat) return AskStrictly(dump, later);
  dump.schema = dump.answer.schema;
  dump.table = dump.answer.table;
  if (!IsWanted(dump, later)) return;
  // What moves a row to another key repeats well behind the INSERT of that row, which is repeated
  // too where all of the table was empty.
  const bool is_all = !IsPartial(dump.info) && dump.info.page_begin() == 0 &&
                      uint64_t{dump.info.page_end()} + 1 >= dump.answer.pages;
  dump.fields = is_all ? 0 : std::numeric_limits<size_t>::max();
  dump.last_acked = true;
  later.emplace_back([this] { Ready(); });
}

void DumpFeed::AskStrictly(InHand& dump, Later& later) {
  dump.strict = true;
  dump.complete = false;
  EndCall(dump, later);
  FailedOnce(dump, "the server is behind, and has no rows", pb::DumpInfoRequest::TRY_AGAIN, later);
}

void DumpFeed::NewestCommitIs(uint32_t serial, Lsn commit) {
  Later later;
  {
    MutexLock lock(mutex_);
    InHand* const dump = Find(serial);
    if (dump == nullptr || !dump->looks_up_to) return;
    dump->looks_up_to.reset();
    if (commit > Lsn{}) {
      begun_commit_ = commit;
      AskStrictly(*dump, later);
      // Others may be ready.
      later.emplace_back([this] { Ready(); });
    } else {
      // As good as having begun there, for this server and others.
      begun_at_ = std::min(begun_at_, dump->answer.applied);
      dump->sent = dump->last_acked = true;
      CheckDone(*dump, later);
    }
  }
  Run(later);
}

void DumpFeed::CallEnded(const std::shared_ptr<PagesCall>& call, const grpc::Status& status) {
  Later later;
  {
    MutexLock lock(mutex_);
    InHand* const dump = FindCall(call);
    if (dump == nullptr) return;
    dump->call = nullptr;
    if (status.ok() && dump->pages_unknown && !dump->complete) {
      dump->complete = true;
      if (dump->total_rows == 0) {
        dump->answer.applied = dump->asked;
        TakeEmpty(*dump, later);
      } else {
        later.emplace_back([this] { Ready(); });
      }
    } else if (!dump->complete) {
      CallFailed(*dump, status, later);
    }
  }
  Run(later);
}

void DumpFeed::CallFailed(InHand& dump, const grpc::Status& status, Later& later) {
  using Code = grpc::StatusCode;
  using Requeue = pb::DumpInfoRequest;
  const std::string reason =
      status.ok() ? "the agent's answer ended before its last row" : status.error_message();
  switch (status.error_code()) {
    case Code::UNIMPLEMENTED:
      if (dump.pages_unknown || IsPartial(dump.info)) {
        return PutBack(dump, "the agent cannot dump parts of a table: it knows no DumpPages",
                       Requeue::IMPOSSIBLE, later);
      }
      dump.pages_unknown = true;
      return StartFetch(dump, later);
    case Code::FAILED_PRECONDITION:
      if (!dump.strict && !dump.any_place && !dump.pages_unknown && dump.asked > Lsn{}) {
        dump.any_place = true;
        return StartFetch(dump, later);
      }
      return FailedOnce(dump, reason, Requeue::TRY_AGAIN, later);
    case Code::NOT_FOUND:
      // It may be there where the server is behind, and a table that is gone has no rows.
      if (dump.asked < begun_commit_) {
        dump.strict = true;
        return FailedOnce(dump, reason, Requeue::TRY_AGAIN, later);
      }
      dump.complete = dump.sent = dump.last_acked = true;
      return CheckDone(dump, later);
    case Code::INVALID_ARGUMENT:
      return PutBack(dump, reason, Requeue::IMPOSSIBLE, later);
    case Code::ABORTED:
      if (dump.info.relfilenode() != 0) {
        return PutBack(dump, reason, Requeue::TABLE_CHANGED, later);
      }
      return FailedOnce(dump, reason, Requeue::TRY_AGAIN, later);
    case Code::UNAVAILABLE:
      if (dump.total_rows == 0 && ++dump.agents_tried < options_.sources.agents.size()) {
        dump.agent = (dump.agent + 1) % options_.sources.agents.size();
        return StartFetch(dump, later);
      }
      dump.agents_tried = 0;
      return FailedOnce(dump, reason,
                        dump.info.server().empty() ? Requeue::TRY_AGAIN : Requeue::SERVER_GONE,
                        later);
    default:
      return FailedOnce(dump, reason, Requeue::TRY_AGAIN, later);
  }
}

// Reads it again, a few times.
void DumpFeed::FailedOnce(InHand& dump, const std::string& reason,
                          pb::DumpInfoRequest::Requeue kind, Later& later) {
  // Rows that may be sent cannot be taken back: all of the dump is made anew.
  if (!dump.taken && ++dump.failures < kMaxFailures && ++dump.fetches < kMaxFetches) {
    dump.rows.clear();
    dump.paused = false;
    FetchLater(dump);
  } else {
    PutBack(dump, reason, kind, later);
  }
}

std::shared_ptr<const SessionDump> DumpFeed::FirstReady() {
  Later later;
  std::shared_ptr<const SessionDump> first;
  {
    MutexLock lock(mutex_);
    TellBegun(later);
    const InHand* const next = Next(nullptr);
    if (next != nullptr && (next->noted || next->looks_up_to)) {
      first = std::make_shared<const SessionDump>(*next);
    }
  }
  Run(later);
  return first;
}

// Of those that are not taken, and of which there is enough; not counting this one.
DumpFeed::InHand* DumpFeed::Next(const InHand* but) const {
  const auto place = [](const InHand& dump) {
    return std::pair(dump.answer.applied, !dump.info.has_owed());
  };
  InHand* first = nullptr;
  for (const auto& [id, dump] : hands_) {
    if (dump.get() == but || dump->taken || !(dump->complete || dump->paused)) continue;
    if (dump->rows.empty() && !dump->has_no_rows()) continue;
    if (first == nullptr || place(*dump) < place(*first)) first = dump.get();
  }
  return first;
}

std::optional<PagesRows> DumpFeed::TakeRows(uint32_t serial, bool& complete) {
  Later later;
  std::optional<PagesRows> rows;
  {
    MutexLock lock(mutex_);
    InHand* const dump = Find(serial);
    if (dump == nullptr || dump->answer_at_end) {
      complete = true;
      return std::nullopt;
    }
    if (!dump->rows.empty()) {
      rows = std::move(dump->rows.front());
      dump->rows.pop_front();
      dump->bytes -= BytesOf(*rows);
      dump->taken = true;
      ResumeIfRoom(*dump, later);
    }
    dump->taken = dump->taken || dump->has_no_rows();
    TellBegun(later);
    complete = dump->complete && dump->rows.empty();
  }
  Run(later);
  return rows;
}

void DumpFeed::ResumeIfRoom(InHand& dump, Later& later) {
  if (!dump.paused || dump.bytes > kMaxDumpBytes / 2) return;
  dump.paused = false;
  if (dump.call != nullptr) later.emplace_back([call = dump.call] { call->Resume(); });
}

void DumpFeed::FetchAgain(uint32_t serial, const std::string& reason) {
  Later later;
  {
    MutexLock lock(mutex_);
    InHand* const dump = Find(serial);
    if (dump == nullptr) return;
    EndCall(*dump, later);
    dump->complete = false;
    dump->strict = true;
    dump->rows.clear();
    if (++dump->fetches >= kMaxFetches) {
      PutBack(*dump, reason, pb::DumpInfoRequest::TRY_AGAIN, later);
    } else if (dump->fetches > 2) {
      FetchLater(*dump);
    } else {
      StartFetch(*dump, later);
    }
  }
  Run(later);
}

void DumpFeed::RowSent(uint32_t serial, bool last) {
  MutexLock lock(mutex_);
  InHand* const dump = Find(serial);
  if (dump == nullptr) return;
  dump->row_sent = true;
  dump->last_sent = last;
}

void DumpFeed::RepeatSent(uint32_t serial, bool loses) {
  MutexLock lock(mutex_);
  InHand* const dump = Find(serial);
  if (dump == nullptr) return;
  ++dump->repeats;
  dump->loses = dump->loses || loses;
}

void DumpFeed::Sent(uint32_t serial) {
  Later later;
  {
    MutexLock lock(mutex_);
    InHand* const dump = Find(serial);
    if (dump == nullptr) return;
    dump->sent = true;
    CheckDone(*dump, later);
  }
  Run(later);
}

void DumpFeed::AckRow(uint32_t id, bool last) {
  if (!last) return;
  Later later;
  {
    MutexLock lock(mutex_);
    const auto found = hands_.find(id);
    if (found == hands_.end()) return;
    InHand& dump = *found->second;
    if (!dump.last_sent) return;  // it is of an earlier try
    dump.last_acked = true;
    CheckDone(dump, later);
  }
  Run(later);
}

// Who requeues goes by versions, and so is owed nothing.
void DumpFeed::RequeueRow(uint32_t id, std::string_view reason) {
  Later later;
  {
    MutexLock lock(mutex_);
    const auto found = hands_.find(id);
    if (found == hands_.end() || !found->second->row_sent) return;
    PutBack(*found->second, reason, pb::DumpInfoRequest::TRY_AGAIN, later, When::kNow);
  }
  Run(later);
}

void DumpFeed::AckRepeat(uint32_t serial, uint32_t number) {
  Later later;
  {
    MutexLock lock(mutex_);
    InHand* const dump = Find(serial);
    // What was not sent cannot be acknowledged.
    if (dump == nullptr || number >= dump->repeats) return;
    if (number >= dump->repeats_acked.size()) dump->repeats_acked.resize(dump->repeats);
    if (dump->repeats_acked[number]) return;
    dump->repeats_acked[number] = true;
    ++dump->repeats_answered;
    CheckDone(*dump, later);
  }
  Run(later);
}

void DumpFeed::CheckDone(InHand& dump, Later& later) {
  if (!dump.sent || dump.repeats_answered < dump.repeats) return;
  if (dump.answer_at_end) return Answer(dump, *std::move(dump.answer_at_end), later);
  if (!dump.last_acked) return;
  if (dump.info.has_owed() && dump.loses) {
    return PutBack(dump,
                   "rows moved to other keys, without all of their values, when a consumer that "
                   "went away may have had older ones",
                   pb::DumpInfoRequest::TABLE_CHANGED, later);
  }
  pb::DumpInfoRequest done;
  if (dump.answered && !dump.pages_unknown) {
    done.set_pages(dump.answer.pages);
    done.set_server(std::to_string(dump.answer.system_identifier));
    done.set_relfilenode(dump.answer.relfilenode);
    if (dump.answer.sweep_needed) done.set_sweep_from(dump.answer.snapshot.xmin);
    done.set_no_key(dump.answer.no_key);
  }
  done.set_rows(dump.total_rows);
  done.set_bytes(dump.total_bytes);
  Answer(dump, std::move(done), later);
}

void DumpFeed::Requeue(uint32_t serial, std::string_view reason, pb::DumpInfoRequest::Requeue kind,
                       When when) {
  Later later;
  {
    MutexLock lock(mutex_);
    InHand* const dump = Find(serial);
    if (dump == nullptr) return;
    PutBack(*dump, reason, kind, later, when);
  }
  Run(later);
}

void DumpFeed::PutBack(InHand& dump, std::string_view reason, pb::DumpInfoRequest::Requeue kind,
                       Later& later, When when) {
  if (dump.answer_at_end && when == When::kRepeated) return;
  pb::DumpInfoRequest request;
  request.set_requeue_reason(reason.empty() ? "no reason was given"
                                            : CutText(reason, kMaxReasonBytes));
  request.set_requeue(kind);
  log::Warning("a dump is put back",
               {{"uri", options_.uri.substr(0, 512)},
                {"table", fmt::format("{}.{}", dump.info.schema(), dump.info.table())},
                {"pages", fmt::format("{}-{}", dump.info.page_begin(), dump.info.page_end())},
                {"reason", request.requeue_reason()}});
  const bool is_repeated = dump.sent && dump.repeats_answered == dump.repeats;
  const bool takes_back = dump.taken && dump.begun.has_value() && !is_repeated;
  request.set_owes(takes_back && when == When::kNowOwing);
  if (!takes_back || when != When::kRepeated) return Answer(dump, std::move(request), later);
  EndCall(dump, later);
  dump.rows.clear();
  dump.answer_at_end = std::move(request);
  later.emplace_back([this] { Ready(); });
}

// Ends what is in hand, so that its pull waits for the next.
void DumpFeed::Answer(InHand& dump, pb::DumpInfoRequest request, Later& later) {
  request.set_uri(options_.uri);
  EndCall(dump, later);
  const std::shared_ptr<DumpPull> pull = dump.pull;
  pull->has_dump = false;
  hands_.erase(dump.id);
  pull->is_leaving = !hold_.empty();
  later.emplace_back([pull, request = std::move(request), close = pull->is_leaving] {
    pull->Answer(request, close);
  });
  later.emplace_back([this] { Ready(); });
}

bool DumpFeed::IsInHand(uint32_t serial) const {
  MutexLock lock(mutex_);
  const InHand* const dump = Find(serial);
  return dump != nullptr && !dump->answer_at_end;
}

void DumpFeed::EndCall(InHand& dump, Later& later) {
  if (dump.call == nullptr) return;
  later.emplace_back([call = std::exchange(dump.call, nullptr)] { call->Cancel(); });
}

DumpFeed::InHand* DumpFeed::Find(uint32_t serial) const {
  for (const auto& [id, dump] : hands_) {
    if (dump->serial == serial) return dump.get();
  }
  return nullptr;
}

DumpFeed::InHand* DumpFeed::FindCall(const std::shared_ptr<PagesCall>& call) const {
  for (const auto& [id, dump] : hands_) {
    if (dump->call == call) return dump.get();
  }
  return nullptr;
}

void DumpFeed::WakeSoon() {
  {
    MutexLock lock(mutex_);
    if (closed_ || std::exchange(wake_is_due_, true)) return;
  }
  After(kWakeDelay, [](DumpFeed& feed) {
    {
      MutexLock lock(feed.mutex_);
      feed.wake_is_due_ = false;
    }
    feed.Ready();
  });
}

void DumpFeed::After(milliseconds delay, std::function<void(DumpFeed&)> what) {
  const auto alarm =
      std::make_shared<std::unique_ptr<grpc::Alarm>>(std::make_unique<grpc::Alarm>());
  (*alarm)->Set(std::chrono::system_clock::now() + delay,
                [alarm, feed = weak_from_this(), what = std::move(what)](bool) {
                  if (const auto alive = feed.lock()) what(*alive);
                  // It keeps this function, which keeps it: neither would ever be freed.
                  alarm->reset();
                });
}

void DumpFeed::Run(const Later& later) {
  for (const auto& what : later) what();
}

// Under the lock, so that nothing is called any more once Close has returned.
void DumpFeed::Ready() {
  MutexLock lock(mutex_);
  if (closed_) return;
  changes_.fetch_add(1, std::memory_order_release);
  options_.ready();
}

}  // namespace pgc
