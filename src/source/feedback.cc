#include "source/feedback.h"

#include <algorithm>

#include "event/pg_timestamp.h"
#include "source/stream_message.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

// Under load; each update costs the walsender a wake-up.
constexpr std::chrono::milliseconds kMinInterval{100};
// Until what the server did not take is tried again.
constexpr std::chrono::milliseconds kFlushInterval{20};

}  // namespace

void Feedback::Start(ReplicationStream& stream, std::chrono::milliseconds interval) {
  interval_ = interval;
  {
    MutexLock lock(mutex_);
    stream_ = &stream;
    status_ = absl::OkStatus();
  }
  thread_ = std::jthread([this, &stream](const std::stop_token& stop) { Run(stream, stop); });
}

void Feedback::Stop() {
  thread_ = std::jthread();
  MutexLock lock(mutex_);
  stream_ = nullptr;
}

void Feedback::HandedOut(Lsn captured) {
  MutexLock lock(mutex_);
  handed_out_ = std::max(handed_out_, captured);
}

void Feedback::Acknowledge(Lsn captured) {
  MutexLock lock(mutex_);
  acknowledged_ = std::max(acknowledged_, captured);
  changed_.NotifyOne();
}

void Feedback::Reply() {
  MutexLock lock(mutex_);
  reply_ = true;
  changed_.NotifyOne();
}

void Feedback::Ping() {
  MutexLock lock(mutex_);
  ping_ = true;
  changed_.NotifyOne();
}

void Feedback::Fail(const absl::Status& why) {
  MutexLock lock(mutex_);
  failed_ = why;
  if (stream_ != nullptr) stream_->Wake();
}

absl::Status Feedback::status() const {
  MutexLock lock(mutex_);
  return failed_.ok() ? status_ : failed_;
}

bool Feedback::IsUrgent() const {
  return reply_ || ping_ || (acknowledged_ > sent_ && acknowledged_ >= handed_out_);
}

std::optional<Feedback::Update> Feedback::WaitForUpdate(const std::stop_token& stop) {
  MutexLock lock(mutex_);
  while (!IsUrgent()) {
    const bool news = acknowledged_ > sent_;
    const auto due = sent_at_ + (news ? std::min(kMinInterval, interval_) : interval_);
    if (Clock::now() >= due) break;
    // News bring the due time forward.
    changed_.WaitUntil(mutex_, stop, due, [this, news]() PGC_REQUIRES(mutex_) {
      return IsUrgent() || news != (acknowledged_ > sent_);
    });
    if (stop.stop_requested()) return std::nullopt;
  }
  const Update update{.flushed = acknowledged_, .ping = ping_};
  sent_ = acknowledged_;
  sent_at_ = Clock::now();
  reply_ = ping_ = false;
  return update;
}

void Feedback::Run(ReplicationStream& stream, const std::stop_token& stop) {
  const auto wait_to_flush = [this, &stop] {
    MutexLock lock(mutex_);
    changed_.WaitUntil(mutex_, stop, Clock::now() + kFlushInterval, [] { return false; });
  };
  while (const auto update = WaitForUpdate(stop)) {
    absl::StatusOr<bool> sent =
        stream.Send(MakeStatusUpdate(update->flushed, PgNow().us, update->ping));
    while (sent.ok() && !*sent && !stop.stop_requested()) {
      wait_to_flush();
      sent = stream.Flush();
    }
    if (sent.ok()) continue;
    MutexLock lock(mutex_);
    status_ = sent.status();
    stream.Wake();
    return;
  }
  // What was acknowledged last need not be sent again to whoever comes next.
  MutexLock lock(mutex_);
  if (acknowledged_ > sent_) {
    (void)stream.Send(MakeStatusUpdate(acknowledged_, PgNow().us, false));
  }
}

}  // namespace pgc
