#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pgc {

// `PGConnURL` is `pg-conn-url`.
std::string KebabCase(std::string_view camel_case);

// Kebab-case names of the Go program's flags, and ours for the same.
using FlagNames = std::map<std::string, std::string, std::less<>>;

// Arguments in which flags may have the CamelCase names of the Go program (docs/contract.md,
// section 10): `--PGConnURL=…` becomes `--pg-conn-url=…`, and where `ours` has that name,
// `--source=…`. Others are as they were.
std::vector<std::string> FromGoFlags(const std::vector<std::string>& arguments,
                                     const FlagNames& ours = {});

}  // namespace pgc
