#include "sql/tokens.h"

#include <fmt/format.h>
#include <pg_query.h>

#include <cstdint>
#include <memory>
#include <string>

namespace pgc {
namespace {

// Of the scanner's list of tokens.
constexpr uint64_t kUnicodeName = 259;     // U&"…"
constexpr uint64_t kUnicodeLiteral = 262;  // U&'…'
constexpr uint64_t kSqlComment = 275;
constexpr uint64_t kBlockComment = 276;

// The scanner's answer is a protobuf message of its library's own: 2 tokens repeated {1 start,
// 2 end, 4 kind, 5 kind of keyword}, all of them varints.
class TokenReader {
 public:
  TokenReader(const char* data, size_t size)
      : in_(reinterpret_cast<const uint8_t*>(data)), end_(in_ + size) {}

  bool done() const { return in_ == end_; }

  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && in_ != end_; shift += 7) {
      const uint8_t byte = *in_++;
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    in_ = end_;
    return 0;
  }

  // What a field of bytes holds.
  TokenReader Message() {
    const size_t size = Varint();
    const uint8_t* const begin = in_;
    in_ = size > static_cast<size_t>(end_ - in_) ? end_ : in_ + size;
    return {reinterpret_cast<const char*>(begin), static_cast<size_t>(in_ - begin)};
  }

 private:
  const uint8_t* in_;
  const uint8_t* end_;
};

constexpr uint64_t kTokens = 2 << 3 | 2;
constexpr uint64_t kStart = 1 << 3;
constexpr uint64_t kEnd = 2 << 3;
constexpr uint64_t kKind = 4 << 3;

// Where the U&"…" or U&'…' at `start` ends: the scanner does not say. A literal goes on behind a
// line break.
size_t UnicodeEnd(std::string_view sql, size_t start) {
  size_t at = start + 2;
  if (at >= sql.size()) return sql.size();
  const char quote = sql[at];
  while (true) {
    at = sql.find(quote, at + 1);
    if (at == std::string_view::npos) return sql.size();
    if (sql.substr(at + 1, 1) == std::string_view(&quote, 1)) {
      ++at;  // it stands twice
      continue;
    }
    const size_t next = sql.find_first_not_of(" \t\r\n\f", at + 1);
    const std::string_view between = sql.substr(at + 1, next - at - 1);
    if (quote == '"' || next == std::string_view::npos || sql[next] != quote ||
        between.find('\n') == std::string_view::npos) {
      return at + 1;
    }
    at = next;
  }
}

// Empty for a comment.
std::string_view ReadToken(TokenReader in, std::string_view sql) {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t kind = 0;
  while (!in.done()) {
    const uint64_t tag = in.Varint();
    const uint64_t value = in.Varint();
    if (tag == kStart) start = value;
    if (tag == kEnd) end = value;
    if (tag == kKind) kind = value;
  }
  if ((kind == kUnicodeName || kind == kUnicodeLiteral) && start < sql.size()) {
    end = UnicodeEnd(sql, start);
  }
  if (kind == kSqlComment || kind == kBlockComment || start > end || end > sql.size()) return {};
  return sql.substr(start, end - start);
}

struct Free {
  void operator()(const PgQueryScanResult* result) const {
    pg_query_free_scan_result(*result);
    delete result;
  }
};

}  // namespace

absl::StatusOr<std::vector<std::string_view>> Tokenize(std::string_view sql) {
  if (sql.find('\0') != std::string_view::npos) {
    return absl::InvalidArgumentError("SQL text with a NUL byte");
  }
  const std::unique_ptr<const PgQueryScanResult, Free> scanned(
      new PgQueryScanResult(pg_query_scan(std::string(sql).c_str())));
  if (scanned->error != nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("the SQL text cannot be read: {}", scanned->error->message));
  }
  std::vector<std::string_view> tokens;
  TokenReader in(scanned->pbuf.data, scanned->pbuf.len);
  while (!in.done()) {
    if (in.Varint() != kTokens) {
      (void)in.Varint();
      continue;
    }
    const std::string_view token = ReadToken(in.Message(), sql);
    if (!token.empty()) tokens.push_back(token);
  }
  return tokens;
}

}  // namespace pgc
