#include "sink/ddl_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "base/status_macros.h"
#include "sink/ddl_alone.h"
#include "sink/ddl_context.h"
#include "sink/ddl_report.h"
#include "sink/ddl_rewrites.h"
#include "sql/rewrite.h"

namespace pgc {
namespace {

constexpr char kMissing[] =
    "SELECT string_agg(name, ', ') FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL";

std::string RunByHand(const DdlCommand& command) {
  return fmt::format("run it by hand on the target, then start with --skip-lsn '{}'",
                     ToKey(command.checkpoint));
}

void LogLeftOut(const DdlCommand& command, const char* why) {
  log::Warning(why, {{"tag", TagOf(command)}, {"lsn", ToKey(command.checkpoint)}});
}

bool IsAlone(const DdlStep& step) {
  return step.kind != DdlStep::Kind::kPlain && step.kind != DdlStep::Kind::kSetting;
}

// A warning with `why` when the target has not all indexes that the source names.
absl::Status CheckIndexes(Connection& target, const DdlCommand& command, const char* why,
                          const std::stop_token& stop) {
  std::vector<std::string> indexes;
  for (const DdlObject& object : ObjectsOf(command)) {
    // Those of TOAST are named after OIDs.
    const bool is_users = !object.schema.starts_with("pg_") && object.schema != "pgcapture";
    if (object.type == "index" && is_users) indexes.push_back(object.identity);
  }
  if (indexes.empty()) return absl::OkStatus();
  const std::vector<Connection::Parameter> parameters = {ArrayOf(indexes)};
  PGC_ASSIGN_OR_RETURN(const Result missing, target.Query(kMissing, parameters, stop));
  if (missing.IsNull(0, 0)) return absl::OkStatus();
  log::Warning(why,
               {{"index", std::string(missing.Text(0, 0))}, {"lsn", ToKey(command.checkpoint)}});
  return absl::OkStatus();
}

// A materialized view of another that the target has never filled is not filled either: the REFRESH
// that filled that on the source is not in the log.
absl::Status CreateMaterializedView(Connection& target, const DdlCommand& command,
                                    const DdlStep& step, const std::stop_token& stop) {
  constexpr char kNotFilled[] = "55000";
  PGC_RETURN_IF_ERROR(target.Execute("SAVEPOINT pgcapture_ddl", stop));
  absl::Status status = target.Execute(step.sql, stop);
  if (SqlStateOf(status) == kNotFilled) {
    PGC_ASSIGN_OR_RETURN(const std::string unfilled, WithNoData(step.sql));
    PGC_RETURN_IF_ERROR(target.Execute("ROLLBACK TO SAVEPOINT pgcapture_ddl", stop));
    PGC_RETURN_IF_ERROR(target.Execute(unfilled, stop));
    log::Warning(
        "a materialized view is not filled, because one that it reads is not: refresh both",
        {{"lsn", ToKey(command.checkpoint)}});
    status = absl::OkStatus();
  }
  if (!status.ok()) return status;
  return target.Execute("RELEASE SAVEPOINT pgcapture_ddl", stop);
}

absl::Status RunStep(Connection& target, const DdlCommand& command, const DdlStep& step,
                     const std::stop_token& stop) {
  if (IsAlone(step)) return RunAlone(target, step, stop);
  if (step.tag == "CREATE MATERIALIZED VIEW") {
    return CreateMaterializedView(target, command, step, stop);
  }
  return target.Execute(step.sql, stop);
}

// The role, or the search path, of a command could not be taken on.
absl::Status EnterError(const DdlCommand& command, const std::string& role,
                        const absl::Status& status) {
  const std::string state = SqlStateOf(status);
  const bool refused = state == "22023" || state == "42501";  // no such role; not allowed
  if (!refused || role.empty()) return DdlError(command, role, status);
  return DdlStop(
      command,
      fmt::format("the target's session cannot become the role '{}', which ran it on the "
                  "source: {}",
                  role, std::string(status.message())),
      fmt::format("create the role there, or grant it to the role that applies; or start "
                  "with --ddl-role session, and the objects belong to that one; or with "
                  "--skip-lsn '{}'",
                  ToKey(command.checkpoint)));
}

}  // namespace

void DdlReplay::BeginTransaction() { last_text_.clear(); }

bool DdlReplay::IsSkipped(const Checkpoint& checkpoint) const {
  return std::any_of(options_.skip.begin(), options_.skip.end(), [&](const Checkpoint& skip) {
    return skip.lsn == checkpoint.lsn && (skip.seq == 0 || skip.seq == checkpoint.seq);
  });
}

bool DdlReplay::RunsAlone(const DdlCommand& command) const {
  if (IsSkipped(command.checkpoint)) return false;
  const auto plan = PlanDdl(command);
  return plan.ok() && plan->fate == DdlPlan::Fate::kRun && plan->exact && plan->steps.size() == 1 &&
         IsAlone(plan->steps[0]);
}

absl::StatusOr<bool> DdlReplay::DecideInexact(const DdlCommand& command, const DdlPlan& plan) {
  if (!command.query.value_or("").empty() && command.query == last_text_) return false;
  switch (options_.inexact) {
    case InexactDdl::kSkip:
      LogLeftOut(command, "a command whose text is not known for sure is left out");
      break;
    case InexactDdl::kStop:
      return DdlStop(command,
                     plan.fate == DdlPlan::Fate::kUnknown
                         ? "the source does not know the text of this command"
                         : "the text can be more than this one command",
                     RunByHand(command) + "; or start with --inexact-ddl run (its DDL is run) or " +
                         "--inexact-ddl skip (such commands are left out)");
    case InexactDdl::kRun:
      if (plan.fate == DdlPlan::Fate::kUnknown) {
        return DdlStop(command, "its text is not known, so that it cannot be run",
                       RunByHand(command));
      }
      log::Warning("of a text of several commands the DDL is run",
                   {{"tag", TagOf(command)},
                    {"lsn", ToKey(command.checkpoint)},
                    {"left_out", fmt::format("{}", fmt::join(plan.left_out, ", "))}});
      break;
  }
  last_text_ = command.query.value_or("");
  return options_.inexact == InexactDdl::kRun;
}

absl::Status DdlReplay::Run(Connection& target, const DdlCommand& command, std::stop_token stop) {
  if (IsSkipped(command.checkpoint)) {
    LogLeftOut(command, "a command is skipped, as --skip-lsn says");
    if (command.exact != true) last_text_ = command.query.value_or("");
    return absl::OkStatus();
  }
  const auto plan = PlanDdl(command);
  if (!plan.ok()) {
    return DdlStop(command, std::string(plan.status().message()),
                   "make its outcome by hand on the target, then start with --skip-lsn '" +
                       ToKey(command.checkpoint) + "'");
  }
  switch (plan->fate) {
    case DdlPlan::Fate::kNothing:
    case DdlPlan::Fate::kOwn:
      log::Debug("a command is not for a copy",
                 {{"tag", TagOf(command)}, {"lsn", ToKey(command.checkpoint)}});
      return absl::OkStatus();
    case DdlPlan::Fate::kReindex:
      // It changes nothing that a query can see, but can be what makes an index valid that never
      // came into the log, because the command that should have made it failed.
      return CheckIndexes(
          target, command,
          "the target has not the index that REINDEX rebuilt on the source: create it there", stop);
    case DdlPlan::Fate::kLargeObjects:
      LogLeftOut(command, "a command on large objects is left out: they are not in the log");
      return absl::OkStatus();
    case DdlPlan::Fate::kMixed:
      return DdlStop(command, "it drops pgcapture, whose position is kept there, with others",
                     RunByHand(command) + ", without pgcapture");
    case DdlPlan::Fate::kUnknown:
    case DdlPlan::Fate::kRun:
      break;
  }
  if (!plan->exact) {
    PGC_ASSIGN_OR_RETURN(const bool run, DecideInexact(command, *plan));
    if (!run) return absl::OkStatus();
  }
  return RunSteps(target, command, *plan, stop);
}

absl::Status DdlReplay::RunSteps(Connection& target, const DdlCommand& command, const DdlPlan& plan,
                                 const std::stop_token& stop) {
  const bool alone = plan.exact && plan.steps.size() == 1 && IsAlone(plan.steps[0]);
  if (std::any_of(plan.steps.begin(), plan.steps.end(),
                  [](const DdlStep& step) { return step.tag == "DROP INDEX"; })) {
    PGC_RETURN_IF_ERROR(CheckIndexes(
        target, command, "the target has not, or no longer, the index that was dropped", stop));
  }
  std::vector<RewriteWatch> watches;
  for (const DdlStep& step : plan.steps) watches.emplace_back(target, command, step);
  for (RewriteWatch& watch : watches) PGC_RETURN_IF_ERROR(watch.BeforeCommand(stop));

  const auto if_used = [](bool use, const std::optional<std::string>& value) {
    return use && value.has_value() ? value : std::nullopt;
  };
  const std::optional<std::string> role = if_used(options_.use_role, command.role);
  if (!role.has_value() && std::any_of(plan.steps.begin(), plan.steps.end(),
                                       [](const DdlStep& step) { return step.of_role; })) {
    return DdlStop(command,
                   "it is about the role that runs it, which is another one than on the source",
                   RunByHand(command) + ", with the name of that role");
  }
  DdlContext context(target, !alone, if_used(options_.use_search_path, command.search_path), role);
  if (const absl::Status status = context.Enter(stop); !status.ok()) {
    return EnterError(command, role.value_or(""), status);
  }
  absl::Status status;
  for (const DdlStep& step : plan.steps) {
    status = RunStep(target, command, step, stop);
    if (!status.ok()) break;
  }
  if (status.ok() || alone) {
    const absl::Status left = context.Leave(stop);
    if (status.ok()) status = left;
  }
  if (!status.ok()) return DdlError(command, role.value_or(""), status);
  for (RewriteWatch& watch : watches) PGC_RETURN_IF_ERROR(watch.AfterCommand(stop));
  return absl::OkStatus();
}

}  // namespace pgc
