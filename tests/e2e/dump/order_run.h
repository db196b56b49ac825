#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "client/capture_client.h"
#include "e2e/dump/order_copy.h"
#include "e2e/dump/order_load.h"
#include "event/lsn.h"

namespace pgc {

// For a busy machine, and for dumps that were given back and rest; what takes longer stands still.
constexpr std::chrono::seconds kOrderWait{240};

struct OrderRunOptions {
  std::string gateway;          // address of gateway and store
  std::string controller = {};  // address; empty: the gateway's
  std::string topic;
  std::string source;  // URL
  std::string schema;  // of this run alone: its tables are made and filled
  uint64_t seed = 0;
  int pages_per_dump = 1;
  int rounds = 3;  // dumps of all tables
  // Several consumers of the subscription, which ask for some of what they get once more, and go by
  // version. Otherwise one that goes by the order of arrival.
  bool shared = false;
  // Changes of `large` have the whole old row (REPLICA IDENTITY FULL).
  bool has_old_rows = false;
  int writers = 3;
  std::string replica;           // URL; empty: none
  bool moves_in_bursts = false;  // of the load
  // Between two dumps.
  std::chrono::milliseconds cool_down{0};
  // Whether the consumers leave out what comes again behind rows.
  bool leaves_out_repeats = false;
  // Of a store that the gateway does not show: gives what tells whether the subscription of the run
  // has acknowledged all that is in the topic now.
  using IsAcknowledged = std::function<absl::StatusOr<bool>()>;
  std::function<IsAcknowledged()> acknowledgement = nullptr;
};

// What the consumers of one uri have, and what they do. Thread-safe.
class OrderConsumers {
 public:
  explicit OrderConsumers(const OrderRunOptions& options);
  // Ends the sessions.
  ~OrderConsumers();

  // False, and a failure of the test, when it does not come.
  bool WaitForBarrier(int number);
  // The transaction of the newest change that has come.
  Lsn newest();
  OrderRows RowsOf(size_t table);
  void Clear();
  // Dumps may be asked for once more so often from now on.
  void AllowRequeues(int count);
  // Why a session has ended, if one has.
  std::string error();
  std::string Counts();

 private:
  void Consume(const std::stop_token& stop, uint64_t seed);
  // Whether it is done with.
  bool Take(const pb::CaptureMessage& message, std::mt19937_64& random);
  bool MayRequeue(const pb::CaptureMessage& message, std::mt19937_64& random);

  const OrderRunOptions options_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::unique_ptr<OrderCopy>> copies_;  // as OrderTables
  int barrier_ = 0;
  int requeues_left_ = 0;
  std::string error_;
  Lsn newest_;
  uint64_t changes_ = 0;
  uint64_t rows_ = 0;
  uint64_t repeats_ = 0;
  uint64_t requeues_ = 0;
  int attached_ = 0;
  std::vector<std::jthread> threads_;
};

// Has the tables dumped, again and again, while they are written to, and compares with them what
// consumers have then. In what they differ; empty when they are equal. That it cannot be found out
// is a failure of the test.
std::string RunOrder(const OrderRunOptions& options);

}  // namespace pgc
