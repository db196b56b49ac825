#include "controller/schedule_records.h"

#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "event/record.h"
#include "event/wire.h"

namespace pgc {
namespace {

constexpr char kVersion = 1;
// Of progress; version 1 is without what is owed.
constexpr char kProgressVersion = 2;
constexpr size_t kPartBytes = size_t{64} << 10;
// Beyond these a record is none of ours.
constexpr uint64_t kMaxOpenDumps = 1'000'000;
constexpr uint64_t kMaxParts = UINT32_MAX;

void AppendTexts(std::string& out, const std::vector<std::string>& texts) {
  wire::AppendVarint(out, texts.size());
  for (const std::string& text : texts) AppendText(out, text);
}

std::vector<std::string> ReadTexts(RecordReader& in) {
  std::vector<std::string> texts;
  for (uint64_t left = in.Number(); left > 0 && !in.failed(); --left) texts.push_back(in.Text());
  return texts;
}

void AppendBegun(std::string& out, const std::optional<DumpBegun>& begun) {
  wire::AppendVarint(out, begun.has_value());
  if (!begun) return;
  wire::AppendVarint(out, begun->shown);
  for (const std::string* text : {&begun->place, &begun->schema, &begun->table}) {
    AppendText(out, *text);
  }
  wire::AppendVarint(out, begun->fields);
}

std::optional<DumpBegun> ReadBegun(RecordReader& in) {
  if (!in.Bool()) return std::nullopt;
  DumpBegun begun;
  begun.shown = in.Number();
  for (std::string* text : {&begun.place, &begun.schema, &begun.table}) *text = in.Text();
  begun.fields = in.Number32();
  return begun;
}

}  // namespace

std::string EncodeSchedule(const ScheduleRecord& record) {
  std::string out(1, kVersion);
  wire::AppendVarint(out, record.schedule);
  wire::AppendVarint(out, record.first_job);
  wire::AppendVarint(out, record.parts);
  wire::AppendVarint(out, record.paused);
  wire::AppendVarint(out, record.active);
  wire::AppendVarint(out, static_cast<uint64_t>(record.cool_down_ns));
  return out;
}

absl::StatusOr<ScheduleRecord> ParseSchedule(std::string_view bytes) {
  PGC_ASSIGN_OR_RETURN(RecordReader in, RecordReader::Open(bytes, kVersion));
  ScheduleRecord record;
  record.schedule = in.Number();
  record.first_job = in.Number();
  record.parts = static_cast<uint32_t>(in.Number(kMaxParts));
  record.paused = in.Bool();
  record.active = in.Bool();
  record.cool_down_ns = static_cast<int64_t>(in.Number(INT64_MAX));
  PGC_RETURN_IF_ERROR(in.End());
  return record;
}

std::string EncodeProgress(const JobProgress& progress) {
  std::string out(1, kProgressVersion);
  wire::AppendVarint(out, static_cast<uint64_t>(progress.state));
  for (const bool flag : {progress.whole, progress.cautious, progress.no_key, progress.swept}) {
    wire::AppendVarint(out, flag);
  }
  for (const uint32_t number :
       {progress.segment, progress.page, progress.pages, progress.relfilenode, progress.requeues,
        progress.restarts, progress.changes}) {
    wire::AppendVarint(out, number);
  }
  for (const uint64_t number :
       {progress.acknowledged, progress.sweep_from, progress.rows, progress.bytes}) {
    wire::AppendVarint(out, number);
  }
  AppendText(out, progress.server);
  AppendText(out, progress.reason);
  wire::AppendVarint(out, progress.open.size());
  for (const OpenDump& dump : progress.open) {
    wire::AppendVarint(out, dump.begin);
    wire::AppendVarint(out, dump.end);
    wire::AppendVarint(out, dump.tries);
    wire::AppendVarint(out, dump.sweep);
  }
  wire::AppendVarint(out, progress.failing);
  AppendBegun(out, progress.owed);
  for (const OpenDump& dump : progress.open) {
    wire::AppendVarint(out, dump.repeats);
    AppendBegun(out, dump.began);
  }
  return out;
}

absl::StatusOr<JobProgress> ParseProgress(std::string_view bytes) {
  const bool is_older = bytes.starts_with(kVersion);
  PGC_ASSIGN_OR_RETURN(RecordReader in,
                       RecordReader::Open(bytes, is_older ? kVersion : kProgressVersion));
  JobProgress progress;
  progress.state = static_cast<JobState>(in.Number(static_cast<uint64_t>(JobState::kFailed)));
  for (bool* flag : {&progress.whole, &progress.cautious, &progress.no_key, &progress.swept}) {
    *flag = in.Bool();
  }
  for (uint32_t* number :
       {&progress.segment, &progress.page, &progress.pages, &progress.relfilenode,
        &progress.requeues, &progress.restarts, &progress.changes}) {
    *number = in.Number32();
  }
  for (uint64_t* number :
       {&progress.acknowledged, &progress.sweep_from, &progress.rows, &progress.bytes}) {
    *number = in.Number();
  }
  progress.server = in.Text();
  progress.reason = in.Text();
  for (uint64_t left = in.Number(kMaxOpenDumps); left > 0 && !in.failed(); --left) {
    OpenDump dump;
    dump.begin = in.Number32();
    dump.end = in.Number32();
    dump.tries = in.Number32();
    dump.sweep = in.Bool();
    progress.open.push_back(dump);
  }
  if (!is_older) {
    progress.failing = in.Bool();
    progress.owed = ReadBegun(in);
    for (OpenDump& dump : progress.open) {
      dump.repeats = in.Bool();
      dump.began = ReadBegun(in);
    }
  }
  PGC_RETURN_IF_ERROR(in.End());
  return progress;
}

// A segment of the job before it begins with 0; one of another job with 1, its number, and, where
// the job is new, what it dumps. The parser tells a new one by its number.
std::vector<std::string> EncodeJobs(const JobList& list) {
  std::vector<std::string> parts;
  uint32_t last_job = UINT32_MAX;
  uint32_t known = 0;  // jobs
  for (const Segment& segment : list.segments()) {
    if (parts.empty() || parts.back().size() >= kPartBytes) parts.emplace_back(1, kVersion);
    std::string& out = parts.back();
    const JobList::Job& job = list.jobs()[segment.job];
    wire::AppendVarint(out, segment.job != last_job);
    if (segment.job != last_job) wire::AppendVarint(out, segment.job);
    last_job = segment.job;
    if (segment.job == known) {
      ++known;
      AppendText(out, list.schema(segment.job));
      AppendText(out, list.table(segment.job));
      wire::AppendVarint(out, job.exact);
      wire::AppendVarint(out, job.cut_as_asked);
      wire::AppendVarint(out, job.rows != nullptr);
      if (job.rows != nullptr) {
        AppendText(out, job.rows->where);
        AppendTexts(out, job.rows->columns);
        AppendTexts(out, job.rows->keys);
      }
    }
    wire::AppendVarint(out, segment.begin);
    wire::AppendVarint(out, segment.end - segment.begin);
    wire::AppendVarint(out, segment.pages_per_dump);
  }
  return parts;
}

absl::Status JobsParser::Add(std::string_view part) {
  PGC_ASSIGN_OR_RETURN(RecordReader in, RecordReader::Open(part, kVersion));
  while (!in.failed() && !in.done()) {
    uint32_t job = list_.segments().empty() ? 0 : list_.segments().back().job;
    const bool names_job = in.Bool();
    if (names_job) job = in.Number32();
    if (!names_job && list_.segments().empty()) return MalformedRecord("a range of no table");
    if (names_job && job == list_.jobs().size()) {
      PageRange range;
      range.schema = in.Text();
      range.table = in.Text();
      range.exact = in.Bool();
      const bool as_asked = in.Bool();
      if (in.Bool()) {
        range.rows.where = in.Text();
        range.rows.columns = ReadTexts(in);
        range.rows.keys = ReadTexts(in);
      }
      if (in.failed()) break;
      PGC_RETURN_IF_ERROR(list_.RestoreJob(range, as_asked));
    }
    Segment segment{.job = job, .begin = in.Number32()};
    segment.end = segment.begin + static_cast<uint32_t>(in.Number(UINT32_MAX - segment.begin));
    segment.pages_per_dump = in.Number32();
    if (in.failed()) break;
    PGC_RETURN_IF_ERROR(list_.RestoreSegment(segment));
  }
  return in.End();
}

JobList JobsParser::Finish() && {
  list_.Finish();
  return std::move(list_);
}

}  // namespace pgc
