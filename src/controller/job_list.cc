#include <fmt/format.h>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "controller/schedule.h"

namespace pgc {
namespace {

uint64_t PagesOf(uint32_t begin, uint32_t end) { return uint64_t{end} - begin + 1; }

size_t BytesOf(const DumpRows& rows) {
  size_t bytes = rows.where.size();
  for (const auto* texts : {&rows.columns, &rows.keys}) {
    for (const std::string& text : *texts) bytes += text.size() + sizeof(std::string);
  }
  return bytes;
}

void AppendText(std::string& out, std::string_view text) {
  out += std::to_string(text.size());
  out += ':';
  out += text;
}

absl::Status CheckRange(const PageRange& range) {
  if (range.schema.empty() || range.table.empty()) {
    return absl::InvalidArgumentError("a dump names no table: it needs schema and table");
  }
  if (std::max(range.schema.size(), range.table.size()) > JobList::kMaxNameBytes) {
    return absl::InvalidArgumentError(
        fmt::format("the name of a table has more than {} bytes", JobList::kMaxNameBytes));
  }
  if (range.begin > range.end) {
    return absl::InvalidArgumentError(
        fmt::format("{}.{}: the pages end, at {}, before they begin, at {}", range.schema,
                    range.table, range.end, range.begin));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view JobList::schema(uint32_t job) const {
  const Job& of = jobs_[job];
  return std::string_view(names_).substr(of.name_at, of.schema_bytes);
}

std::string_view JobList::table(uint32_t job) const {
  const Job& of = jobs_[job];
  return std::string_view(names_).substr(of.name_at + of.schema_bytes, of.table_bytes);
}

size_t JobList::memory_bytes() const {
  return jobs_.capacity() * sizeof(Job) + segments_.capacity() * sizeof(Segment) +
         names_.capacity() + rows_bytes_;
}

std::string JobList::KeyOf(const PageRange& range) const {
  std::string key(1, range.exact ? 'e' : 't');
  AppendText(key, range.schema);
  AppendText(key, range.table);
  if (range.rows.IsAll()) return key;
  AppendText(key, range.rows.where);
  for (const std::string& column : range.rows.columns) AppendText(key += 'c', column);
  for (const std::string& row : range.rows.keys) AppendText(key += 'k', row);
  return key;
}

absl::Status JobList::AddJob(const PageRange& range) {
  if (jobs_.size() == kMaxJobs) {
    return absl::ResourceExhaustedError(
        fmt::format("more than {} tables in one schedule", kMaxJobs));
  }
  Job job;
  job.name_at = static_cast<uint32_t>(names_.size());
  job.schema_bytes = static_cast<uint8_t>(range.schema.size());
  job.table_bytes = static_cast<uint8_t>(range.table.size());
  job.exact = range.exact;
  job.first = UINT32_MAX;
  if (!range.rows.IsAll()) {
    rows_bytes_ += BytesOf(range.rows);
    if (rows_bytes_ > kMaxRowsBytes) {
      return absl::ResourceExhaustedError(fmt::format(
          "the conditions, columns and keys of a schedule have more than {} bytes", kMaxRowsBytes));
    }
    job.rows = std::make_shared<const DumpRows>(range.rows);
  }
  names_ += range.schema;
  names_ += range.table;
  jobs_.push_back(std::move(job));
  return absl::OkStatus();
}

void JobList::AddSegment(const Segment& segment) {
  Job& job = jobs_[segment.job];
  const auto at = static_cast<uint32_t>(segments_.size());
  segments_.push_back(segment);
  if (job.first == UINT32_MAX) {
    job.first = at;
  } else {
    segments_[job.last].next = at;
  }
  job.last = at;
}

absl::StatusOr<uint32_t> JobList::FindOrAdd(const PageRange& range) {
  std::string key = KeyOf(range);
  if (!jobs_.empty() && key == last_key_) return last_job_;
  const auto [at, is_new] = by_key_.try_emplace(key, static_cast<uint32_t>(jobs_.size()));
  if (is_new) {
    if (absl::Status added = AddJob(range); !added.ok()) {
      by_key_.erase(at);
      return added;
    }
  }
  last_key_ = std::move(key);
  last_job_ = is_new ? static_cast<uint32_t>(jobs_.size() - 1) : at->second;
  return last_job_;
}

absl::Status JobList::Add(const PageRange& range, uint32_t default_pages_per_dump) {
  PGC_RETURN_IF_ERROR(CheckRange(range));
  PGC_ASSIGN_OR_RETURN(const uint32_t index, FindOrAdd(range));
  Job& job = jobs_[index];
  uint64_t per_dump = range.pages_per_dump;
  if (per_dump == 0) {
    per_dump = range.exact ? PagesOf(range.begin, range.end) : default_pages_per_dump;
  } else if (!range.exact) {
    job.cut_as_asked = true;
  }
  per_dump = std::min<uint64_t>(per_dump, UINT32_MAX);
  if (range.exact && range.pages_per_dump == 0 && !segments_.empty()) {
    Segment& before = segments_.back();
    const bool goes_on = before.job == index && before.end != kToTheEnd &&
                         before.end + 1 == range.begin && range.end != kToTheEnd;
    const bool regular = PagesOf(before.begin, before.end) % before.pages_per_dump == 0;
    if (goes_on && regular && per_dump == before.pages_per_dump) {
      before.end = range.end;
      return absl::OkStatus();
    }
  }
  if (segments_.size() == kMaxSegments) {
    return absl::ResourceExhaustedError(
        fmt::format("more than {} separate ranges of pages in one schedule", kMaxSegments));
  }
  AddSegment({.job = index,
              .begin = range.begin,
              .end = range.end,
              .pages_per_dump = static_cast<uint32_t>(per_dump)});
  return absl::OkStatus();
}

absl::Status JobList::RestoreJob(const PageRange& range, bool cut_as_asked) {
  if (const absl::Status status = CheckRange(range); !status.ok()) {
    return absl::DataLossError(status.message());
  }
  if (const absl::Status status = AddJob(range); !status.ok()) {
    return absl::DataLossError(status.message());
  }
  jobs_.back().cut_as_asked = cut_as_asked;
  return absl::OkStatus();
}

absl::Status JobList::RestoreSegment(Segment segment) {
  if (segment.job >= jobs_.size() || segment.begin > segment.end || segment.pages_per_dump == 0 ||
      segments_.size() == kMaxSegments) {
    return absl::DataLossError("pages of no table, or no pages");
  }
  segment.next = UINT32_MAX;
  AddSegment(segment);
  return absl::OkStatus();
}

void JobList::Finish() {
  by_key_ = {};
  last_key_ = {};
  jobs_.shrink_to_fit();
  segments_.shrink_to_fit();
  names_.shrink_to_fit();
}

}  // namespace pgc
