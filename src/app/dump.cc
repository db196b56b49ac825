#include "app/dump.h"

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <set>
#include <utility>

#include "app/dump_text.h"
#include "app/grpc_log.h"
#include "base/pause.h"
#include "base/status_macros.h"
#include "pgcapture.grpc.pb.h"

namespace pgc {
namespace {

constexpr std::chrono::seconds kTimeout{30};
constexpr int kMaxAnswerBytes = 64 << 20;
// While it waits, a controller may be started again.
constexpr std::chrono::seconds kMaxAway{60};

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
  // gRPC would send even loopback through the proxy that the environment names for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // gRPC would look ever more seldom for a controller that was away, and not see it before
  // kMaxAway.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// One service at an address.
template <typename Service>
class Peer {
 public:
  Peer(std::string_view what, const std::string& address)
      : name_(fmt::format("{} {}", what, address)), address_(address) {
    Reconnect();
  }

  // gRPC sees only every 5 s what becomes of a connection that no call waits for, and calls do not
  // wait for one that has failed.
  void Reconnect() { stub_ = Service::NewStub(ChannelTo(address_)); }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&,
                                                          Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    const grpc::Status status = ((*stub_).*method)(&context, request, &response);
    if (status.ok()) return absl::OkStatus();
    const bool unknown =
        status.error_code() == grpc::StatusCode::UNIMPLEMENTED && status.error_message().empty();
    // The codes of both are the same numbers.
    return {static_cast<absl::StatusCode>(status.error_code()),
            fmt::format("{}: {}", name_,
                        unknown ? "it does not know this call" : status.error_message())};
  }

 private:
  const std::string name_;
  const std::string address_;
  std::unique_ptr<typename Service::Stub> stub_;
};

using ControllerPeer = Peer<pb::DBLogController>;
using AgentPeer = Peer<pb::Agent>;

struct Pages {
  uint32_t begin = 0;
  std::optional<uint32_t> end;
};

absl::StatusOr<uint32_t> ParsePage(std::string_view text) {
  uint32_t page = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), page);
  if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return page;
  return absl::InvalidArgumentError(
      fmt::format("'{}' is no page: --pages takes A-B, both included, or A- to the end", text));
}

absl::StatusOr<Pages> ParsePages(std::string_view text) {
  Pages pages;
  if (text.empty()) return pages;
  const size_t dash = text.find('-');
  PGC_ASSIGN_OR_RETURN(pages.begin, ParsePage(text.substr(0, dash)));
  if (dash == std::string_view::npos) {
    pages.end = pages.begin;
  } else if (dash + 1 < text.size()) {
    PGC_ASSIGN_OR_RETURN(pages.end, ParsePage(text.substr(dash + 1)));
  }
  return pages;
}

// `schema.table`, cut at the first dot as elsewhere.
std::pair<std::string, std::string> SplitName(const std::string& name) {
  const size_t dot = name.find('.');
  if (dot == std::string::npos) return {"public", name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

bool IsGlob(const std::string& name) { return name.find_first_of("*?") != std::string::npos; }

class DumpCommand {
 public:
  explicit DumpCommand(const DumpCommandOptions& options)
      : options_(options), controller_("controller", options.controller) {}

  absl::StatusOr<bool> Run(const std::stop_token& stop) {
    switch (options_.action) {
      case DumpAction::kSchedule: {
        if (options_.tables.empty() && !options_.wait) {
          return absl::InvalidArgumentError("which table? --table SCHEMA.TABLE, or a pattern");
        }
        if (!options_.tables.empty()) PGC_RETURN_IF_ERROR(Schedule());
        if (options_.wait) return Wait(stop);
        return true;
      }
      case DumpAction::kStatus:
        return PrintStatus();
      case DumpAction::kStop:
        return Change<pb::StopScheduleRequest, pb::StopScheduleResponse>(
            &pb::DBLogController::Stub::StopSchedule, {}, "stopped");
      case DumpAction::kPause:
        return Change<pb::PauseRequest, pb::PauseResponse>(&pb::DBLogController::Stub::Pause, {},
                                                           "paused");
      case DumpAction::kResume:
        return Change<pb::ResumeRequest, pb::ResumeResponse>(&pb::DBLogController::Stub::Resume, {},
                                                             "goes on");
      case DumpAction::kCoolDown: {
        pb::SetScheduleCoolDownRequest request;
        const auto seconds = std::chrono::floor<std::chrono::seconds>(options_.cool_down);
        request.mutable_duration()->set_seconds(seconds.count());
        request.mutable_duration()->set_nanos(
            static_cast<int32_t>((options_.cool_down - seconds).count()));
        return Change<pb::SetScheduleCoolDownRequest, pb::SetScheduleCoolDownResponse>(
            &pb::DBLogController::Stub::SetScheduleCoolDown, request, "cool-down set");
      }
    }
    return true;
  }

 private:
  template <typename Request, typename Response, typename Method>
  absl::StatusOr<bool> Change(Method method, Request request, std::string_view done) {
    request.set_uri(options_.uri);
    Response response;
    PGC_RETURN_IF_ERROR(controller_.Call(method, request, response));
    return Print(fmt::format("{}: {}\n", options_.uri, done));
  }

  absl::StatusOr<bool> Print(const std::string& text) const {
    if (std::fwrite(text.data(), 1, text.size(), options_.output) == text.size() &&
        std::fflush(options_.output) == 0) {
      return true;
    }
    return absl::FailedPreconditionError("cannot write the answer");
  }

  absl::Status Schedule() {
    pb::ScheduleRequest request;
    request.set_uri(options_.uri);
    PGC_ASSIGN_OR_RETURN(const auto tables, Tables());
    PGC_ASSIGN_OR_RETURN(const Pages pages, ParsePages(options_.pages));
    for (const auto& [schema, table] : tables) {
      pb::TableDump& dump = *request.add_tables();
      dump.set_schema(schema);
      dump.set_table(table);
      dump.set_page_begin(pages.begin);
      if (pages.end) dump.set_page_end(*pages.end);
      dump.set_pages_per_dump(options_.pages_per_dump);
      dump.set_where(options_.where);
      dump.mutable_columns()->Assign(options_.columns.begin(), options_.columns.end());
      dump.mutable_keys()->Assign(options_.keys.begin(), options_.keys.end());
    }
    pb::ScheduleResponse response;
    PGC_RETURN_IF_ERROR(controller_.Call(&pb::DBLogController::Stub::Schedule, request, response));
    return Print(fmt::format("{}: {} {} scheduled\n", options_.uri, tables.size(),
                             tables.size() == 1 ? "table" : "tables"))
        .status();
  }

  // Each once, in the order of the options.
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Tables() {
    std::vector<std::pair<std::string, std::string>> tables;
    std::set<std::pair<std::string, std::string>> known;
    for (const std::string& name : options_.tables) {
      std::vector<std::pair<std::string, std::string>> found;
      if (IsGlob(name)) {
        PGC_ASSIGN_OR_RETURN(found, Expand(name));
      } else {
        found = Leaves(SplitName(name));
      }
      for (auto& table : found) {
        if (known.insert(table).second) tables.push_back(std::move(table));
      }
    }
    return tables;
  }

  // From the agent, asked once.
  const absl::StatusOr<pb::ListTablesResponse>& Listed() {
    if (!listed_) {
      AgentPeer agent("agent", options_.agent.empty() ? options_.controller : options_.agent);
      pb::ListTablesResponse response;
      const absl::Status status =
          agent.Call(&pb::Agent::Stub::ListTables, pb::ListTablesRequest(), response);
      listed_.emplace(status.ok() ? absl::StatusOr<pb::ListTablesResponse>(std::move(response))
                                  : status);
    }
    return *listed_;
  }

  // A partitioned table has no rows of its own. Without an agent that knows, a name is taken for
  // that of a table: the dump of any other fails, with its reason.
  std::vector<std::pair<std::string, std::string>> Leaves(
      const std::pair<std::string, std::string>& name) {
    std::vector<std::pair<std::string, std::string>> leaves;
    if (Listed().ok()) {
      for (const auto& table : Listed()->tables()) {
        const std::pair of{table.schema(), table.table()};
        if (of == name) return {name};
        if (name == std::pair{table.published_schema(), table.published_table()}) {
          leaves.push_back(of);
        }
      }
    }
    return leaves.empty() ? std::vector{name} : leaves;
  }

  // A partition is also found under the name of its root, which its changes have.
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Expand(
      const std::string& pattern) {
    if (!Listed().ok()) {
      return absl::Status(Listed().status().code(),
                          fmt::format("a pattern needs an agent that lists the tables "
                                      "(--agent ADDR), or name each table: {}",
                                      std::string(Listed().status().message())));
    }
    // Without a dot, of any schema: `*` is all tables.
    const bool has_schema = pattern.find('.') != std::string::npos;
    const auto matches = [&](const std::string& schema, const std::string& table) {
      return MatchesGlob(pattern, has_schema ? schema + "." + table : table);
    };
    std::vector<std::pair<std::string, std::string>> found;
    for (const auto& table : Listed()->tables()) {
      if (matches(table.schema(), table.table()) ||
          matches(table.published_schema(), table.published_table())) {
        found.emplace_back(table.schema(), table.table());
      }
    }
    if (!found.empty()) return found;
    return absl::InvalidArgumentError(fmt::format("no table is found by '{}'", pattern));
  }

  absl::StatusOr<pb::ControllerStatusResponse> Status() {
    pb::ControllerStatusRequest request;
    request.set_uri(options_.uri);
    pb::ControllerStatusResponse response;
    PGC_RETURN_IF_ERROR(controller_.Call(&pb::DBLogController::Stub::Status, request, response));
    return response;
  }

  absl::StatusOr<bool> PrintStatus() {
    PGC_ASSIGN_OR_RETURN(const auto status, Status());
    return Print(options_.json ? DumpStatusToJson(status) : DumpStatusToText(status));
  }

  absl::StatusOr<bool> Wait(const std::stop_token& stop) {
    using Clock = std::chrono::steady_clock;
    Clock::time_point answered = Clock::now();
    while (!stop.stop_requested()) {
      const auto status = Status();
      if (status.ok()) {
        answered = Clock::now();
        ShowProgress(*status);
        if (!status->scheduled()) return Ended(*status);
      } else if (!absl::IsUnavailable(status.status()) || Clock::now() - answered > kMaxAway) {
        EndLine();
        return status.status();
      } else {
        controller_.Reconnect();
      }
      Pause(options_.look_interval, stop);
    }
    EndLine();
    fmt::print(options_.progress,
               "no longer waiting; the schedule stays: pgcapture dump --controller {} --uri {} "
               "--stop ends it\n",
               options_.controller, options_.uri);
    return false;
  }

  absl::StatusOr<bool> Ended(const pb::ControllerStatusResponse& status) {
    EndLine();
    if (status.jobs_total() == 0) {
      return absl::FailedPreconditionError(
          fmt::format("{}: nothing is scheduled: it was stopped", options_.uri));
    }
    if (status.jobs_failed() == 0) return true;
    fmt::print(options_.progress, "{} of {} tables failed:\n{}", status.jobs_failed(),
               status.jobs_total(), DumpFailures(status));
    return false;
  }

  void ShowProgress(const pb::ControllerStatusResponse& status) {
    const std::string line = DumpProgressLine(status, options_.terminal);
    if (line == shown_) return;
    shown_ = line;
    if (options_.terminal) {
      fmt::print(options_.progress, "\r\033[K{}", line);
    } else {
      // A line at each look would fill a log.
      const auto now = std::chrono::steady_clock::now();
      if (status.scheduled() && now < next_line_) return;
      next_line_ = now + options_.look_interval * 10;
      fmt::print(options_.progress, "{}\n", line);
    }
    std::fflush(options_.progress);
  }

  void EndLine() {
    if (options_.terminal && !shown_.empty()) fmt::print(options_.progress, "\n");
  }

  const DumpCommandOptions& options_;
  ControllerPeer controller_;
  std::optional<absl::StatusOr<pb::ListTablesResponse>> listed_;
  std::string shown_;
  std::chrono::steady_clock::time_point next_line_;
};

}  // namespace

absl::StatusOr<std::chrono::nanoseconds> ParseDuration(const std::string& text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ms", 1e6}, {"us", 1e3}, {"ns", 1}, {"s", 1e9}, {"m", 60e9}, {"h", 3'600e9}};
  const auto malformed = [&] {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is no duration: 5s, 1m30s, 250ms, 2h", text));
  };
  double total_ns = 0;
  std::string_view left = text;
  while (!left.empty()) {
    double number = 0;
    const auto [end, error] = std::from_chars(left.data(), left.data() + left.size(), number);
    if (error != std::errc() || !(number >= 0)) return malformed();
    left.remove_prefix(static_cast<size_t>(end - left.data()));
    bool found = false;
    for (const auto& [unit, ns] : kUnits) {
      if (found || !left.starts_with(unit)) continue;
      total_ns += number * ns;
      left.remove_prefix(unit.size());
      found = true;
    }
    if (!found || total_ns > 366.0 * 86'400e9) return malformed();
  }
  if (text.empty()) return malformed();
  return std::chrono::nanoseconds(std::llround(total_ns));
}

bool MatchesGlob(std::string_view pattern, std::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;  // the last in the pattern,
  size_t taken = 0;                      // and where what it does not take begins
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

absl::StatusOr<bool> RunDump(const DumpCommandOptions& options, std::stop_token stop) {
  SendGrpcLogToOurs();
  return DumpCommand(options).Run(stop);
}

}  // namespace pgc
