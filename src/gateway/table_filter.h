#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"

namespace re2 {
class RE2;
}

namespace pgc {

// Which tables a consumer wants: those in whose name, without the schema, an RE2 expression is
// found anywhere. Immutable and thread-safe.
class TableFilter {
 public:
  // What the compiled expression may take.
  static constexpr int64_t kMaxExpressionBytes = 1 << 20;

  // An empty expression lets every table through. InvalidArgument, with RE2's reason, for one that
  // is no regular expression or too large.
  static absl::StatusOr<TableFilter> Compile(std::string_view expression);

  TableFilter();
  TableFilter(TableFilter&&) noexcept;
  TableFilter& operator=(TableFilter&&) noexcept;
  ~TableFilter();

  bool Matches(std::string_view table) const;

 private:
  std::unique_ptr<const re2::RE2> expression_;
};

}  // namespace pgc
