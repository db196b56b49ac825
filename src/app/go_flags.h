#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pgc {

// `PGConnURL` is `pg-conn-url`.
std::string KebabCase(std::string_view camel_case);

// Arguments in which flags may have the CamelCase names of the Go program (docs/contract.md,
// section 10): `--PGConnURL=…` becomes `--pg-conn-url=…`. Others are as they were.
std::vector<std::string> FromGoFlags(const std::vector<std::string>& arguments);

}  // namespace pgc
