#pragma once

#include <filesystem>
#include <string_view>

#include "absl/status/statusor.h"
#include "event/pipeline.h"

namespace pgc {

// How far a topic was captured by the store in `dir`, without opening it: it may be in use, and
// nothing in it is changed. Empty for a topic, or a folder, that is not there. FailedPrecondition
// when it cannot be read, DataLoss when it is damaged; both name the folder.
absl::StatusOr<ResumePoint> ReadCaptured(const std::filesystem::path& dir, std::string_view topic);

}  // namespace pgc
