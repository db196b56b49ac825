#include "dump/copy_rows.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cstring>

#include "base/byte_reader.h"
#include "base/status_macros.h"
#include "event/wire.h"

namespace pgc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kSignature[] = "PGCOPY\n\377\r\n";  // and the NUL that ends it here
constexpr uint16_t kEnd = 0xFFFF;
constexpr uint32_t kNull = 0xFFFFFFFF;
constexpr uint8_t kResponseChange = wire::Tag(1, wire::Type::kBytes);
constexpr size_t kMostTagBytes = 1 + 5;

// How often a wait looks at its stop token.
constexpr std::chrono::milliseconds kStopCheck{50};

absl::Status Malformed() {
  return absl::DataLossError("the server's rows are not in the binary format of COPY");
}

std::vector<TableEncoder::Column> ColumnsOf(std::span<const DumpColumn> columns) {
  std::vector<TableEncoder::Column> of;
  of.reserve(columns.size());
  for (const DumpColumn& column : columns) {
    of.push_back({.name = column.name, .type_oid = column.type_oid, .is_key = false});
  }
  return of;
}

struct FreeCopyData {
  void operator()(char* data) const { PQfreemem(data); }
};

// Waits for the server, and counts how long.
class ServerWait {
 public:
  ServerWait(Connection& sql, const CopyLimits& limits, const std::stop_token& stop)
      : sql_(sql), limits_(limits), stop_(stop) {}

  // Until there is something to read, and reads it.
  absl::Status Read() {
    const auto begin = Clock::now();
    while (true) {
      if (stop_.stop_requested()) return absl::CancelledError("stopped");
      pollfd fd{.fd = PQsocket(sql_.raw()), .events = POLLIN, .revents = 0};
      const bool ready = poll(&fd, 1, static_cast<int>(kStopCheck.count())) != 0;
      const auto now = Clock::now();
      if (limits_.wait.count() != 0 && waited_ + (now - begin) > limits_.wait) {
        return absl::ResourceExhaustedError(fmt::format(
            "the server took more than {} s for the dump: take fewer pages, or a condition that it "
            "can answer faster",
            std::chrono::duration_cast<std::chrono::seconds>(limits_.wait).count()));
      }
      if (!ready) continue;
      waited_ += now - begin;
      return PQconsumeInput(sql_.raw()) == 0 ? sql_.Error("COPY") : absl::OkStatus();
    }
  }

 private:
  Connection& sql_;
  const CopyLimits& limits_;
  const std::stop_token& stop_;
  Clock::duration waited_{};
};

// The results that the statement still has; the error when one is.
absl::Status EndOf(Connection& sql, ServerWait& wait) {
  absl::Status status;
  while (true) {
    while (PQisBusy(sql.raw()) != 0) PGC_RETURN_IF_ERROR(wait.Read());
    PGresult* const raw = PQgetResult(sql.raw());
    if (raw == nullptr) return status;
    const Result owned(raw);
    if (PQresultStatus(raw) == PGRES_FATAL_ERROR && status.ok()) {
      status = StatusOfResult(raw, "COPY");
    }
  }
}

}  // namespace

RowEncoder::RowEncoder(TableName published, std::span<const DumpColumn> columns, DumpWriter& out)
    : columns_(columns),
      out_(out),
      encoder_(published, ColumnsOf(columns)),
      row_(columns.size()),
      piece_(std::make_unique<uint8_t[]>(kPieceBytes)) {}

absl::Status RowEncoder::Add(std::span<const uint8_t> message) {
  ByteReader in(message);
  if (signature_) {
    const std::span<const uint8_t> signature = in.Bytes(sizeof kSignature);
    const uint32_t flags = in.U32();
    (void)in.Bytes(in.U32());
    if (!in.ok() || std::memcmp(signature.data(), kSignature, sizeof kSignature) != 0 ||
        flags != 0) {
      return Malformed();
    }
    signature_ = false;
  }
  while (in.remaining() != 0) {
    const uint16_t count = in.U16();
    if (count == kEnd) return in.done() ? absl::OkStatus() : Malformed();
    if (count != row_.size()) return Malformed();
    for (size_t i = 0; i < row_.size(); ++i) {
      const uint32_t length = in.U32();
      if (length == kNull) {
        row_[i] = {.kind = FieldValue::Kind::kNull, .bytes = {}};
        continue;
      }
      row_[i] = {.kind = columns_[i].as_text ? FieldValue::Kind::kText : FieldValue::Kind::kBinary,
                 .bytes = in.Bytes(length)};
    }
    if (!in.ok()) return Malformed();
    PGC_RETURN_IF_ERROR(AddRow());
  }
  return absl::OkStatus();
}

absl::Status RowEncoder::AddRow() {
  const size_t body = encoder_.ChangeBytes(Operation::kUpdate, row_, {});
  if (body > kMaxRowBytes) {
    return absl::ResourceExhaustedError(
        fmt::format("a row of {}.{} takes {} bytes; it can have at most {}",
                    encoder_.table().schema, encoder_.table().name, body, kMaxRowBytes));
  }
  const size_t most = body + kMostTagBytes;
  if (most > kPieceBytes - piece_bytes_) PGC_RETURN_IF_ERROR(Flush());
  if (most > kPieceBytes) {
    // Not initialised: it may be a gigabyte.
    const std::unique_ptr<uint8_t[]> large(new uint8_t[most]);
    const uint8_t* const end = Write(large.get(), body);
    return out_.Rows(
        {reinterpret_cast<const char*>(large.get()), static_cast<size_t>(end - large.get())}, 1);
  }
  piece_bytes_ = static_cast<size_t>(Write(piece_.get() + piece_bytes_, body) - piece_.get());
  ++piece_rows_;
  return absl::OkStatus();
}

uint8_t* RowEncoder::Write(uint8_t* to, size_t body) const {
  *to++ = kResponseChange;
  to = wire::WriteVarint(to, body);
  return encoder_.WriteChange(to, Operation::kUpdate, row_, {});
}

absl::Status RowEncoder::Flush() {
  if (piece_rows_ == 0) return absl::OkStatus();
  const std::string_view piece(reinterpret_cast<const char*>(piece_.get()), piece_bytes_);
  const uint64_t rows = piece_rows_;
  piece_bytes_ = 0;
  piece_rows_ = 0;
  return out_.Rows(piece, rows);
}

absl::Status CopyRows(Connection& sql, const std::string& statement, const CopyLimits& limits,
                      RowEncoder& encoder, size_t& largest_bytes, const std::stop_token& stop) {
  PGconn* const raw = sql.raw();
  ServerWait wait(sql, limits, stop);
  // The extended protocol takes one statement only.
  if (PQsendQueryParams(raw, statement.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 1) == 0) {
    return sql.Error("COPY");
  }
  while (PQisBusy(raw) != 0) PGC_RETURN_IF_ERROR(wait.Read());
  {
    PGresult* const result = PQgetResult(raw);
    const Result owned(result);
    if (PQresultStatus(result) != PGRES_COPY_OUT) {
      absl::Status status = result == nullptr ? sql.Error("COPY") : StatusOfResult(result, "COPY");
      PGC_RETURN_IF_ERROR(EndOf(sql, wait));
      return status;
    }
  }
  encoder.Begin();
  while (true) {
    char* data = nullptr;
    const int length = PQgetCopyData(raw, &data, 1);
    const std::unique_ptr<char, FreeCopyData> owned(data);
    if (length > 0) {
      largest_bytes = std::max(largest_bytes, static_cast<size_t>(length));
      PGC_RETURN_IF_ERROR(
          encoder.Add({reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(length)}));
    } else if (length == 0) {
      PGC_RETURN_IF_ERROR(wait.Read());
    } else if (length == -1) {
      return EndOf(sql, wait);
    } else {
      return sql.Error("COPY");
    }
  }
}

}  // namespace pgc
