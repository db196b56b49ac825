#include "agent/store_provider.h"

#include <fmt/format.h>

#include <map>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/mutex.h"
#include "base/status_macros.h"
#include "pg/url.h"
#include "store/embedded_store.h"
#include "store/pulsar_store.h"

namespace pgc {
namespace {

constexpr std::string_view kFile = "file://";

bool IsPulsar(std::string_view url) {
  return url.starts_with("pulsar://") || url.starts_with("pulsar+ssl://");
}

absl::StatusOr<std::filesystem::path> DirectoryOf(const std::string& url) {
  const std::string shown = MaskPassword(url).substr(0, 200);
  std::filesystem::path path = url.starts_with(kFile) ? url.substr(kFile.size()) : url;
  if (!path.is_absolute()) {
    return absl::InvalidArgumentError(fmt::format(
        "PulsarURL: neither the absolute path of a data directory nor pulsar://…: {}", shown));
  }
  std::error_code error;
  path = std::filesystem::weakly_canonical(path, error);
  if (error) {
    return absl::FailedPreconditionError(fmt::format("{}: {}", shown, error.message()));
  }
  // `/a/b/` and `/a/b` are one directory.
  return path.has_filename() ? path : path.parent_path();
}

class OpenStores {
 public:
  absl::StatusOr<ProvidedStore> Open(const std::string& url) {
    PGC_ASSIGN_OR_RETURN(const std::filesystem::path dir, DirectoryOf(url));
    MutexLock lock(mutex_);
    std::weak_ptr<EventStore>& known = stores_[dir];
    std::shared_ptr<EventStore> store = known.lock();
    if (store == nullptr) {
      PGC_ASSIGN_OR_RETURN(store, OpenEmbeddedStore(dir, {}));
      known = store;
    }
    return ProvidedStore{.store = std::move(store), .spool_dir = dir / "spool"};
  }

 private:
  Mutex mutex_;
  std::map<std::filesystem::path, std::weak_ptr<EventStore>> stores_ PGC_GUARDED_BY(mutex_);
};

}  // namespace

StoreProvider AllStores(const std::string& pulsar_library) {
  return [embedded = EmbeddedStores(),
          pulsar_library](const StoreUse& use) -> absl::StatusOr<ProvidedStore> {
    if (!IsPulsar(use.url)) return embedded(use);
    PGC_ASSIGN_OR_RETURN(std::shared_ptr<EventStore> store,
                         OpenPulsarStore({.url = use.url,
                                          .library = pulsar_library,
                                          .tracker_interval = use.tracker_interval,
                                          .requeue_delay = use.requeue_delay}));
    return ProvidedStore{.store = std::move(store), .spool_dir = {}, .is_shared = true};
  };
}

StoreProvider EmbeddedStores() {
  return [stores = std::make_shared<OpenStores>()](const StoreUse& use) {
    return stores->Open(use.url);
  };
}

}  // namespace pgc
