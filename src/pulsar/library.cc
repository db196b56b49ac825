#include "pulsar/library.h"

#include <dlfcn.h>
#include <spdlog/fmt/fmt.h>

#include <filesystem>
#include <memory>
#include <system_error>
#include <vector>

#include "base/mutex.h"
#include "base/status_macros.h"

namespace pgc::pulsar {
namespace {

// It brings its own copies of OpenSSL, protobuf and others and shows their symbols: it must use its
// own, and nobody else may. The sanitizers do not go with RTLD_DEEPBIND.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kMode = RTLD_NOW | RTLD_LOCAL;
#else
constexpr int kMode = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif

constexpr std::string_view kWays =
    "Pulsar needs Apache's client library, libpulsar.so: install the package apache-pulsar-client "
    "of the Pulsar project, or take the file libpulsar-*.so out of the Python wheel pulsar-client, "
    "as `scripts/pulsar --install-only` does, and put it beside the program as libpulsar.so or "
    "name it with --pulsar-library";

std::vector<std::string> Candidates() {
  std::vector<std::string> candidates = {"libpulsar.so"};
  std::error_code none;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", none);
  if (none) return candidates;
  const auto folder = program.parent_path();
  for (const auto& beside : {folder / "libpulsar.so", folder / "../lib/pgcapture/libpulsar.so",
                             folder / "../libpulsar/libpulsar.so"}) {
    if (std::filesystem::exists(beside, none)) candidates.push_back(beside.lexically_normal());
  }
  return candidates;
}

absl::Status Resolve(void* handle, Library& library) {
  std::string missing;
#define PGC_PULSAR_RESOLVE(name, result, arguments)                                                \
  library.api.name = reinterpret_cast<decltype(library.api.name)>(dlsym(handle, "pulsar_" #name)); \
  if (library.api.name == nullptr && missing.empty()) missing = "pulsar_" #name;
  PGC_PULSAR_FUNCTIONS(PGC_PULSAR_RESOLVE)
#undef PGC_PULSAR_RESOLVE
  if (missing.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("{} has no {}: it is too old, or another library", library.path, missing));
}

// Where the library was loaded from, whatever name it was asked for by.
std::string LoadedFrom(const Library& library, const std::string& asked) {
  Dl_info info{};
  const auto* const address = reinterpret_cast<const void*>(library.api.client_create);
  return dladdr(address, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : asked;
}

}  // namespace

absl::StatusOr<Library> OpenLibrary(const std::string& path) {
  std::string errors;
  for (const std::string& candidate :
       path.empty() ? Candidates() : std::vector<std::string>{path}) {
    void* const handle = dlopen(candidate.c_str(), kMode);
    if (handle == nullptr) {
      const char* const error = dlerror();
      errors += fmt::format("; {}", error == nullptr ? candidate : error);
      continue;
    }
    Library library{.api = {}, .path = candidate};
    PGC_RETURN_IF_ERROR(Resolve(handle, library));
    library.path = LoadedFrom(library, candidate);
    return library;
  }
  return absl::FailedPreconditionError(fmt::format("{} (tried{})", kWays, errors.substr(1)));
}

absl::StatusOr<const Library*> LoadLibrary(const std::string& path) {
  static Mutex* const mutex = new Mutex();
  static std::unique_ptr<Library>* const loaded = new std::unique_ptr<Library>();
  MutexLock lock(*mutex);
  if (*loaded == nullptr) {
    PGC_ASSIGN_OR_RETURN(Library library, OpenLibrary(path));
    *loaded = std::make_unique<Library>(std::move(library));
  }
  return loaded->get();
}

}  // namespace pgc::pulsar
