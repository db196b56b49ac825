// Apache's client library for Pulsar, loaded into this process.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "pulsar/c_api.h"

namespace pgc::pulsar {

struct Library {
  c::Api api;
  std::string path;  // where it was found
};

// The library at `path`; without one the system's, then one that lies beside the program or, as
// scripts/pulsar puts it there, in its build folder. It stays loaded until the process ends, and
// there is one: a later call gives the one that was loaded first. Thread-safe. FailedPrecondition,
// with the ways to get it, when there is none or it is too old.
absl::StatusOr<const Library*> LoadLibrary(const std::string& path);

// For tests: the same without the memory of what was loaded.
absl::StatusOr<Library> OpenLibrary(const std::string& path);

}  // namespace pgc::pulsar
