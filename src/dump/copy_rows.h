// Rows in PostgreSQL's binary format of COPY, as rows of a dump.
//
//   signature  "PGCOPY\n\377\r\n\0", u32 flags (0), u32 length of an extension, its bytes
//   row        u16 n, n x (i32 length, -1 for NULL, bytes)
//   end        u16 65,535
//
// The server sends a message for each row; the signature is in front of the first, the end in one
// of its own. Numbers are big-endian.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dump/dump_server.h"
#include "dump/table_facts.h"
#include "event/encoder.h"
#include "pg/connection.h"

namespace pgc {

// Encodes rows, each as the field `change` of an AgentDumpResponse, and gives them to a writer in
// pieces. Not thread-safe.
class RowEncoder {
 public:
  static constexpr size_t kPieceBytes = size_t{64} << 10;
  // What protobuf can address, less what is around a row.
  static constexpr size_t kMaxRowBytes = (size_t{2} << 30) - (size_t{1} << 20);

  // The columns and the writer outlive it.
  RowEncoder(TableName published, std::span<const DumpColumn> columns, DumpWriter& out);

  // A new COPY begins.
  void Begin() { signature_ = true; }
  // The bytes of one message of it. DataLoss when they are not of this format;
  // ResourceExhausted for a row that is too large; what the writer returned.
  absl::Status Add(std::span<const uint8_t> message);
  // Gives what is left to the writer.
  absl::Status Flush();

 private:
  absl::Status AddRow();
  uint8_t* Write(uint8_t* to, size_t body) const;

  const std::span<const DumpColumn> columns_;
  DumpWriter& out_;
  TableEncoder encoder_;
  bool signature_ = true;
  std::vector<FieldValue> row_;
  const std::unique_ptr<uint8_t[]> piece_;
  size_t piece_bytes_ = 0;
  uint64_t piece_rows_ = 0;
};

// What a statement may cost.
struct CopyLimits {
  // The server may be waited for so long, in all; zero: as long as it takes. What the writer takes
  // does not count.
  std::chrono::milliseconds wait{0};
};

// Runs a COPY and encodes its rows; whether it sent a message that is kept in the session's memory
// from now on, as libpq does, in `largest_bytes`.
//
// An error, also of the writer, may leave the statement running. Cancelled once `stop` is
// requested; ResourceExhausted when the server takes too long.
absl::Status CopyRows(Connection& sql, const std::string& statement, const CopyLimits& limits,
                      RowEncoder& encoder, size_t& largest_bytes, const std::stop_token& stop);

}  // namespace pgc
