#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <span>
#include <string_view>

#include "sink/ddl_command.h"
#include "sink/ddl_plan.h"
#include "sink/ddl_report.h"

// A row of the log of DDL: a byte that says which columns are text and whether `exact` is there,
// then each column after two bytes of its length. Whatever it holds: an error, or a plan.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::span<const uint8_t> in(data + 1, size - 1);
  constexpr std::string_view kColumns[] = {"query", "tags", "objects", "exact"};
  pgc::Change change;
  change.schema = "pgcapture";
  change.table = "ddl_logs";
  for (size_t i = 0; i < std::size(kColumns); ++i) {
    size_t length = 0;
    if (in.size() >= 2) {
      length = static_cast<size_t>(in[0] << 8 | in[1]);
      in = in.subspan(2);
    }
    length = length < in.size() ? length : in.size();
    if (i == 3 && (data[0] & 0x80) != 0) break;
    const bool text = (data[0] >> i & 1) != 0;
    change.new_row.push_back(
        {.name = kColumns[i],
         .oid = 0,
         .value = {.kind = text ? pgc::FieldValue::Kind::kText : pgc::FieldValue::Kind::kBinary,
                   .bytes = in.first(length)}});
    in = in.subspan(length);
  }
  const auto command = pgc::ParseDdlCommand(change, {});
  if (!command.ok()) {
    if (command.status().code() != absl::StatusCode::kDataLoss) std::abort();
    return 0;
  }
  (void)pgc::DescribeDdl(*command);
  const auto plan = pgc::PlanDdl(*command);
  if (!plan.ok()) return 0;
  for (const pgc::DdlStep& step : plan->steps) {
    if (step.sql.empty()) std::abort();
  }
  if (plan->fate == pgc::DdlPlan::Fate::kRun && plan->exact && plan->steps.size() != 1)
    std::abort();
  return 0;
}
