#pragma once

namespace pgc {

enum ExitCode : int { kExitOk = 0, kExitFailed = 1, kExitUsage = 2 };

}  // namespace pgc
