#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "sink/row_batch.h"
#include "sink/statement_pipe.h"

namespace pgc {

// Writes the changes of a table as statements: many rows a statement, as one array of the table's
// row type, or one by one. Not thread-safe.
class RowWriter {
 public:
  static constexpr size_t kRowsPerStatement = 4'000;
  static constexpr size_t kBytesPerStatement = size_t{1} << 20;

  explicit RowWriter(StatementPipe& pipe) : pipe_(pipe) {}

  // Sends a run of RowBatch::Plan.
  absl::Status Send(const RowBatch& batch, const RowRun& run);

  // Sends one change as it is; its number is the tag of its statement.
  enum class OnExisting : uint8_t { kFail, kOverwrite };
  absl::Status SendOne(const RowBatch& batch, uint32_t number,
                       OnExisting on_existing = OnExisting::kFail);
  // Sends the new row of an UPDATE as an INSERT.
  absl::Status SendAsInsert(const RowBatch& batch, uint32_t number, OnExisting on_existing);
  // Sends an UPDATE as a DELETE and an INSERT of what the row is then: a column GENERATED ALWAYS AS
  // IDENTITY takes a value in no other way.
  absl::Status SendAsReplace(const RowBatch& batch, uint32_t number);

 private:
  using Rows = std::span<const NetRow>;
  absl::Status SendInserts(const RowBatch& batch, Rows rows);
  absl::Status SendUpdates(const RowBatch& batch, Rows rows, bool moves_key);
  absl::Status SendDeletes(const RowBatch& batch, Rows rows);
  absl::Status SendImageDeletes(const RowBatch& batch, Rows rows);
  // A row that is to be deleted by all of its values.
  struct Image {
    uint32_t row = 0;
    uint32_t count = 0;
  };
  // As many of them as one statement takes, found by these columns.
  absl::Status SendImages(const RowBatch& batch, const std::vector<bool>& found_by,
                          std::span<const Image> images, size_t& sent);
  absl::Status SetHashJoins(bool on);
  // How many of the first rows have values for the same columns, as far as one statement goes.
  size_t SameColumns(const RowBatch& batch, Rows rows) const;

  StatementPipe& pipe_;
  std::string array_;
  std::string second_array_;
};

}  // namespace pgc
