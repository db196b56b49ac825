// What is said about commands of DDL: in errors, and in the log.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "sink/ddl_command.h"

namespace pgc {

// Its tag, or its tags.
std::string TagOf(const DdlCommand& command);

// The command as an operator may read it: its text, cut, or, where that can hold a password and
// where there is none, what it is about.
std::string DescribeDdl(const DdlCommand& command);

// The server's refusal of a command as the sink's. What is worth a retry stays so. `role`: as which
// it was run; empty: the session's.
absl::Status DdlError(const DdlCommand& command, const std::string& role,
                      const absl::Status& status);

// An error with the command, its key, the reason, and the ways out.
absl::Status DdlStop(const DdlCommand& command, const std::string& reason,
                     const std::string& ways_out);

}  // namespace pgc
