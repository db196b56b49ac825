#include "store/ack_writer.h"

#include <rocksdb/write_batch.h>

#include <utility>

#include "base/big_endian.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "store/records.h"

namespace pgc {

std::string SubscriptionKey(uint32_t topic, std::string_view name) {
  std::string key;
  AppendBigEndian32(key, topic);
  key += name;
  return key;
}

AckWriter::AckWriter(Database& database, std::chrono::milliseconds interval)
    : database_(database),
      interval_(interval),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void AckWriter::SaveSoon(uint32_t topic, std::shared_ptr<Subscription> subscription) {
  MutexLock lock(mutex_);
  unsaved_.push_back({.topic = topic, .subscription = std::move(subscription)});
  changed_.NotifyAll();
}

void AckWriter::Run(const std::stop_token& stop) {
  bool stopped = false;
  while (!stopped) {
    std::vector<Unsaved> unsaved;
    {
      MutexLock lock(mutex_);
      // Acknowledgements come in crowds: what comes within the interval shares the sync.
      if (changed_.Wait(mutex_, stop,
                        [this]() PGC_REQUIRES(mutex_) { return !unsaved_.empty(); })) {
        (void)changed_.WaitUntil(mutex_, stop, std::chrono::steady_clock::now() + interval_,
                                 [] { return false; });
      }
      stopped = stop.stop_requested();
      unsaved = std::exchange(unsaved_, {});
    }
    Save(unsaved);
  }
}

absl::Status AckWriter::Write(const std::vector<Unsaved>& unsaved) {
  MutexLock lock(write_mutex_);
  rocksdb::WriteBatch batch;
  std::vector<std::pair<Subscription*, uint64_t>> lows;
  for (const Unsaved& one : unsaved) {
    if (one.subscription->deleted()) continue;
    const SubscriptionRecord record = one.subscription->TakeRecord();
    lows.emplace_back(one.subscription.get(), record.acked.low());
    const rocksdb::Status put =
        batch.Put(database_.subscriptions(), SubscriptionKey(one.topic, one.subscription->name()),
                  EncodeSubscription(record));
    if (!put.ok()) return absl::InternalError(put.ToString());
  }
  if (lows.empty()) return absl::OkStatus();
  PGC_RETURN_IF_ERROR(database_.Write(batch));
  for (const auto& [subscription, low] : lows) subscription->Saved(low);
  return absl::OkStatus();
}

void AckWriter::Save(const std::vector<Unsaved>& unsaved) {
  if (unsaved.empty()) return;
  const absl::Status status = Write(unsaved);
  if (status.ok()) return;
  if (!std::exchange(failed_, true)) {
    log::Error("acknowledgements cannot be saved", {{"error", std::string(status.message())}});
  }
  for (const Unsaved& one : unsaved) one.subscription->Fail(status);
}

absl::Status AckWriter::Save(uint32_t topic, const std::shared_ptr<Subscription>& subscription) {
  return Write({{.topic = topic, .subscription = subscription}});
}

absl::Status AckWriter::Forget(uint32_t topic, const std::shared_ptr<Subscription>& subscription) {
  MutexLock lock(write_mutex_);
  rocksdb::WriteBatch batch;
  const rocksdb::Status removed =
      batch.Delete(database_.subscriptions(), SubscriptionKey(topic, subscription->name()));
  if (!removed.ok()) return absl::InternalError(removed.ToString());
  return database_.Write(batch);
}

}  // namespace pgc
