#pragma once

#include <span>
#include <string>

#include "event/block.h"
#include "event/encoder.h"

namespace pgc {

// Looks at the rows that are inserted into the log of DDL before they become events.
class DdlLogReader {
 public:
  virtual ~DdlLogReader() = default;

  // May change values of the row; what it puts there must stay until the next call. `columns` are
  // the names. False when the row is not to become an event.
  virtual bool Take(std::span<const std::string> columns, std::span<FieldValue> row) = 0;
};

}  // namespace pgc
