// What the tests of the embedded store share beside store_testing.h.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "store/embedded_store.h"

namespace pgc {

inline std::unique_ptr<EventStore> Open(const std::filesystem::path& dir,
                                        const EmbeddedStoreOptions& options = {}) {
  auto store = OpenEmbeddedStore(dir, options);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

inline absl::Status OpenStatus(const std::filesystem::path& dir) {
  return OpenEmbeddedStore(dir, {}).status();
}

inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

inline void WriteFile(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  ASSERT_TRUE(out.good()) << path;
}

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void CopyFolder(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::remove_all(to);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
}

}  // namespace pgc
