// PostgreSQL's values as JSON, as `tail` prints them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pgc {

enum class ValueFormat { kBinary, kText };

// Appends a value of the type `type_oid` as JSON, on one line and in UTF-8, whatever its bytes are:
//
//   bool                          true, false
//   int2 int4 int8 oid xid cid    a number
//   float4 float8                 a number, or a string: "NaN", "Infinity", "-Infinity"
//   json jsonb                    the JSON itself
//   an array of a type here       an array, nested by its dimensions
//   date timestamp timestamptz    a string as PostgreSQL's to_json has it with time zone UTC
//   numeric bytea uuid inet …     a string as PostgreSQL prints it
//   any other                     its text as a string; binary as {"$oid":N,"$binary":"base64"}
//
// So is what does not have its type's form. No value takes more than about 64 MiB beyond six times
// its own size: a larger one, an array of huge numerics, is shown as $binary.
void AppendValueJson(std::string& out, uint32_t type_oid, ValueFormat format,
                     std::string_view bytes);

}  // namespace pgc
