#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "store/database.h"
#include "store/subscription.h"

namespace pgc {

// Writes the records of subscriptions, and is the only one that does. Acknowledgements of all share
// one sync an interval.
//
// Thread-safe. Destruction saves what is left. When a write fails, the subscriptions are told, and
// give that error to their consumers.
class AckWriter {
 public:
  // `database` outlives this object.
  AckWriter(Database& database, std::chrono::milliseconds interval);

  // Returns when the subscription's record is durable as it is now, or not there any more.
  absl::Status Save(uint32_t topic, const std::shared_ptr<Subscription>& subscription);
  absl::Status Forget(uint32_t topic, const std::shared_ptr<Subscription>& subscription);
  void SaveSoon(uint32_t topic, std::shared_ptr<Subscription> subscription);

 private:
  struct Unsaved {
    uint32_t topic;
    std::shared_ptr<Subscription> subscription;
  };

  void Run(const std::stop_token& stop);
  void Save(const std::vector<Unsaved>& unsaved);
  absl::Status Write(const std::vector<Unsaved>& unsaved);

  Database& database_;
  const std::chrono::milliseconds interval_;
  // From taking what is to be saved until it is: an older state never overwrites a newer one.
  Mutex write_mutex_;
  bool failed_ = false;  // the thread's: has been logged
  Mutex mutex_;
  CondVar changed_;
  std::vector<Unsaved> unsaved_ PGC_GUARDED_BY(mutex_);
  std::jthread thread_;  // last: it uses the others
};

// The key of a subscription's record.
std::string SubscriptionKey(uint32_t topic, std::string_view name);

}  // namespace pgc
