#pragma once

#include <filesystem>
#include <stop_token>

#include "absl/status/statusor.h"
#include "source/postgres_source.h"

namespace pgc {

enum class DoctorFormat { kText, kJson };

// Prints what there is to say of the server, a line per check, on stdout; true when nothing must
// be mended. `data_dir`: whose log is to go on; empty: not looked at.
absl::StatusOr<bool> RunDoctor(const PostgresSourceOptions& options,
                               const std::filesystem::path& data_dir, DoctorFormat format,
                               std::stop_token stop);

}  // namespace pgc
