#include "agent/dump_request.h"

#include <fmt/format.h>

#include <charconv>

namespace pgc {
namespace {

// Field 1, of bytes.
constexpr char kChangeTag = 0x0A;

}  // namespace

absl::StatusOr<AgentDump> ReadAgentDump(const pb::AgentDumpRequest& request) {
  if (!request.has_info()) return absl::InvalidArgumentError("the request has no info");
  const pb::DumpInfoResponse& info = request.info();
  if (info.table().empty()) return absl::NotFoundError("the name of the table is empty");
  AgentDump dump;
  dump.request = {.schema = info.schema(),
                  .table = info.table(),
                  .page_begin = info.page_begin(),
                  .page_end = info.page_end(),
                  .min_lsn = Lsn{request.min_lsn()},
                  .where = info.where(),
                  .columns = {info.columns().begin(), info.columns().end()},
                  .keys = {info.keys().begin(), info.keys().end()},
                  .sweep = info.sweep(),
                  .sweep_from = info.sweep_from(),
                  .relfilenode = info.relfilenode()};
  if (!info.server().empty()) {
    const std::string& text = info.server();
    uint64_t identifier = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), identifier);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size()) {
      return absl::InvalidArgumentError(fmt::format("server is no number: {}", text.substr(0, 64)));
    }
    dump.server = identifier;
  }
  return dump;
}

pb::AgentDumpResponse ToProto(const DumpHeader& header) {
  pb::AgentDumpResponse response;
  response.set_applied_lsn(header.applied.value);
  response.set_snapshot(header.snapshot);
  response.set_system_identifier(header.identity);
  response.set_relfilenode(header.relfilenode);
  response.set_pages(header.pages);
  response.set_store_position(header.store_position);
  response.set_upper_lsn(header.upper.value);
  response.set_sweep_needed(header.sweep_needed);
  response.set_no_key(header.no_key);
  response.set_by_snapshot(header.by_snapshot);
  response.set_schema(header.schema);
  response.set_table(header.table);
  return response;
}

std::optional<std::string_view> FirstChange(std::string_view rows, size_t* prefix) {
  if (rows.empty() || rows[0] != kChangeTag) return std::nullopt;
  uint64_t size = 0;
  for (size_t at = 1; at < rows.size() && at <= 5; ++at) {
    const auto byte = static_cast<uint8_t>(rows[at]);
    size |= uint64_t{byte & 0x7Fu} << (7 * (at - 1));
    if ((byte & 0x80) != 0) continue;
    if (size > rows.size() - at - 1) return std::nullopt;
    *prefix = at + 1;
    return rows.substr(at + 1, size);
  }
  return std::nullopt;
}

}  // namespace pgc
