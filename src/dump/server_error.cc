#include "dump/server_error.h"

#include <string>
#include <string_view>

#include "pg/connection.h"

namespace pgc {
namespace {

absl::StatusCode CodeOf(std::string_view sqlstate) {
  const std::string_view group = sqlstate.substr(0, 2);
  if (sqlstate == "42P01" || sqlstate == "3F000") return absl::StatusCode::kNotFound;
  if (sqlstate == "XX001" || sqlstate == "XX002") return absl::StatusCode::kDataLoss;
  if (group == "54" || sqlstate == "53400") return absl::StatusCode::kResourceExhausted;
  // Of a server that is starting, is promoted, or has trouble of its own.
  if (group == "XX" || group == "58" || group == "55" || group == "F0") {
    return absl::StatusCode::kUnavailable;
  }
  return absl::StatusCode::kInvalidArgument;
}

}  // namespace

absl::Status DumpError(absl::Status status) {
  if (!absl::IsFailedPrecondition(status)) return status;
  // Without one it is ours: the server is behind.
  const std::string sqlstate = SqlStateOf(status);
  if (sqlstate.empty()) return status;
  return absl::Status(CodeOf(sqlstate), status.message());
}

}  // namespace pgc
