// Structured log lines on stderr: one event a line, with named fields.
//
// Thread-safe. Fields never carry a row value, a connection string or a password.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace pgc::log {

enum class Level { kDebug, kInfo, kWarning, kError };
enum class Format { kText, kJson };

struct Field {
  std::string_view name;
  std::string value;
};
using Fields = std::initializer_list<Field>;

// Text to stderr at kInfo until this is called. Call it once, before other threads log.
void Init(Format format, Level level);

void Write(Level level, std::string_view message, Fields fields = {});

inline void Debug(std::string_view message, Fields fields = {}) {
  Write(Level::kDebug, message, fields);
}
inline void Info(std::string_view message, Fields fields = {}) {
  Write(Level::kInfo, message, fields);
}
inline void Warning(std::string_view message, Fields fields = {}) {
  Write(Level::kWarning, message, fields);
}
inline void Error(std::string_view message, Fields fields = {}) {
  Write(Level::kError, message, fields);
}

// One line of the given format without its line end; exposed for tests.
std::string FormatLine(Format format, Level level, std::string_view time, std::string_view message,
                       Fields fields);

}  // namespace pgc::log
