#pragma once

#include <filesystem>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "source/postgres_source.h"

namespace pgc {

struct DoctorOptions {
  PostgresSourceOptions source;
  std::filesystem::path data_dir;  // whose log is to go on; empty: not looked at
  std::string store;               // URL of a Pulsar cluster; empty: not looked at
  std::string pulsar_library;      // path; empty: where it is usually
  bool json = false;               // an object a line
};

// Prints what there is to say of server and store, a line per check, on stdout; true when nothing
// must be mended.
absl::StatusOr<bool> RunDoctor(const DoctorOptions& options, std::stop_token stop);

}  // namespace pgc
