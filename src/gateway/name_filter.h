#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"

namespace re2 {
class RE2;
}

namespace pgc {

// Which names, of tables or of schemas, a consumer wants: those in which an RE2 expression is found
// anywhere. Immutable and thread-safe.
class NameFilter {
 public:
  // What the compiled expression may take.
  static constexpr int64_t kMaxExpressionBytes = 1 << 20;

  // An empty expression lets every name through. InvalidArgument, with the name of the parameter
  // that has it and RE2's reason, for one that is no regular expression or too large.
  static absl::StatusOr<NameFilter> Compile(std::string_view parameter,
                                            std::string_view expression);

  bool Matches(std::string_view name) const;

 private:
  std::shared_ptr<const re2::RE2> expression_;
};

}  // namespace pgc
