#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dump/dump_server.h"
#include "dump/table_facts.h"

namespace pgc {

// The statements that send the rows of a dump, to be run one after the other in its transaction:
// `COPY (SELECT …) TO STDOUT (FORMAT binary)`. From PostgreSQL 14 on that is one; before, a scan of
// a range of pages does not exist, and each lists the rows that some of the pages can have.
class PageQuery {
 public:
  // Pages that a statement lists the possible rows of.
  static constexpr uint32_t kListedPages = 256;
  static constexpr size_t kMostKeys = 10'000;
  static constexpr size_t kMostKeyBytes = size_t{1} << 20;

  // `key` is needed when the request has keys. InvalidArgument when those are no keys, or more than
  // a dump can have.
  static absl::StatusOr<PageQuery> New(const DumpRequest& request, const TableFacts& table,
                                       std::span<const DumpColumn> columns,
                                       std::span<const KeyColumn> key, bool has_range_scan);

  // The next statement; empty after the last.
  std::string Next();

 private:
  PageQuery() = default;
  std::string Statement(const std::string& range) const;

  std::string select_;  // up to WHERE
  std::string filter_;  // after the range of pages
  bool has_range_scan_ = true;
  bool done_ = false;
  uint64_t next_page_ = 0;
  uint64_t end_page_ = 0;  // after the last
  uint64_t rows_per_page_ = 0;
};

}  // namespace pgc
