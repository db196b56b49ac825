#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "e2e/dump/order_load.h"
#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

// A row by its columns, as text; of a large value only how it begins, and its length. A column that
// is not known is not there.
using OrderRow = std::map<std::string, std::string>;

// What a table has, or a consumer's copy of it: the rows as text, in order.
using OrderRows = std::multiset<std::string>;

std::string ToText(const OrderTable& table, const OrderRow& row);
// Some of what only one of them has; empty when they are equal.
std::string DifferenceOf(const OrderTable& table, const OrderRows& expected,
                         const OrderRows& actual);

// The rows of the table, as a copy of it would have them.
std::string SelectOrderRows(const std::string& schema, const OrderTable& table);

bool IsRowOfDump(const pb::CaptureMessage& message);
// Whether it is an event that was sent before, which comes again behind the rows of a dump.
bool IsRepeat(const pb::CaptureMessage& message);

// A consumer's copy of a table. Not thread-safe.
class OrderCopy {
 public:
  virtual ~OrderCopy() = default;
  virtual void Apply(const pb::CaptureMessage& message) = 0;
  virtual void Clear() = 0;
  virtual OrderRows rows() const = 0;
};

// In the order of arrival.
std::unique_ptr<OrderCopy> NewCopyByArrival(const OrderTable& table);
// By version, whatever the order of arrival: the newest of each key and column counts. The table
// has a key.
std::unique_ptr<OrderCopy> NewCopyByVersion(const OrderTable& table);

}  // namespace pgc
