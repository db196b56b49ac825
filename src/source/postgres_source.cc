#include "source/postgres_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "pg/connection.h"
#include "pg/replication_stream.h"
#include "source/feedback.h"
#include "source/names.h"
#include "source/output_plugin.h"
#include "source/publication.h"
#include "source/read_pace.h"
#include "source/sequences.h"
#include "source/server.h"
#include "source/side_session.h"
#include "source/silence.h"
#include "source/slot.h"
#include "source/stream_decoder.h"
#include "source/stream_message.h"
#include "source/transaction_spool.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

// How long the slot, or a walsender, of a client that just died is waited for.
constexpr seconds kInUseTimeout{10};
constexpr milliseconds kInUsePoll{100};
// What the server waits for at most before it ends a connection is its wal_sender_timeout.
constexpr milliseconds kStatusInterval{5'000};

// An event is handed out after this at the latest, however steady the stream.
constexpr milliseconds kMaxHold{5};
// What is read back of a spooled transaction before its blocks are looked at.
constexpr size_t kReplayBytes = 256 << 10;
// A position alone: on a busy server it moves all the time, and each costs the sink a sync.
constexpr milliseconds kPositionInterval{50};

constexpr seconds kSilenceCheckInterval{5};

constexpr char kTooManyConnections[] = "53300";
constexpr char kObjectInUse[] = "55006";
constexpr char kUndefinedObject[] = "42704";
constexpr char kInternalError[] = "XX000";

class PostgresSource final : public EventSource {
 public:
  explicit PostgresSource(PostgresSourceOptions options) : options_(std::move(options)) {}
  ~PostgresSource() override {
    sequence_session_.reset();
    heartbeat_.reset();
    feedback_.Stop();
  }

  absl::Status Open(const ResumePoint& resume, std::stop_token stop) override;
  absl::StatusOr<EventBatch> Next(std::stop_token stop) override;
  void Acknowledge(Lsn captured) override { feedback_.Acknowledge(captured); }

 private:
  absl::StatusOr<std::unique_ptr<Connection>> OpenWalsender(const std::stop_token& stop) const;
  void MakeDecoder(std::unique_ptr<TransactionSpool> spool, const std::stop_token& stop);
  void StartSideSessions();
  absl::Status StartStream(Connection& sql, std::unique_ptr<Connection> walsender, Lsn start,
                           const std::stop_token& stop);
  absl::Status StartOver(const absl::Status& why, const std::stop_token& stop);
  absl::Status Explain(const absl::Status& status) const;

  absl::StatusOr<EventBatch> NextBatch(const std::stop_token& stop);
  bool Handle(std::span<const uint8_t> bytes);
  absl::Status Watch(Connection& sql, const std::stop_token& stop);
  absl::Status Replay();
  bool IsDue(Clock::time_point now, bool idle) const;
  EventBatch HandOut(std::vector<std::shared_ptr<const Block>> blocks, Lsn captured);
  EventBatch HandOutAll();
  bool HasEvents() const { return decoder_->events().pending_bytes() > 0; }

  const PostgresSourceOptions options_;
  std::string slot_;
  std::unique_ptr<OutputPlugin> plugin_;

  // The pipeline's thread's.
  std::string origin_;
  std::unique_ptr<StreamDecoder> decoder_;
  absl::Status broken_;                             // why Handle went no further
  std::vector<std::shared_ptr<const Block>> full_;  // finished by the newest message
  Lsn full_captured_;                               // what they and all before them cover
  Lsn position_;                                    // all before is decoded, if not handed out
  Lsn handed_out_;
  Clock::time_point handed_out_at_;
  Clock::time_point held_since_;  // the oldest event not handed out, while there is one
  size_t messages_ = 0;           // in the newest read
  std::optional<ReadPace> pace_;
  Silence silence_;

  std::unique_ptr<ReplicationStream> stream_;
  Feedback feedback_;  // uses stream_
  Sequences sequences_;
  std::unique_ptr<SideSession> heartbeat_;
  std::unique_ptr<SideSession> sequence_session_;  // uses sequences_
};

absl::Status PostgresSource::Open(const ResumePoint& resume, std::stop_token stop) {
  PGC_ASSIGN_OR_RETURN(slot_, SlotName(options_.topic));
  PGC_ASSIGN_OR_RETURN(plugin_, NewOutputPlugin(options_, slot_));
  std::unique_ptr<TransactionSpool> spool;
  if (!options_.spool_dir.empty() && plugin_->sends_pieces()) {
    PGC_ASSIGN_OR_RETURN(spool, TransactionSpool::Open(options_.spool_dir));
  }
  MakeDecoder(std::move(spool), stop);

  PGC_ASSIGN_OR_RETURN(const auto sql, Connection::Open(options_.url, {}, stop));
  PGC_RETURN_IF_ERROR(PrepareSession(*sql, stop));
  PGC_RETURN_IF_ERROR(CheckServer(*sql, stop));
  PGC_RETURN_IF_ERROR(plugin_->Check(*sql, stop));
  PGC_ASSIGN_OR_RETURN(auto walsender, OpenWalsender(stop));
  PGC_ASSIGN_OR_RETURN(const Origin origin, ReadOrigin(*walsender, stop));
  origin_ = ToString(origin);
  Lsn captured = resume.captured;
  if (!resume.origin.empty()) {
    PGC_ASSIGN_OR_RETURN(const Origin stored, ParseOrigin(resume.origin));
    PGC_ASSIGN_OR_RETURN(captured, CheckOrigin(*walsender, stored, origin, resume, stop));
  }
  PGC_RETURN_IF_ERROR(CheckSlot(
      *sql, slot_, {.lsn = captured, .is_least = resume.captured_is_least}, stop, plugin_->name()));
  if (captured != Lsn{}) PGC_RETURN_IF_ERROR(plugin_->CheckGoesOn(*sql, stop));
  PGC_RETURN_IF_ERROR(WaitForSlot(*sql, slot_, Clock::now() + kInUseTimeout, stop));
  // Nothing has been changed on the server up to here.
  PGC_RETURN_IF_ERROR(plugin_->Prepare(*sql, stop));
  PGC_ASSIGN_OR_RETURN(const Lsn start, EnsureSlot(*sql, slot_, captured, stop, plugin_->name()));
  feedback_.Acknowledge(start);
  PGC_RETURN_IF_ERROR(StartStream(*sql, std::move(walsender), start, stop));

  StartSideSessions();
  return absl::OkStatus();
}

void PostgresSource::MakeDecoder(std::unique_ptr<TransactionSpool> spool,
                                 const std::stop_token& stop) {
  decoder_ = std::make_unique<StreamDecoder>(std::move(spool), plugin_->NewDecoder(stop));
  decoder_->events().set_sequences(sequences_.secret(), [this] {
    sequences_.WriteAll();
    if (sequence_session_ != nullptr) sequence_session_->Soon();
  });
}

void PostgresSource::StartSideSessions() {
  heartbeat_ = std::make_unique<SideSession>(
      SideSession::Options{
          .name = "heartbeat", .url = options_.url, .interval = options_.heartbeat_interval},
      [this](Connection& sql, const std::stop_token& stop) -> absl::Status {
        PGC_RETURN_IF_ERROR(WriteHeartbeat(sql, stop));
        return Watch(sql, stop);
      });
  // Another session: many sequences, or locked ones, must not hold back the heartbeat.
  if (!plugin_->sends_logical_messages()) return;
  sequence_session_ = std::make_unique<SideSession>(
      SideSession::Options{.name = "reading of sequences",
                           .url = options_.url,
                           .interval = options_.sequence_interval,
                           .setup = Sequences::kSetup},
      [this](Connection& sql, const std::stop_token& stop) { return sequences_.Round(sql, stop); });
}

absl::StatusOr<std::unique_ptr<Connection>> PostgresSource::OpenWalsender(
    const std::stop_token& stop) const {
  const std::string& url =
      options_.replication_url.empty() ? options_.url : options_.replication_url;
  const auto deadline = Clock::now() + kInUseTimeout;
  while (true) {
    auto walsender = Connection::Open(url, {.replication = true}, stop);
    // The same SQLSTATE says that there are too many ordinary clients, which may pass; the name of
    // the setting is there in every language.
    if (walsender.ok() || SqlStateOf(walsender.status()) != kTooManyConnections ||
        std::string(walsender.status().message()).find("max_wal_senders") == std::string::npos) {
      return walsender;
    }
    if (Clock::now() >= deadline) {
      return absl::FailedPreconditionError(
          fmt::format("the server has no walsender to spare: stop a standby or another capture, or "
                      "raise max_wal_senders and restart the server ({})",
                      std::string(walsender.status().message())));
    }
    Pause(kInUsePoll, stop);
    if (stop.stop_requested()) return absl::CancelledError("stopped");
  }
}

absl::Status PostgresSource::StartStream(Connection& sql, std::unique_ptr<Connection> walsender,
                                         Lsn start, const std::stop_token& stop) {
  PGC_ASSIGN_OR_RETURN(
      const Result timeout,
      walsender->Query("SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'", {},
                       stop));
  milliseconds interval = kStatusInterval;
  if (timeout.Int(0, 0) > 0) interval = std::min(interval, milliseconds(timeout.Int(0, 0) / 3));

  const std::string command = fmt::format(
      "START_REPLICATION SLOT {} LOGICAL {} ({})", QuoteIdentifier(slot_), ToString(start),
      plugin_->StartOptions(sql.server_version(), decoder_->takes_pieces()));
  const auto deadline = Clock::now() + kInUseTimeout;
  while (true) {
    auto stream = ReplicationStream::Start(std::move(walsender), command, stop);
    if (stream.ok()) {
      stream_ = *std::move(stream);
      break;
    }
    // Someone else was quicker, since the slot was seen free.
    if (SqlStateOf(stream.status()) != kObjectInUse) return stream.status();
    PGC_RETURN_IF_ERROR(WaitForSlot(sql, slot_, deadline, stop));
    PGC_ASSIGN_OR_RETURN(walsender, OpenWalsender(stop));
  }
  pace_.emplace(stream_->is_unix_socket());
  position_ = handed_out_ = start;
  feedback_.Start(*stream_, interval);
  log::Info("streaming", {{"slot", slot_}, {"lsn", ToString(start)}});
  return absl::OkStatus();
}

// The heartbeat's thread's.
absl::Status PostgresSource::Watch(Connection& sql, const std::stop_token& stop) {
  absl::Status status = plugin_->Watch(sql, stop);
  // A question that failed may be answered the next time; a publication that is gone stays so.
  if (absl::IsFailedPrecondition(status) && SqlStateOf(status).empty()) feedback_.Fail(status);
  return status;
}

// Has the server send every transaction whole from here on, which does what pieces cannot
// (docs/decisions/streamed-transactions.md), but large ones spill to its disk. What was handed out
// of the newest one comes again.
absl::Status PostgresSource::StartOver(const absl::Status& why, const std::stop_token& stop) {
  log::Warning("transactions in progress are not taken in pieces until serve is started again",
               {{"slot", slot_}, {"error", std::string(why.message())}});
  feedback_.Stop();
  stream_.reset();
  MakeDecoder(nullptr, stop);
  broken_ = absl::OkStatus();
  full_.clear();
  held_since_ = {};
  PGC_ASSIGN_OR_RETURN(const auto sql, Connection::Open(options_.url, {}, stop));
  PGC_RETURN_IF_ERROR(PrepareSession(*sql, stop));
  PGC_ASSIGN_OR_RETURN(auto walsender, OpenWalsender(stop));
  return StartStream(*sql, std::move(walsender), handed_out_, stop);
}

absl::StatusOr<EventBatch> PostgresSource::Next(std::stop_token stop) {
  absl::StatusOr<EventBatch> batch = NextBatch(stop);
  if (batch.ok()) return batch;
  // Servers before 17 cannot decode some transactions while they are in progress.
  const bool whole_may_help =
      absl::IsAborted(batch.status()) || SqlStateOf(batch.status()) == kInternalError;
  if (!whole_may_help || !decoder_->takes_pieces()) return Explain(batch.status());
  PGC_RETURN_IF_ERROR(StartOver(batch.status(), stop));
  batch = NextBatch(stop);
  return batch.ok() ? std::move(batch) : Explain(batch.status());
}

// The operator's words for what the server says when it cannot decode.
absl::Status PostgresSource::Explain(const absl::Status& status) const {
  const std::string state = SqlStateOf(status);
  const std::string message(status.message());
  // The name stands in the message whatever its language.
  if (state == kUndefinedObject && message.find(slot_) != std::string::npos) {
    return PublicationWasMissing(slot_, handed_out_);
  }
  if (state != kInternalError) return status;
  return absl::FailedPreconditionError(fmt::format(
      "the server cannot decode what follows {}: {}; nothing was skipped. Update PostgreSQL to the "
      "newest minor release and start again; to begin anew, drop the slot and start with an empty "
      "data directory",
      ToString(handed_out_), message));
}

absl::StatusOr<EventBatch> PostgresSource::NextBatch(const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this] { stream_->Wake(); });
  const ReplicationStream::Handler handle = [this](std::span<const uint8_t> bytes) {
    return Handle(bytes);
  };
  // Time spent outside was the sink's, not a silence of the server's.
  silence_.Heard(Clock::now());
  while (true) {
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    if (decoder_->replaying()) {
      PGC_RETURN_IF_ERROR(Replay());
      if (!full_.empty()) return HandOut(std::exchange(full_, {}), full_captured_);
      continue;
    }
    messages_ = 0;
    PGC_ASSIGN_OR_RETURN(const size_t bytes, stream_->Read(handle));
    PGC_RETURN_IF_ERROR(broken_);
    // After what was there to read, which may tell why nothing can be sent.
    if (bytes == 0) PGC_RETURN_IF_ERROR(feedback_.status());
    const auto now = Clock::now();
    const auto nap = bytes > 0 ? pace_->AfterData(bytes, messages_) : pace_->AfterNothing();
    if (!full_.empty()) return HandOut(std::exchange(full_, {}), full_captured_);
    if (bytes > 0) {
      silence_.Heard(now);
      if (HasEvents() && held_since_ == Clock::time_point()) held_since_ = now;
    }
    // Without a nap after nothing the stream is idle.
    if (IsDue(now, bytes == 0 && nap == ReadPace::Duration())) return HandOutAll();
    if (nap > ReadPace::Duration()) {
      std::this_thread::sleep_for(nap);
    } else if (bytes == 0) {
      PGC_ASSIGN_OR_RETURN(const bool ping, silence_.Check(now));
      if (ping) feedback_.Ping();
      stream_->Wait(position_ > handed_out_ ? handed_out_at_ + kPositionInterval
                                            : now + kSilenceCheckInterval);
    }
  }
}

bool PostgresSource::IsDue(Clock::time_point now, bool idle) const {
  if (HasEvents()) return idle || now - held_since_ >= kMaxHold;
  return position_ > handed_out_ && now - handed_out_at_ >= kPositionInterval;
}

// Stops after the message that filled a block, so that `before` is what the full blocks cover.
bool PostgresSource::Handle(std::span<const uint8_t> bytes) {
  ++messages_;
  const absl::StatusOr<StreamMessage> message = ParseStreamMessage(bytes);
  if (!message.ok()) {
    broken_ = message.status();
    return false;
  }
  if (message->kind == StreamMessage::Kind::kKeepalive) {
    // Inside a transaction the position lies behind its changes, which are not all here.
    if (decoder_->between_transactions()) position_ = std::max(position_, message->wal_end);
    if (message->reply_requested) feedback_.Reply();
    return true;
  }
  const Lsn before = position_;
  if (absl::Status status = decoder_->Decode(message->data); !status.ok()) {
    broken_ =
        absl::Status(status.code(),
                     fmt::format("{} (after {})", std::string(status.message()), ToString(before)));
    return false;
  }
  position_ = std::max(position_, decoder_->events().end_lsn());
  full_ = decoder_->events().TakeFull();
  full_captured_ = before;
  return full_.empty() && !decoder_->replaying();
}

// Goes on with a transaction whose commit has come; nothing is read from the server meanwhile.
absl::Status PostgresSource::Replay() {
  full_captured_ = position_;
  PGC_RETURN_IF_ERROR(decoder_->Replay(kReplayBytes));
  position_ = std::max(position_, decoder_->events().end_lsn());
  full_ = decoder_->events().TakeFull();
  return absl::OkStatus();
}

EventBatch PostgresSource::HandOut(std::vector<std::shared_ptr<const Block>> blocks, Lsn captured) {
  handed_out_ = captured;
  handed_out_at_ = Clock::now();
  held_since_ = {};
  feedback_.HandedOut(captured);
  return {.blocks = std::move(blocks), .captured = captured, .origin = origin_};
}

EventBatch PostgresSource::HandOutAll() {
  std::vector<std::shared_ptr<const Block>> blocks;
  if (auto block = decoder_->events().Flush()) blocks.push_back(std::move(block));
  return HandOut(std::move(blocks), position_);
}

}  // namespace

std::unique_ptr<EventSource> NewPostgresSource(PostgresSourceOptions options) {
  return std::make_unique<PostgresSource>(std::move(options));
}

}  // namespace pgc
