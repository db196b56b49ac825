#include "gateway/name_filter.h"

#include <fmt/format.h>
#include <re2/re2.h>

namespace pgc {

absl::StatusOr<NameFilter> NameFilter::Compile(std::string_view parameter,
                                               std::string_view expression) {
  NameFilter filter;
  if (expression.empty()) return filter;
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxExpressionBytes);
  auto compiled = std::make_shared<const re2::RE2>(
      re2::StringPiece(expression.data(), expression.size()), options);
  if (!compiled->ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{} is no RE2 expression: {}", parameter, compiled->error()));
  }
  filter.expression_ = std::move(compiled);
  return filter;
}

bool NameFilter::Matches(std::string_view name) const {
  return expression_ == nullptr ||
         re2::RE2::PartialMatch(re2::StringPiece(name.data(), name.size()), *expression_);
}

}  // namespace pgc
