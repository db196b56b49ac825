// What the command dump prints of a controller's answers.
#pragma once

#include <string>

#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

std::string DumpStatusToText(const pb::ControllerStatusResponse& status);
std::string DumpStatusToJson(const pb::ControllerStatusResponse& status);
// One line without its end: pages, rows a second, time left. With `bar`, also a bar.
std::string DumpProgressLine(const pb::ControllerStatusResponse& status, bool bar);
// The tables that were set aside, a line each.
std::string DumpFailures(const pb::ControllerStatusResponse& status);

}  // namespace pgc
