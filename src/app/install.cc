#include "app/install.h"

#include <cstdio>
#include <utility>

#include "base/status_macros.h"
#include "pg/connection.h"
#include "source/server.h"

namespace pgc {

absl::Status RunInstall(const std::string& url, std::optional<DdlVariant> wanted,
                        std::stop_token stop) {
  PGC_ASSIGN_OR_RETURN(const auto sql, Connection::Open(url, {}, stop));
  PGC_RETURN_IF_ERROR(PrepareSession(*sql, stop));
  PGC_RETURN_IF_ERROR(InstallDdlCapture(*sql, wanted, stop).status());
  PGC_ASSIGN_OR_RETURN(const DdlCapture found, ReadDdlCapture(*sql, stop));
  if (found.installed == DdlVariant::kExtension) {
    std::printf("DDL is captured by the extension pgcapture %s\n", found.version.c_str());
  } else {
    std::printf("DDL is captured by plain SQL\n");
  }
  return absl::OkStatus();
}

}  // namespace pgc
