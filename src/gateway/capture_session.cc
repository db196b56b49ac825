#include "gateway/capture_session.h"

#include <fmt/format.h>
#include <google/protobuf/arena.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "gateway/splice.h"
#include "rpc/grpc_status.h"

namespace pgc {
namespace {

// What one turn looks through for events that the consumer wants, before others get theirs.
constexpr size_t kBytesPerTurn = size_t{1} << 20;
// What a block counts for at least.
constexpr size_t kMinBlockBytes = size_t{16} << 10;
// On the stack, for the objects of a request: enough for one acknowledgement, and most have that.
constexpr size_t kRequestMemoryBytes = 1'024;
// Our own client puts a thousand checkpoints into one.
constexpr size_t kRequestBlockBytes = size_t{32} << 10;
// Of WAL: no dump is read for a stream that is further behind, as its rows would wait for long.
constexpr uint64_t kMaxBytesBehind = uint64_t{64} << 20;
// An error that the consumer did not cause is the operator's to see.
log::Level LevelOf(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::DATA_LOSS:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
      return log::Level::kError;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return log::Level::kWarning;
    default:
      return log::Level::kInfo;
  }
}

absl::Status WentAway() { return absl::CancelledError("the consumer went away"); }
absl::Status NoInit() { return absl::InvalidArgumentError("the first request must be init"); }

google::protobuf::ArenaOptions WithFirstBlock(std::span<char> memory) {
  google::protobuf::ArenaOptions options;
  options.initial_block = memory.data();
  options.initial_block_size = memory.size();
  options.start_block_size = options.max_block_size = kRequestBlockBytes;
  return options;
}

std::string TableOf(const ReplyPart& part) {
  if (part.kind != EventKind::kChange) return "no table";
  const auto change = Summarize(ChangeOf(part.content));
  return change ? fmt::format("{}.{}", change->schema, change->table) : "no table";
}

// Uris come from outside: what is longer than any that was resolved says nothing to people.
std::string ForLog(const std::string& uri) { return uri.substr(0, 512); }

}  // namespace

CaptureSession::CaptureSession(Resolver& resolver, WakeQueue& wakes, Background& background,
                               SessionSet& sessions, LargeEvents& large_events,
                               grpc::CallbackServerContext& context)
    : resolver_(resolver),
      wakes_(wakes),
      background_(background),
      sessions_(sessions),
      large_events_(large_events),
      context_(context),
      peer_(context.peer()) {}

void CaptureSession::Start() {
  MutexLock lock(mutex_);
  if (!ended_.has_value()) StartRead(&request_);
}

void CaptureSession::End(const absl::Status& status) {
  MutexLock lock(mutex_);
  EndLocked(status);
}

void CaptureSession::Wake() {
  MutexLock lock(mutex_);
  wake_is_due_ = false;
  Pump();
}

void CaptureSession::OnReadDone(bool ok) {
  MutexLock lock(mutex_);
  if (ended_.has_value()) return;
  if (!ok) {
    EndLocked(context_.IsCancelled() ? WentAway()
              : has_init_            ? absl::OkStatus()  // it closed its side
                                     : NoInit());
    return;
  }
  const absl::Status taken = TakeRequest();
  if (!taken.ok()) EndLocked(taken);
  if (ended_.has_value() || consumer_ == nullptr) return;
  StartRead(&request_);
  if (dumps_ && dumps_->EndAnswers()) {
    wake_is_due_ = false;  // one that comes all the same does no harm
    Pump();
  }
}

void CaptureSession::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  writing_ = false;
  reply_.Clear();
  if (ended_.has_value()) {
    FinishIfIdle();
    return;
  }
  if (!ok) {
    EndLocked(WentAway());
    return;
  }
  delivered_ += in_reply_;
  Pump();
}

void CaptureSession::OnCancel() { End(WentAway()); }

void CaptureSession::OnDone() {
  {
    MutexLock lock(mutex_);
    log::Write(LevelOf(*ended_), "capture session ended",
               {{"uri", ForLog(init_.uri)},
                {"peer", peer_},
                {"delivered", std::to_string(delivered_)},
                {"error", ended_->error_message()}});
  }
  sessions_.Remove(this);
}

absl::Status CaptureSession::TakeRequest() {
  grpc::ByteBuffer bytes;
  bytes.Swap(&request_);
  alignas(std::max_align_t) std::array<char, kRequestMemoryBytes> memory;
  google::protobuf::Arena arena(WithFirstBlock(memory));
  auto& request = *google::protobuf::Arena::CreateMessage<pb::CaptureRequest>(&arena);
  if (!grpc::SerializationTraits<pb::CaptureRequest>::Deserialize(&bytes, &request).ok()) {
    return absl::InvalidArgumentError("a request is no CaptureRequest");
  }
  if (!has_init_) {
    if (!request.has_init()) return NoInit();
    return BeginAttaching(request.init());
  }
  // A later init is ignored by contract; so is what a newer consumer may send.
  return request.has_ack() ? TakeAck(request.ack()) : absl::OkStatus();
}

// What has to be asked for may be on other machines, and this thread is others' too.
absl::Status CaptureSession::BeginAttaching(const pb::CaptureInit& init) {
  PGC_ASSIGN_OR_RETURN(init_, ReadCaptureInit(init));
  has_init_ = true;
  PGC_ASSIGN_OR_RETURN(const auto permit, sessions_.BeginAttaching());
  attaching_ = background_.Start([session = weak_from_this(), &resolver = resolver_, init = init_,
                                  permit](const std::stop_token& stop) {
    auto attachment = Attach(resolver, init, stop);
    const auto self = session.lock();
    const bool taken = self != nullptr && self->TakeAttachment(attachment);
    if (!taken && attachment.ok()) ForgetDumps(init, attachment->dumps);
  });
  return absl::OkStatus();
}

// False when the session has ended meanwhile: the consumer is left to the caller, who may wait.
bool CaptureSession::TakeAttachment(absl::StatusOr<Attachment>& attachment) {
  MutexLock lock(mutex_);
  if (ended_.has_value()) return false;
  if (!attachment.ok()) {
    EndLocked(attachment.status());
    return false;
  }
  consumer_ = std::move(attachment->consumer);
  dump_source_ = std::move(attachment->dumps);
  place_.passed = attachment->handed_to_others;
  StartStream();
  return true;
}

void CaptureSession::StartStream() {
  log::Info("capture session started",
            {{"uri", ForLog(init_.uri)}, {"peer", peer_}, {"after", ToKey(consumer_->start())}});
  // Tells the consumer that it is attached, before there is anything to send.
  StartSendInitialMetadata();
  if (dump_source_.sources.controller != nullptr) StartDumps();
  StartRead(&request_);
  Pump();
}

void CaptureSession::StartDumps() {
  place_.own = consumer_->start();
  // What stands alone in the log has seq 0, and a place that no replica says it has come to: each
  // dump would wait for that in vain.
  if (place_.passed.seq > 0) place_.newest_commit = place_.passed.lsn;
  DumpFeed::Options options;
  options.hold = sessions_.feeds().Take();
  options.uri = dump_source_.uri;
  options.sources = dump_source_.sources;
  options.wants = dump_source_.wants;
  options.ready = [&wakes = wakes_, session = weak_from_this()] { wakes.Push(session); };
  feed_ = std::make_shared<DumpFeed>(std::move(options));
  dumps_.emplace(*feed_, *consumer_, background_, init_.extras, init_.batched);
  (void)TellDumpsWhere();
  feed_->Start(place_.passed.lsn);
}

// Whether dumps are read for it.
bool CaptureSession::TellDumpsWhere() {
  if (feed_ == nullptr) return true;
  using Rest = StreamProgress::Rest;
  const StreamProgress progress = consumer_->progress();
  feed_->SetPosition(place_.newest_commit);
  const Lsn newest = place_.own.lsn;
  const uint64_t behind = progress.captured > newest ? progress.captured.value - newest.value : 0;
  const bool is_near = progress.rest != Rest::kMore || behind < kMaxBytesBehind;
  feed_->SetHold(is_near ? std::string()
                         : fmt::format("it is {} MiB of WAL behind: dumps begin when it is nearer",
                                       behind >> 20));
  return is_near;
}

absl::Status CaptureSession::TakeAck(const pb::CaptureAck& ack) {
  if (!ack.has_checkpoint()) return absl::InvalidArgumentError("an ack without a checkpoint");
  PGC_RETURN_IF_ERROR(TakeAckOf(ack.checkpoint(), ack.requeue_reason()));
  for (const pb::Checkpoint& checkpoint : ack.more()) {
    PGC_RETURN_IF_ERROR(TakeAckOf(checkpoint, ack.requeue_reason()));
  }
  return absl::OkStatus();
}

absl::Status CaptureSession::TakeAckOfDump(const pb::Checkpoint& checkpoint,
                                           const std::string& requeue_reason) {
  if (feed_ == nullptr) {
    return absl::InvalidArgumentError("an ack of lsn 0, which no change of this gateway has");
  }
  if (requeue_reason.empty()) {
    const bool last = !checkpoint.data().empty();
    feed_->AckRow(checkpoint.seq(), last);
    if (last) {
      dumps_->AnsweredLast(checkpoint.seq());
    } else {
      dumps_->Answered();
    }
  } else {
    feed_->RequeueRow(checkpoint.seq(), requeue_reason);
    dumps_->Requeued();
  }
  return absl::OkStatus();
}

absl::Status CaptureSession::TakeAckOf(const pb::Checkpoint& checkpoint,
                                       const std::string& requeue_reason) {
  if (checkpoint.lsn() == 0) return TakeAckOfDump(checkpoint, requeue_reason);
  if (const auto repeat = DumpRepeats::Parse(checkpoint.data()); repeat && feed_) {
    if (requeue_reason.empty()) {
      feed_->AckRepeat(repeat->serial, repeat->number);
      dumps_->Answered();
    } else {
      feed_->RequeueRepeat(repeat->serial, requeue_reason);
      dumps_->Requeued();
    }
    return absl::OkStatus();
  }
  if (large_.has_value() && large_->lsn.value == checkpoint.lsn() &&
      large_->seq == checkpoint.seq()) {
    large_events_.Passed(init_.uri, *large_);
    large_.reset();
  }
  return requeue_reason.empty() ? consumer_->Ack(checkpoint.data())
                                : consumer_->Requeue(checkpoint.data());
}

void CaptureSession::Pump() {
  if (consumer_ == nullptr || writing_ || wake_is_due_) return;
  size_t budget = kBytesPerTurn;
  const absl::StatusOr<Found> found = init_.batched ? WriteBatch(budget) : WriteNext(budget);
  if (!found.ok()) {
    EndLocked(found.status());
    return;
  }
  switch (*found) {
    case Found::kEvent:
    case Found::kRow:
      // Before it is sent: who has it may ask for a dump at once.
      if (feed_ != nullptr) feed_->SetPosition(place_.newest_commit);
      writing_ = true;
      StartWrite(&reply_, OptionsOfWrite(*found));
      return;
    case Found::kNothingNow:
      wake_is_due_ = true;
      consumer_->NotifyWhenReady(
          [&wakes = wakes_, session = weak_from_this()] { wakes.Push(session); });
      return;
    case Found::kDumpIsAwaited:
      // The feed wakes the session.
      wake_is_due_ = true;
      return;
    case Found::kOthersTurn:
      wake_is_due_ = true;
      wakes_.Push(weak_from_this());
      return;
  }
}

// Rows go to the network together: what is buffered leaves with the next one, which has to be sure.
grpc::WriteOptions CaptureSession::OptionsOfWrite(Found what) {
  grpc::WriteOptions options;
  if (!dumps_) return options;
  dumps_->EndMessage();
  const bool has_next =
      what == Found::kRow && dumps_->IsSurelyAtRow() && IsSendable(dumps_->part());
  if (has_next) options.set_buffer_hint();
  return options;
}

// Puts what is next into reply_, when there is something.
absl::StatusOr<CaptureSession::Found> CaptureSession::WriteNext(size_t& budget) {
  PGC_ASSIGN_OR_RETURN(const Found found, FindNext(budget));
  if (IsSomething(found)) PGC_RETURN_IF_ERROR(WriteOne(found));
  return found;
}

// Puts what is there now into reply_, as much as fits.
absl::StatusOr<CaptureSession::Found> CaptureSession::WriteBatch(size_t& budget) {
  BatchBuilder batch(init_.max_message_bytes.value_or(BatchBuilder::kMaxBytes));
  while (true) {
    absl::StatusOr<Found> found = FindNext(budget);
    // Whatever it was: it is met again after what was found before it has been sent.
    if (batch.size() > 0 && (!found.ok() || !IsSomething(*found))) break;
    if (!found.ok() || !IsSomething(*found)) return found;
    if (!batch.Add(PartOfFound(*found))) {
      if (batch.size() > 0) break;
      PGC_RETURN_IF_ERROR(WriteOne(*found));  // larger than a batch
      return found;
    }
    TakeFound(*found);
  }
  in_reply_ = batch.size();
  reply_ = batch.Finish();
  return Found::kEvent;
}

// Puts what was found into reply_.
absl::Status CaptureSession::WriteOne(Found what) {
  const ReplyPart part = PartOfFound(what);
  PGC_RETURN_IF_ERROR(CheckSize(part));
  reply_ = SpliceCaptureMessage(part);
  in_reply_ = 1;
  TakeFound(what);
  return absl::OkStatus();
}

ReplyPart CaptureSession::PartOfFound(Found what) {
  if (what == Found::kRow) return dumps_->part();
  ReadDataOfFound();
  return PartOf(position_->slice.block, position_->cursor.event(), data_);
}

void CaptureSession::TakeFound(Found what) {
  if (what == Found::kRow) {
    dumps_->Sent();
    return;
  }
  position_->found = false;
  if (dumps_) dumps_->SentOfStream(position_->cursor.event().message.size());
  Pass(position_->cursor.event());
}

void CaptureSession::Pass(const Event& event) {
  place_.passed = std::max(place_.passed, event.checkpoint);
  place_.own = std::max(place_.own, event.checkpoint);
  // A logical message may stand alone, at a place that no replica says it has come to.
  if (event.kind != EventKind::kLogicalMessage && event.kind != EventKind::kSequences) {
    place_.newest_commit = std::max(place_.newest_commit, event.checkpoint.lsn);
  }
}

// What is to be sent next: an event that the consumer wants, or, before it, a row of a dump.
absl::StatusOr<CaptureSession::Found> CaptureSession::FindNext(size_t& budget) {
  while (true) {
    // Looking into the stream for each row would cost more than the row.
    if (dumps_ && dumps_->IsAtRow() && IsSendable(dumps_->part())) return Found::kRow;
    PGC_ASSIGN_OR_RETURN(const Found found, FindInStream(budget));
    if (!dumps_) return found;
    StreamPlace place = place_;
    if (found == Found::kEvent) {
      place.next = &position_->cursor.event();
      place.slice = &position_->slice;
    }
    // It may come near without an event.
    if (found == Found::kNothingNow && !TellDumpsWhere()) feed_->WakeSoon();
    PGC_ASSIGN_OR_RETURN(const auto turn, dumps_->Next(place, budget));
    if (turn == DumpInjector::Turn::kStreams) return found;
    if (turn == DumpInjector::Turn::kOthers) return Found::kOthersTurn;
    if (turn == DumpInjector::Turn::kWaits) return Found::kDumpIsAwaited;
    if (IsSendable(dumps_->part())) return Found::kRow;
  }
}

// A row that the client cannot receive would end its stream, and come again in the next one.
bool CaptureSession::IsSendable(const ReplyPart& part) {
  const bool is_row = part.checkpoint.lsn == Lsn{};
  if (!is_row) return true;
  const size_t bytes = CaptureMessageBytes(part);
  const uint64_t most = init_.max_message_bytes.value_or(LargeEvents::kUsualLimitBytes);
  if (bytes <= most) return true;
  dumps_->Refuse(fmt::format(
      "a row of {} makes a message of {} bytes, and the consumer takes {}: raise the limit of its "
      "gRPC client, and say so in the parameter MaxMessageBytes",
      dumps_->TableName(), bytes, most));
  return false;
}

// Moves to the next event that the consumer wants, unless it is there already, and acknowledges
// what lies before it.
absl::StatusOr<CaptureSession::Found> CaptureSession::FindInStream(size_t& budget) {
  PGC_RETURN_IF_ERROR(failed_);
  while (true) {
    if (position_.has_value()) {
      const auto found = FindInSlice();
      if (!found.ok()) return failed_ = found.status();
      if (*found) return Found::kEvent;
      position_.reset();
    }
    if (budget == 0) return Found::kOthersTurn;
    auto slice = consumer_->TryNext();
    if (!slice.ok()) return failed_ = slice.status();
    if (!slice->has_value()) return Found::kNothingNow;
    budget -= std::min(budget, std::max((*slice)->block->bytes().size(), kMinBlockBytes));
    MoveTo(**std::move(slice));
    (void)TellDumpsWhere();
  }
}

void CaptureSession::MoveTo(EventSlice slice) {
  Block::Cursor cursor(*slice.block);
  cursor.SkipTo(slice.begin);
  std::vector<bool> wanted;
  wanted.reserve(slice.block->tables().size());
  for (const TableName& table : slice.block->tables()) {
    wanted.push_back(init_.tables.Matches(table.name) && init_.schemas.Matches(table.schema));
  }
  position_.emplace(
      Position{.slice = std::move(slice), .cursor = cursor, .wanted = std::move(wanted)});
}

// False when the slice has no more that the consumer wants.
absl::StatusOr<bool> CaptureSession::FindInSlice() {
  Position& position = *position_;
  if (position.found) return true;
  const EventSlice& slice = position.slice;
  const uint32_t begin = position.cursor.index() + 1;
  uint32_t at = begin;
  while (at < slice.end && position.cursor.Next()) {
    PGC_ASSIGN_OR_RETURN(position.found, Wants(position.cursor.event()));
    if (position.found) break;
    Pass(position.cursor.event());
    ++at;
  }
  if (at > begin) consumer_->AckRange(slice, begin, at);
  return position.found;
}

absl::StatusOr<bool> CaptureSession::Wants(const Event& event) {
  const auto damaged = [&event](std::string_view what) {
    return absl::DataLossError(
        fmt::format("the stored event {} is no {}, but is indexed as one: "
                    "restore the store",
                    ToKey(event.checkpoint), what));
  };
  switch (event.kind) {
    case EventKind::kChange:
      if (!position_->Wants(event.table)) return false;
      if (event.table == Event::kNoTable || !IsWhatItsKindSays(event)) return damaged("change");
      return true;
    case EventKind::kBegin:
    case EventKind::kCommit:
      if (!init_.boundaries) return false;
      if (!IsWhatItsKindSays(event)) return damaged("begin or commit");
      return true;
    case EventKind::kTruncate: {
      if (!init_.extras) return false;
      pb::Message message;
      if (!message.ParseFromArray(event.message.data(), static_cast<int>(event.message.size())) ||
          !IsWhatItsKindSays(event)) {
        return damaged("truncate");
      }
      for (const auto& relation : message.truncate().relations()) {
        if (init_.tables.Matches(relation.table()) && init_.schemas.Matches(relation.schema())) {
          return true;
        }
      }
      return false;
    }
    case EventKind::kLogicalMessage:
      if (!init_.extras) return false;
      if (!IsWhatItsKindSays(event)) return damaged("logical message");
      return true;
    case EventKind::kSequences:
      // Of use to a copy of the database only, which reads the log itself.
      return false;
  }
  return false;
}

void CaptureSession::ReadDataOfFound() {
  data_.clear();
  consumer_->AppendData(position_->slice, position_->cursor.index(), data_);
}

// ResourceExhausted when the consumer cannot receive the event.
absl::Status CaptureSession::CheckSize(const ReplyPart& part) {
  const size_t bytes = CaptureMessageBytes(part);
  const auto refused = [&](const std::string& why) {
    return absl::ResourceExhaustedError(
        fmt::format("the event {} of {} makes a message of {} bytes, {}", ToKey(part.checkpoint),
                    TableOf(part), bytes, why));
  };
  if (init_.max_message_bytes.has_value()) {
    if (bytes <= *init_.max_message_bytes) return absl::OkStatus();
    return refused(
        fmt::format("more than the {} that the consumer takes: raise the limit of its "
                    "gRPC client, and say so in the parameter MaxMessageBytes",
                    *init_.max_message_bytes));
  }
  if (bytes <= LargeEvents::kUsualLimitBytes) return absl::OkStatus();
  const auto wait =
      large_events_.RefusedFor(init_.uri, part.checkpoint, std::chrono::steady_clock::now());
  if (wait.count() > 0) {
    return refused(fmt::format(
        "and streams of this subscription broke at it: a gRPC client takes {} unless told. Raise "
        "its limit, and say so in the parameter MaxMessageBytes. It will be sent again in {} ms",
        LargeEvents::kUsualLimitBytes, wait.count()));
  }
  if (!large_.has_value()) large_ = part.checkpoint;
  return absl::OkStatus();
}

void CaptureSession::EndLocked(const absl::Status& status) {
  if (ended_.has_value()) return;
  ended_ = ToGrpc(status);
  if (large_.has_value() && absl::IsCancelled(status)) large_events_.Broke(init_.uri, *large_);
  position_.reset();
  if (feed_ != nullptr) feed_->Close();
  if (init_.consumer.ephemeral && dump_source_.sources.controller != nullptr) {
    (void)background_.Start([init = init_, dumps = dump_source_](const std::stop_token& /*stop*/) {
      ForgetDumps(init, dumps);
    });
  }
  dumps_.reset();
  feed_.reset();
  attaching_ = {};
  GiveBackConsumer();
  FinishIfIdle();
}

// What closing it waits for may be on another machine.
void CaptureSession::GiveBackConsumer() {
  if (consumer_ == nullptr || !consumer_->IsRemote()) {
    consumer_.reset();
    return;
  }
  closing_ = true;
  (void)background_.Start(
      [self = shared_from_this(), consumer = std::shared_ptr<EventConsumer>(std::move(consumer_))](
          const std::stop_token& /*stop*/) mutable {
        consumer.reset();
        MutexLock lock(self->mutex_);
        self->closing_ = false;
        self->FinishIfIdle();
      });
}

// Finish is to come after the last write, and when the next session of the subscription can have
// it.
void CaptureSession::FinishIfIdle() {
  if (ended_.has_value() && !writing_ && !closing_) Finish(*ended_);
}

}  // namespace pgc
