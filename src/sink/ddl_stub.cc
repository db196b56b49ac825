#include "sink/ddl_replay.h"
namespace pgc {
absl::StatusOr<DdlCommand> ParseDdlCommand(const Change& change, const Checkpoint& checkpoint) {
  DdlCommand c; c.checkpoint = checkpoint;
  for (const auto& f : change.new_row) if (f.name == "query" && f.value.kind != FieldValue::Kind::kNull) c.query = std::string(reinterpret_cast<const char*>(f.value.bytes.data()), f.value.bytes.size());
  return c;
}
void DdlReplay::BeginTransaction() {}
bool DdlReplay::RunsAlone(const DdlCommand&) const { return false; }
absl::Status DdlReplay::Run(Connection& t, const DdlCommand& c, std::stop_token s) { (void)options_; return c.query ? t.Execute(*c.query, s) : absl::OkStatus(); }
}
