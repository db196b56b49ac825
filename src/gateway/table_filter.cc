#include "gateway/table_filter.h"

#include <fmt/format.h>
#include <re2/re2.h>

namespace pgc {

TableFilter::TableFilter() = default;
TableFilter::TableFilter(TableFilter&&) noexcept = default;
TableFilter& TableFilter::operator=(TableFilter&&) noexcept = default;
TableFilter::~TableFilter() = default;

absl::StatusOr<TableFilter> TableFilter::Compile(std::string_view expression) {
  TableFilter filter;
  if (expression.empty()) return filter;
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxExpressionBytes);
  auto compiled = std::make_unique<const re2::RE2>(
      re2::StringPiece(expression.data(), expression.size()), options);
  if (!compiled->ok()) {
    return absl::InvalidArgumentError(
        fmt::format("TableRegex is no RE2 expression: {}", compiled->error()));
  }
  filter.expression_ = std::move(compiled);
  return filter;
}

bool TableFilter::Matches(std::string_view table) const {
  return expression_ == nullptr ||
         re2::RE2::PartialMatch(re2::StringPiece(table.data(), table.size()), *expression_);
}

}  // namespace pgc
