#include "sink/ddl_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "base/cut_text.h"
#include "pg/connection.h"

namespace pgc {
namespace {

constexpr char kInsufficientPrivilege[] = "42501";

constexpr size_t kTextBytes = 500;
constexpr size_t kObjectBytes = 200;

// What goes with passwords, in a tag and in a text.
constexpr std::array<std::string_view, 5> kSecretTags = {"USER MAPPING", "SERVER", "ROLE",
                                                         "WRAPPER", "SUBSCRIPTION"};
constexpr std::array<std::string_view, 4> kSecretWords = {"PASSWORD", "OPTIONS", "USER MAPPING",
                                                          "CONNECTION"};

template <size_t kCount>
bool HasOneOf(std::string text, const std::array<std::string_view, kCount>& words) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return std::any_of(words.begin(), words.end(), [&text](std::string_view word) {
    return text.find(word) != std::string::npos;
  });
}

bool MayHoldSecret(const DdlCommand& command) {
  return HasOneOf(command.query.value_or(""), kSecretWords) ||
         std::any_of(command.tags.begin(), command.tags.end(),
                     [](const std::string& tag) { return HasOneOf(tag, kSecretTags); });
}

std::string Cut(std::string_view text, size_t bytes) {
  return CutText(text, bytes) + (text.size() <= bytes ? "" : " …");
}

std::string ObjectNames(const DdlCommand& command) {
  std::string names;
  for (const DdlObject& object : ObjectsOf(command)) {
    if (object.identity.empty()) continue;
    if (!names.empty()) names += ", ";
    names += object.type + " " + object.identity;
    if (names.size() > kObjectBytes) break;
  }
  return Cut(names, kObjectBytes);
}

// The server's message without the row value that an error of data, and the password that an error
// of syntax can quote.
std::string Message(const DdlCommand& command, const absl::Status& status) {
  std::string message(status.message());
  const std::string state = SqlStateOf(status);
  // 42601 is an error of syntax, HV one of the options of foreign data.
  const bool quotes = state.starts_with("22") ||
                      ((state == "42601" || state.starts_with("HV")) && MayHoldSecret(command));
  const size_t quote = message.find('"');
  if (!quotes || quote == std::string::npos) return message;
  return fmt::format("{}… (SQLSTATE {})", message.substr(0, quote), state);
}

absl::Status WithPayloads(absl::Status status, const absl::Status& from) {
  from.ForEachPayload(
      [&status](auto url, const absl::Cord& payload) { status.SetPayload(url, payload); });
  return status;
}

}  // namespace

std::string TagOf(const DdlCommand& command) {
  return command.tags.empty() ? "DDL" : fmt::format("{}", fmt::join(command.tags, ", "));
}

std::string DescribeDdl(const DdlCommand& command) {
  if (command.query.has_value() && !MayHoldSecret(command)) {
    return Cut(*command.query, kTextBytes);
  }
  const std::string names = ObjectNames(command);
  return names.empty() ? TagOf(command) : fmt::format("{} of {}", TagOf(command), names);
}

absl::Status DdlError(const DdlCommand& command, const std::string& role,
                      const absl::Status& status) {
  if (absl::IsCancelled(status)) return status;
  const std::string what = fmt::format("{} at {}: {}", TagOf(command), ToKey(command.checkpoint),
                                       Message(command, status));
  if (absl::IsUnavailable(status)) return WithPayloads(absl::UnavailableError(what), status);
  std::string ways_out = fmt::format("mend it on the target, then start with --skip-lsn '{}'",
                                     ToKey(command.checkpoint));
  if (!role.empty() && SqlStateOf(status) == kInsufficientPrivilege) {
    ways_out = fmt::format(
        "it was run as the role '{}', as on the source: give the role there what it needs, or "
        "start "
        "with --ddl-role session; or {}",
        role, ways_out);
  }
  return WithPayloads(
      absl::FailedPreconditionError(fmt::format("the target refuses {}; the command: {}; {}", what,
                                                DescribeDdl(command), ways_out)),
      status);
}

absl::Status DdlStop(const DdlCommand& command, const std::string& reason,
                     const std::string& ways_out) {
  return absl::FailedPreconditionError(fmt::format("{} at {}: {}; the command: {}; {}",
                                                   TagOf(command), ToKey(command.checkpoint),
                                                   reason, DescribeDdl(command), ways_out));
}

}  // namespace pgc
