#include "source/read_pace.h"

#include <algorithm>

namespace pgc {
namespace {

using std::chrono::microseconds;

constexpr microseconds kUnixNap{50};
constexpr microseconds kMinNap{300};
constexpr microseconds kMaxNap{1'500};
constexpr int kShrinkBy = 32;  // a 32nd
// About what libpq takes from the socket at once. Both must be exceeded: it is the message that
// costs the server, and a stream of large ones is not to be slowed down.
constexpr size_t kBytesPerNap = 10'000;
constexpr size_t kMessagesPerNap = 150;

}  // namespace

ReadPace::Duration ReadPace::AfterData(size_t bytes, size_t messages) {
  flowing_ = true;
  bytes_ += bytes;
  messages_ += messages;
  if (is_unix_socket_ || bytes_ < kBytesPerNap || messages_ < kMessagesPerNap) return {};
  bytes_ = messages_ = 0;
  nap_ = std::max(kMinNap, nap_ - nap_ / kShrinkBy);
  return nap_;
}

ReadPace::Duration ReadPace::AfterNothing() {
  bytes_ = messages_ = 0;
  if (!flowing_) {
    nap_ = kFirstNap;
    return {};
  }
  flowing_ = false;
  if (is_unix_socket_) return kUnixNap;
  const Duration nap = nap_;
  nap_ = std::min(kMaxNap, nap_ + nap_ / 2);
  return nap;
}

}  // namespace pgc
