#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "event/lsn.h"
#include "pg/connection.h"

namespace pgc {

// A table whose dumps are looked at: the columns that its changes have, its key first if it has
// one.
struct OrderTable {
  std::string name;
  bool has_key = true;
  std::vector<std::string> columns;
};

// `large` has a value out of line in each row, `lean` cannot have any, `loose` has no key.
const std::vector<OrderTable>& OrderTables();

// In each; those with a key are numbered from 1 on.
constexpr uint32_t kOrderRows = 120;

// What makes them in a schema, and fills them.
std::string MakeOrderTables(const std::string& schema);
std::string FillOrderTables(const std::string& schema);

struct OrderLoadOptions {
  std::string url;
  std::vector<std::string> vacuumed;  // URLs of the servers on which the tables are vacuumed
  std::string schema;
  uint64_t seed = 0;
  int writers = 3;
  // A row that goes to another key gets a new large value with that. Otherwise the value is left
  // out of the change, for the consumer to have.
  bool moves_bring_all = false;
  // Rows go to other keys only for a while each second.
  bool moves_in_bursts = false;
  // The newest transaction that the consumers have seen.
  std::function<Lsn()> consumed;
};

// Writes random transactions into the tables, from several sessions at once, and vacuums them. On a
// slow machine it waits for the consumers: the further they are behind, the more is repeated behind
// the rows of a dump, and they would never catch up.
//
// Thread-safe but for destruction, which ends it.
class OrderLoad {
 public:
  explicit OrderLoad(OrderLoadOptions options);
  ~OrderLoad();

  // Returns when all that it began is committed or undone; nothing is written until Resume.
  void Pause();
  void Resume();

 private:
  // Returns at the end of a pause; false at the end of the load.
  bool Begin(const std::stop_token& stop);
  void End();
  void Write(const std::stop_token& stop, uint64_t seed);
  // Returns when the consumers are near enough to a transaction that ends at `end`.
  void WaitForConsumers(const std::stop_token& stop, Lsn end);
  void Vacuum(const std::string& url, const std::stop_token& stop, uint64_t seed);

  const OrderLoadOptions options_;
  Mutex mutex_;
  CondVar changed_;
  bool paused_ PGC_GUARDED_BY(mutex_) = false;
  int busy_ PGC_GUARDED_BY(mutex_) = 0;
  std::deque<Lsn> unseen_ PGC_GUARDED_BY(mutex_);  // ends of transactions
  std::vector<std::jthread> threads_;
};

}  // namespace pgc
