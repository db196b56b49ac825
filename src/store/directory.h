#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace pgc {

// The folder of an embedded store: that it is ours, of a format that we know, and in use by nobody
// else, for as long as this object lives. docs/store-format.md has its files.
//
// Not thread-safe. FailedPrecondition: in use, not writable, not a store, of a newer format.
// DataLoss: its marker is damaged.
class StoreDirectory {
 public:
  static constexpr uint32_t kFormat = 1;

  // Makes the folder when it is missing.
  static absl::StatusOr<std::unique_ptr<StoreDirectory>> Open(const std::filesystem::path& path);
  ~StoreDirectory();

  const std::filesystem::path& path() const { return path_; }
  // Whether there is no store in it yet, only what an earlier attempt to make one left.
  bool is_new() const { return is_new_; }
  // The store has been made: from now on, what is missing is lost.
  absl::Status MarkMade();

 private:
  explicit StoreDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  absl::Status OpenMarker();
  absl::Status ReadMarker();

  const std::filesystem::path path_;
  int marker_ = -1;  // open and locked
  bool is_new_ = false;
};

}  // namespace pgc
