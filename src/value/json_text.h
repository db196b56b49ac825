// JSON as text: strings quoted, and texts checked before they are embedded.
#pragma once

#include <string>
#include <string_view>

namespace pgc {

// Appends `text` as a JSON string. What is not UTF-8 becomes U+FFFD.
void AppendJsonString(std::string& out, std::string_view text);

// Appends a JSON text as it is, on one line; false, and nothing appended, when it is no valid JSON
// text in UTF-8. Of any depth and with numbers of any size, as PostgreSQL has them.
bool AppendJsonText(std::string& out, std::string_view json);

// Whether `text` is a JSON number.
bool IsJsonNumber(std::string_view text);

}  // namespace pgc
