#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "source/ddl_capture.h"

namespace pgc {

// `pgcapture install`: puts what captures DDL into a database, and says on stdout what it is.
// Without `wanted` it is the extension where the server has its files, else plain SQL.
absl::Status RunInstall(const std::string& url, std::optional<DdlVariant> wanted,
                        std::stop_token stop);

}  // namespace pgc
