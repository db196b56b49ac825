#pragma once

#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "dump/dump_server.h"
#include "pgcapture.pb.h"

namespace pgc {

namespace pb = ::pgcapture;

// What a peer asks an agent for.
struct AgentDump {
  DumpRequest request;
  std::optional<uint64_t> server;  // the only one that may answer
};

// InvalidArgument: it names no dump, or its server is no number. NotFound: an empty table name.
absl::StatusOr<AgentDump> ReadAgentDump(const pb::AgentDumpRequest& request);

// All of an answer but its rows and `last`.
pb::AgentDumpResponse ToProto(const DumpHeader& header);

// The bytes of the Change that `rows` begins with, without tag and length, which are `*prefix`
// bytes. None when these are not rows as a DumpWriter gets them.
std::optional<std::string_view> FirstChange(std::string_view rows, size_t* prefix);

}  // namespace pgc
