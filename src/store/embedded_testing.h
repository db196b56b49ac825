// What the tests of the embedded store share beside store_testing.h.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "store/embedded_store.h"
#include "store/store_testing.h"
#include "store/wall_clock.h"

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

// A wall clock and a timer that go on together, as long as nothing is done to the wall clock.
class ManualTime {
 public:
  static constexpr int64_t kHourUs = 3'600'000'000;
  static constexpr int64_t kDayUs = 24 * kHourUs;

  void Pass(std::chrono::milliseconds time) {
    Leap(std::chrono::microseconds(time).count());
    timer_.Advance(time);
  }
  // The wall clock alone.
  void Leap(int64_t us) { wall_us_ += us; }

  void SetIn(EmbeddedStoreOptions& options) {
    options.timer = timer_.timer();
    options.clock = [this] {
      ++asked_;
      return wall_us_.load();
    };
  }
  // Until a store that uses it has looked several times for what is due.
  void WaitForUpkeep() const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (const int64_t until = asked_ + 30; asked_ < until;) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
  }

 private:
  std::atomic<int64_t> wall_us_ = NowUs();
  std::atomic<int64_t> asked_ = 0;
  ManualTimer timer_;
};

inline void WriteFile(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  ASSERT_TRUE(out.good()) << path;
}

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A store may be writing to `from`. What it says to be synced is copied before what was synced, so
// that a write between the two is not missing.
inline void CopyFolder(const std::filesystem::path& from, const std::filesystem::path& to) {
  using std::filesystem::copy_options;
  std::filesystem::remove_all(to);
  std::filesystem::create_directory(to);
  std::filesystem::copy(from / "SYNCED", to);
  std::filesystem::copy(from, to, copy_options::recursive | copy_options::skip_existing);
}

}  // namespace pgc
