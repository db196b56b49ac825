#include "sink/ddl_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "pg/connection.h"
#include "sql/names.h"
#include "sql/objects.h"
#include "sql/rewrite.h"
#include "sql/statement.h"
#include "sql/tokens.h"
#include "sql/words.h"

namespace pgc {
namespace {

using Fate = DdlPlan::Fate;
using Tokens = std::vector<std::string_view>;

constexpr char kOwnName[] = "pgcapture";  // of the extension and its schema

// Commands for which a copy has no use.
constexpr std::array<std::string_view, 7> kNoUse = {
    "REFRESH MATERIALIZED VIEW", "CREATE PUBLICATION", "ALTER PUBLICATION", "DROP PUBLICATION",
    "CREATE SUBSCRIPTION",       "ALTER SUBSCRIPTION", "DROP SUBSCRIPTION"};

// Commands on what is not the database's own: the log has none, but a client's whole string can.
constexpr std::array<std::string_view, 6> kSharedKinds = {"ROLE",  "DATABASE",      "TABLESPACE",
                                                          "EVENT", "EVENT TRIGGER", "SYSTEM"};

DdlPlan Only(Fate fate, bool exact = true) {
  DdlPlan plan;
  plan.fate = fate;
  plan.exact = exact;
  return plan;
}

bool IsNoUse(std::string_view tag) {
  return std::find(kNoUse.begin(), kNoUse.end(), tag) != kNoUse.end();
}

// What the source's list of objects says.
Fate FateByObjects(const DdlCommand& command) {
  const std::vector<DdlObject> objects = ObjectsOf(command);
  if (objects.empty()) return Fate::kRun;
  const auto all = [&objects](auto is) { return std::all_of(objects.begin(), objects.end(), is); };
  if (all([](const DdlObject& o) {
        return o.schema == kOwnName ||
               ((o.type == "schema" || o.type == "extension") && o.identity == kOwnName);
      })) {
    return Fate::kOwn;
  }
  if (all([](const DdlObject& o) {
        return o.type.starts_with("publication") || o.type.starts_with("subscription") ||
               o.type == "PUBLICATION" || o.type == "SUBSCRIPTION";
      })) {
    return Fate::kNothing;
  }
  if (all([](const DdlObject& o) {
        return o.type == "large object" || o.type == "LARGE OBJECT";
      })) {
    return Fate::kLargeObjects;
  }
  return Fate::kRun;
}

// What the text of one statement says.
Fate FateByText(const Tokens& tokens, const SqlStatement& statement) {
  if (IsNoUse(statement.tag)) return Fate::kNothing;
  if (statement.tag == "REINDEX") return Fate::kReindex;
  const NamedObjects objects = ReadObjects(tokens, statement);
  using Kind = NamedObjects::Kind;
  if (objects.kind == Kind::kReplication) return Fate::kNothing;
  if (objects.kind == Kind::kLargeObject) return Fate::kLargeObjects;
  const bool is_whole = objects.kind != Kind::kOther;
  const auto own = std::count_if(
      objects.names.begin(), objects.names.end(), [is_whole](const std::vector<std::string>& name) {
        return (is_whole ? name.size() == 1 : name.size() > 1) && name[0] == kOwnName;
      });
  if (own == 0) return Fate::kRun;
  if (static_cast<size_t>(own) == objects.names.size()) return Fate::kOwn;
  return is_whole && statement.tag.starts_with("DROP ") ? Fate::kMixed : Fate::kRun;
}

std::string QuoteName(const std::vector<std::string>& name) {
  std::string quoted;
  for (const std::string& part : name) {
    quoted += (quoted.empty() ? "" : ".") + QuoteIdentifier(part);
  }
  return quoted;
}

// The one index that the source says it made; empty when there is none, or several.
std::string IndexMade(const std::vector<DdlObject>& objects) {
  std::string identity;
  for (const DdlObject& object : objects) {
    if (object.type != "index" || object.tag != "CREATE INDEX") continue;
    if (!identity.empty()) return {};
    identity = object.identity;
  }
  return identity;
}

// An index is made under the name that it has on the source: the one that PostgreSQL would choose
// depends on what there is, and a command that is repeated would make a second index.
absl::Status ReadCreateIndex(const Tokens& tokens, const SqlStatement& statement,
                             const std::vector<DdlObject>& objects, DdlStep& step) {
  const std::string made = IndexMade(objects);
  if (!made.empty()) {
    PGC_ASSIGN_OR_RETURN(const Tokens identity, Tokenize(made));
    size_t at = 0;
    const std::vector<std::string> name = ReadName(identity, at);
    if (!name.empty()) {
      PGC_ASSIGN_OR_RETURN(step.sql, WithIndexName(step.sql, name.back()));
    }
  }
  const Words words(tokens);
  if (words.At(statement.after_kind) != "CONCURRENTLY") return absl::OkStatus();
  step.kind = DdlStep::Kind::kCreateIndexAlone;
  step.relation = made;
  size_t at = words.Skip(statement.after_kind + 1, {"IF", "NOT", "EXISTS"});
  const NamedObjects named = ReadObjects(tokens, statement);
  if (!made.empty() || words.At(at) == "ON" || named.names.empty()) return absl::OkStatus();
  step.relation = QuoteName(ReadName(tokens, at));
  step.table = QuoteName(named.names.front());
  return absl::OkStatus();
}

// A partition whose detachment was begun on the source and not ended is not so here: only what
// has succeeded is in the log.
void ReadAlterTable(const Tokens& tokens, DdlStep& step) {
  step.alter = ParseAlterTable(tokens).value_or(AlterTable{});
  if (!step.alter.concurrently && !step.alter.finalize) return;
  step.kind = DdlStep::Kind::kDetachAlone;
  step.table = QuoteName(step.alter.table);
  step.relation = QuoteName(step.alter.detached);
  step.sql = fmt::format("ALTER TABLE {} DETACH PARTITION {} ", step.table, step.relation);
}

// Whether `role` (SESSION_USER, …) stands where a statement names roles, not in an expression.
bool NamesRole(const Tokens& tokens, const std::string& tag, std::string_view role) {
  const Words words(tokens);
  const bool has_list = tag == "GRANT" || tag == "REVOKE" || tag == "DROP OWNED" ||
                        tag == "ALTER DEFAULT PRIVILEGES" || tag.ends_with(" POLICY");
  for (size_t i = 1; i < words.size(); ++i) {
    if (words.At(i) != role) continue;
    const std::string before = words.At(i - 1);
    if (before == "TO" || before == "BY" || before == "AUTHORIZATION" || before == "ROLE" ||
        (has_list && (before == "," || before == "FROM")) ||
        (tag.ends_with(" USER MAPPING") && before == "FOR")) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<DdlStep> StepOf(const Tokens& tokens, const SqlStatement& statement,
                               const std::vector<DdlObject>& objects) {
  DdlStep step;
  step.tag = statement.tag;
  step.sql = statement.text;
  // DROP OWNED BY SESSION_USER must not drop what belongs to the sink.
  if (NamesRole(tokens, step.tag, "SESSION_USER")) {
    return absl::FailedPreconditionError("it is about SESSION_USER, who is another one here");
  }
  for (const std::string_view role : {"CURRENT_USER", "CURRENT_ROLE", "USER"}) {
    step.of_role = step.of_role || NamesRole(tokens, step.tag, role);
  }
  if (step.tag == "CREATE TABLE AS" || step.tag == "SELECT INTO") {
    PGC_ASSIGN_OR_RETURN(step.sql, WithNoData(statement.text));
  } else if (step.tag == "CREATE INDEX") {
    PGC_RETURN_IF_ERROR(ReadCreateIndex(tokens, statement, objects, step));
  } else if (step.tag == "DROP INDEX") {
    // One that the source never finished (CONCURRENTLY) is not here.
    PGC_ASSIGN_OR_RETURN(step.sql, DropIndexIfExists(statement.text));
    if (Words(tokens).At(2) == "CONCURRENTLY") step.kind = DdlStep::Kind::kDropIndexAlone;
  } else if (step.tag == "ALTER TABLE") {
    ReadAlterTable(tokens, step);
  }
  return step;
}

// SET of the search path or the role as one of the transaction; empty for every other statement.
std::string LocalSetting(const Tokens& tokens, const SqlStatement& statement) {
  const Words words(tokens);
  if (words.At(0) != "SET") return {};
  const size_t at = words.At(1) == "SESSION" || words.At(1) == "LOCAL" ? 2 : 1;
  const std::string name = NameOf(words.Token(at));
  if (name != "search_path" && name != "schema" && name != "role") return {};
  const auto begin = static_cast<size_t>(tokens[at].data() - statement.text.data());
  return "SET LOCAL " + std::string(statement.text.substr(begin));
}

// Whether event triggers fire for it, on something that is not temporary.
bool IsDdl(const SqlStatement& statement) {
  if (statement.temporary || statement.shared) return false;
  const std::string& tag = statement.tag;
  const size_t space = tag.find(' ');
  const std::string verb = tag.substr(0, space);
  if (verb == "CREATE" || verb == "ALTER" || verb == "DROP") {
    const std::string kind = space == std::string::npos ? "" : tag.substr(space + 1);
    return std::find(kSharedKinds.begin(), kSharedKinds.end(), kind) == kSharedKinds.end();
  }
  return tag == "COMMENT" || tag == "SECURITY LABEL" || tag == "GRANT" || tag == "REVOKE" ||
         tag == "IMPORT FOREIGN SCHEMA" || tag == "SELECT INTO";
}

// Whether a row with this tag can be of this statement.
bool HasTag(const DdlCommand& command, const SqlStatement& statement) {
  if (!command.exact.has_value() || command.tags.size() != 1) return true;
  const std::string& tag = command.tags[0];
  return statement.tag == tag || (statement.tag == "SELECT INTO" && tag == "SELECT");
}

// Of a string of several statements: its DDL, and the settings that it looks names up by.
absl::StatusOr<DdlPlan> PlanString(const std::vector<SqlStatement>& statements,
                                   const DdlCommand& command) {
  DdlPlan plan;
  plan.exact = false;
  bool has_tag = false;
  bool runs = false;
  const std::vector<DdlObject> objects =
      statements.size() == 1 ? ObjectsOf(command) : std::vector<DdlObject>();
  for (const SqlStatement& of_string : statements) {
    PGC_ASSIGN_OR_RETURN(const Tokens tokens, Tokenize(of_string.text));
    const SqlStatement statement = Classify(tokens);
    if (std::string setting = LocalSetting(tokens, statement); !setting.empty()) {
      DdlStep step;
      step.kind = DdlStep::Kind::kSetting;
      step.sql = std::move(setting);
      plan.steps.push_back(std::move(step));
    } else if (!IsDdl(statement)) {
      plan.left_out.push_back(statement.tag);
      continue;
    }
    has_tag = has_tag || HasTag(command, statement);
    const Fate fate = FateByText(tokens, statement);
    if (fate == Fate::kMixed) return Only(fate);
    if (fate != Fate::kRun || !IsDdl(statement)) continue;
    PGC_ASSIGN_OR_RETURN(DdlStep step, StepOf(tokens, statement, objects));
    plan.steps.push_back(std::move(step));
    runs = true;
  }
  if (!has_tag) {
    // A function that was called runs it.
    plan.fate = Fate::kUnknown;
  } else if (!runs && plan.left_out.empty()) {
    plan.fate = Fate::kNothing;
  }
  return plan;
}

absl::StatusOr<DdlPlan> PlanCommand(const DdlCommand& command) {
  DdlPlan plan;
  const auto tokens = Tokenize(*command.query);
  const SqlStatement statement = tokens.ok() ? Classify(*tokens) : SqlStatement();
  if (statement.text.empty()) {
    // Syntax that PostgreSQL has and our scanner does not know.
    DdlStep step;
    if (!command.tags.empty()) step.tag = command.tags[0];
    step.sql = *command.query;
    plan.steps.push_back(std::move(step));
    return plan;
  }
  if (const Fate fate = FateByText(*tokens, statement); fate != Fate::kRun) return Only(fate);
  PGC_ASSIGN_OR_RETURN(DdlStep step, StepOf(*tokens, statement, ObjectsOf(command)));
  plan.steps.push_back(std::move(step));
  return plan;
}

}  // namespace

absl::StatusOr<DdlPlan> PlanDdl(const DdlCommand& command) {
  const bool is_known = command.query.has_value() && !command.query->empty();
  // What version 0.1 does not log is such a row.
  if (!is_known && (command.tags.empty() || !command.exact.has_value())) {
    return Only(Fate::kNothing);
  }
  if (command.tags.size() == 1 && IsNoUse(command.tags[0])) return Only(Fate::kNothing);
  if (const Fate fate = FateByObjects(command); fate != Fate::kRun) return Only(fate);
  if (!is_known) return Only(Fate::kUnknown, false);

  if (command.query->size() > kMaxDdlBytes) {
    return absl::FailedPreconditionError(fmt::format("its text has {} bytes: up to {} are read",
                                                     command.query->size(), kMaxDdlBytes));
  }
  if (command.exact == true) return PlanCommand(command);
  const auto statements = SplitSql(*command.query);
  if (!statements.ok()) return Only(Fate::kUnknown, false);
  PGC_ASSIGN_OR_RETURN(DdlPlan plan, PlanString(*statements, command));
  // In rows of version 0.1 a single statement is the command.
  if (!command.exact.has_value() && statements->size() == 1 && plan.fate == Fate::kRun) {
    plan.exact = true;
  }
  return plan;
}

}  // namespace pgc
