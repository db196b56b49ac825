// Whatever the bytes of a record, parsing ends without a report; what was taken reads back, and a
// schedule that takes it gives dumps until it is done.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "controller/schedule.h"
#include "controller/schedule_records.h"

namespace {

void Check(bool is_so) {
  if (!is_so) std::abort();
}

void Run(pgc::JobList list, const pgc::JobProgress* progress) {
  constexpr int kMost = 200;
  pgc::Schedule schedule({.pages_per_dump = 10, .max_tries = 3});
  schedule.Start(std::move(list), 1);
  if (progress != nullptr && !schedule.Restore(0, *progress).ok()) return;
  pgc::DumpAnswer answer;
  answer.server = "s";
  answer.pages = 50;
  for (int i = 0; i < kMost; ++i) {
    const auto dump = schedule.Take(1);
    if (!dump) break;
    Check(dump->begin <= dump->end);
    Check(schedule.Answer(1, answer, {}));
  }
  (void)schedule.Jobs(10);
  (void)schedule.Pages();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto record = pgc::ParseSchedule(bytes); record.ok()) {
    const auto again = pgc::ParseSchedule(pgc::EncodeSchedule(*record));
    Check(again.ok() && *again == *record);
  }
  if (const auto progress = pgc::ParseProgress(bytes); progress.ok()) {
    const auto again = pgc::ParseProgress(pgc::EncodeProgress(*progress));
    Check(again.ok() && *again == *progress);
    pgc::JobList list;
    pgc::PageRange range;
    range.schema = "s";
    range.table = "t";
    Check(list.Add(range, 10).ok());
    Run(std::move(list), &*progress);
  }
  pgc::JobsParser parser;
  if (parser.Add(bytes).ok()) {
    pgc::JobList list = std::move(parser).Finish();
    const auto parts = pgc::EncodeJobs(list);
    pgc::JobsParser again;
    for (const auto& part : parts) Check(again.Add(part).ok());
    Check(pgc::EncodeJobs(std::move(again).Finish()) == parts);
    Run(std::move(list), nullptr);
  }
  return 0;
}
