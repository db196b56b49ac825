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

// Saves acknowledgements: those of all subscriptions together, with one sync an interval.
//
// Thread-safe. Destruction saves what is left. When a write fails, the subscriptions are told, and
// give that error to their consumers.
class AckWriter {
 public:
  // `database` outlives this object.
  AckWriter(Database& database, std::chrono::milliseconds interval);

  void SaveSoon(uint32_t topic, std::shared_ptr<Subscription> subscription);

 private:
  struct Unsaved {
    uint32_t topic;
    std::shared_ptr<Subscription> subscription;
  };

  void Run(const std::stop_token& stop);
  void Save(const std::vector<Unsaved>& unsaved);

  Database& database_;
  const std::chrono::milliseconds interval_;
  bool failed_ = false;  // the thread's: has been logged
  Mutex mutex_;
  CondVar changed_;
  std::vector<Unsaved> unsaved_ PGC_GUARDED_BY(mutex_);
  std::jthread thread_;  // last: it uses the others
};

// The key of a subscription's record.
std::string SubscriptionKey(uint32_t topic, std::string_view name);

}  // namespace pgc
