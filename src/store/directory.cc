#include "store/directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "base/status_macros.h"

namespace pgc {
namespace {

namespace fs = std::filesystem;

constexpr char kMarker[] = "PGCAPTURE";
constexpr std::string_view kMarkerText = "pgcapture store, format ";
constexpr size_t kMaxMarkerBytes = 100;

absl::Status CannotUse(const fs::path& path, int error) {
  return absl::FailedPreconditionError(fmt::format("data directory {} cannot be used: {}",
                                                   path.string(),
                                                   std::generic_category().message(error)));
}

// What the file system itself puts into the root of a disk.
bool IsOfTheFileSystem(const fs::path& name) { return name == "lost+found"; }

absl::StatusOr<bool> IsEmpty(const fs::path& path) {
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (!IsOfTheFileSystem(it->path().filename())) return false;
  }
  if (error) return CannotUse(path, error.value());
  return true;
}

absl::Status SyncFolder(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return CannotUse(path, errno);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error == 0 ? absl::OkStatus() : CannotUse(path, error);
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreDirectory>> StoreDirectory::Open(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return CannotUse(path, error.value());
  std::unique_ptr<StoreDirectory> directory(new StoreDirectory(path));
  PGC_RETURN_IF_ERROR(directory->OpenMarker());
  PGC_RETURN_IF_ERROR(directory->ReadMarker());
  return directory;
}

StoreDirectory::~StoreDirectory() {
  if (marker_ >= 0) close(marker_);
}

absl::Status StoreDirectory::OpenMarker() {
  const fs::path marker = path_ / kMarker;
  marker_ = open(marker.c_str(), O_RDWR | O_CLOEXEC);
  if (marker_ < 0 && errno == ENOENT) {
    PGC_ASSIGN_OR_RETURN(const bool empty, IsEmpty(path_));
    if (!empty) {
      return absl::FailedPreconditionError(
          fmt::format("data directory {} is not a pgcapture store, and not empty: name another",
                      path_.string()));
    }
    marker_ = open(marker.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  }
  if (marker_ < 0) return CannotUse(path_, errno);
  if (flock(marker_, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  if (errno != EWOULDBLOCK) return CannotUse(path_, errno);
  return absl::FailedPreconditionError(
      fmt::format("data directory {} is in use by another process", path_.string()));
}

absl::Status StoreDirectory::ReadMarker() {
  char buffer[kMaxMarkerBytes];
  const ssize_t length = pread(marker_, buffer, sizeof buffer, 0);
  if (length < 0) return CannotUse(path_, errno);
  std::string_view text(buffer, static_cast<size_t>(length));
  if (text.empty()) {
    is_new_ = true;
    return absl::OkStatus();
  }
  uint32_t format = 0;
  bool valid = text.substr(0, kMarkerText.size()) == kMarkerText && text.back() == '\n';
  if (valid) {
    text.remove_prefix(kMarkerText.size());
    text.remove_suffix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), format);
    valid = error == std::errc() && end == text.data() + text.size() && format > 0;
  }
  if (!valid) {
    return absl::DataLossError(
        fmt::format("data directory {}: the file {} is damaged", path_.string(), kMarker));
  }
  if (format == kFormat) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("data directory {} has format {}, and this pgcapture knows format {}: start the "
                  "newer one, or name another directory",
                  path_.string(), format, kFormat));
}

absl::Status StoreDirectory::MarkMade() {
  const std::string text = fmt::format("{}{}\n", kMarkerText, kFormat);
  if (pwrite(marker_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      fsync(marker_) != 0) {
    return CannotUse(path_, errno);
  }
  is_new_ = false;
  return SyncFolder(path_);
}

}  // namespace pgc
