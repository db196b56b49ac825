#include "app/dump_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace pgc {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kBarWidth = 24;

std::string StateOf(const pb::DumpJob& job) {
  switch (job.state()) {
    case pb::DumpJob::SCHEDULED:
      return "scheduled";
    case pb::DumpJob::RUNNING:
      return job.sweeping() ? "sweeping" : "running";
    case pb::DumpJob::DONE:
      return "done";
    case pb::DumpJob::FAILED:
      return "failed";
    default:
      return "unknown";
  }
}

// Of a range that ends before the table does, the range counts.
uint64_t PagesOf(const pb::DumpJob& job) {
  uint64_t end = job.pages();
  if (job.has_page_end()) end = std::min<uint64_t>(end, uint64_t{job.page_end()} + 1);
  return end > job.page_begin() ? end - job.page_begin() : 0;
}

std::string Duration(double seconds) {
  const auto all = static_cast<uint64_t>(seconds);
  if (all >= 3'600) return fmt::format("{} h {} min", all / 3'600, all / 60 % 60);
  if (all >= 60) return fmt::format("{} min {} s", all / 60, all % 60);
  return fmt::format("{} s", all);
}

// Texts of peers go to a terminal.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return text;
}

std::string NameOf(const pb::DumpJob& job) { return Printable(job.schema() + "." + job.table()); }

double CoolDownOf(const pb::ControllerStatusResponse& status) {
  return static_cast<double>(status.cool_down().seconds()) +
         static_cast<double>(status.cool_down().nanos()) / 1e9;
}

std::string JobLine(const pb::DumpJob& job) {
  std::string line = fmt::format("  {:<32} {:<9} {:>10}/{:<10} {:>12} {:>8}  {}", NameOf(job),
                                 StateOf(job), job.pages_done(), PagesOf(job), job.rows(),
                                 job.dumps_in_hand(), Printable(job.reason()));
  line.erase(line.find_last_not_of(' ') + 1);
  return line + '\n';
}

Json ToJson(const pb::DumpJob& job) {
  Json json{{"job", job.job()},
            {"schema", job.schema()},
            {"table", job.table()},
            {"state", StateOf(job)},
            {"page_begin", job.page_begin()}};
  if (job.has_page_end()) json["page_end"] = job.page_end();
  json["pages"] = PagesOf(job);
  json["pages_done"] = job.pages_done();
  json["dumps_in_hand"] = job.dumps_in_hand();
  json["rows"] = job.rows();
  json["bytes"] = job.bytes();
  json["requeues"] = job.requeues();
  json["restarts"] = job.restarts();
  json["reason"] = job.reason();
  json["server"] = job.server();
  json["no_key"] = job.no_key();
  return json;
}

}  // namespace

std::string DumpStatusToText(const pb::ControllerStatusResponse& status) {
  const char* state = status.paused() ? "paused" : status.scheduled() ? "scheduled" : "done";
  if (status.jobs_total() == 0) state = "nothing is scheduled";
  std::string out = fmt::format("{}: {}\n", Printable(status.uri()), state);
  if (status.jobs_total() != 0) {
    out += fmt::format("  tables    {} of {} done, {} failed\n", status.jobs_done(),
                       status.jobs_total(), status.jobs_failed());
    out += fmt::format("  rows      {}, {:.1f} MiB, {:.0f} rows/s now\n", status.rows(),
                       static_cast<double>(status.bytes()) / (1 << 20), status.rows_per_second());
  }
  if (status.scheduled() && status.seconds_left() >= 0) {
    out += fmt::format("  left      {}\n", Duration(status.seconds_left()));
  }
  if (CoolDownOf(status) > 0) out += fmt::format("  cool-down {} s\n", CoolDownOf(status));
  for (const auto& consumer : status.consumers()) {
    out += fmt::format("  consumer  {}: {}\n", Printable(consumer.peer()),
                       !consumer.hold().empty() ? "takes none now: " + Printable(consumer.hold())
                       : consumer.dumps_in_hand() == 0 ? "waits"
                                                       : "has a dump in hand");
  }
  if (status.consumers().empty() && status.scheduled()) {
    out += "  no consumer of this uri is connected: dumps wait for one\n";
  }
  if (status.jobs().empty()) return out;
  out += fmt::format("  {:<32} {:<9} {:>10}/{:<10} {:>12} {:>8}  {}\n", "table", "state", "pages",
                     "of", "rows", "in hand", "last reason");
  bool no_key = false;
  for (const pb::DumpJob& job : status.jobs()) {
    out += JobLine(job);
    no_key = no_key || job.no_key();
  }
  const auto hidden = status.jobs_total() - static_cast<uint64_t>(status.jobs_size());
  if (hidden > 0) out += fmt::format("  and {} more\n", hidden);
  if (no_key) {
    out +=
        "A table without a key is exact when it is dumped as one, without --pages-per-dump; "
        "otherwise its rows may come more than once:";
    for (const pb::DumpJob& job : status.jobs()) {
      if (job.no_key()) out += " " + NameOf(job);
    }
    out += '\n';
  }
  return out;
}

std::string DumpStatusToJson(const pb::ControllerStatusResponse& status) {
  Json jobs = Json::array();
  for (const pb::DumpJob& job : status.jobs()) jobs.push_back(ToJson(job));
  Json consumers = Json::array();
  for (const auto& consumer : status.consumers()) {
    consumers.push_back({{"peer", consumer.peer()},
                         {"hold", consumer.hold()},
                         {"dumps_in_hand", consumer.dumps_in_hand()}});
  }
  Json json{{"uri", status.uri()},
            {"scheduled", status.scheduled()},
            {"paused", status.paused()},
            {"tables", status.jobs_total()},
            {"tables_done", status.jobs_done()},
            {"tables_failed", status.jobs_failed()},
            {"rows", status.rows()},
            {"bytes", status.bytes()},
            {"rows_per_second", status.rows_per_second()},
            {"seconds_left", nullptr},
            {"cool_down_seconds", CoolDownOf(status)}};
  if (status.seconds_left() >= 0) json["seconds_left"] = status.seconds_left();
  json["consumers"] = std::move(consumers);
  json["jobs"] = std::move(jobs);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string DumpProgressLine(const pb::ControllerStatusResponse& status, bool bar) {
  uint64_t done = 0;
  uint64_t pages = 0;
  for (const pb::DumpJob& job : status.jobs()) {
    done += job.pages_done();
    pages += PagesOf(job);
  }
  std::string out;
  if (bar) {
    const auto filled =
        pages == 0 ? 0 : static_cast<int>(std::min(done, pages) * uint64_t{kBarWidth} / pages);
    out = fmt::format("[{:<{}}] ", std::string(static_cast<size_t>(filled), '#'), kBarWidth);
  }
  out +=
      fmt::format("{} of {} pages, {} of {} tables, {} rows, {:.0f} rows/s", done, pages,
                  status.jobs_done(), status.jobs_total(), status.rows(), status.rows_per_second());
  if (status.jobs_failed() > 0) out += fmt::format(", {} failed", status.jobs_failed());
  if (status.paused()) return out + ", paused";
  if (status.scheduled() && status.consumers().empty()) return out + ", no consumer is connected";
  if (status.scheduled() && status.seconds_left() >= 0) {
    out += fmt::format(", {} left", Duration(status.seconds_left()));
  }
  return out;
}

std::string DumpFailures(const pb::ControllerStatusResponse& status) {
  std::string out;
  for (const pb::DumpJob& job : status.jobs()) {
    if (job.state() != pb::DumpJob::FAILED) continue;
    out += fmt::format("{}: {}\n", NameOf(job), Printable(job.reason()));
  }
  return out;
}

}  // namespace pgc
