#include "testing/tcp_forwarder.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "testing/loopback.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kPatience_ms = 30'000;
constexpr int kMoment_ms = 100;

bool Readable(int fd, int wait_ms) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&one, 1, wait_ms) == 1;
}

// A client and a server, with the forwarder between them.
class TcpForwarderTest : public testing::Test {
 protected:
  void SetUp() override {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof address;
    ASSERT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(listen(listener_, 1), 0);
    ASSERT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    auto forwarder = TcpForwarder::Start(ntohs(address.sin_port));
    ASSERT_TRUE(forwarder.ok()) << forwarder.status();
    forwarder_ = *std::move(forwarder);
    client_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address = Loopback(forwarder_->port());
    (void)connect(client_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    server_ = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    ASSERT_GE(server_, 0);
  }
  void TearDown() override {
    for (const int fd : {client_, server_, listener_}) close(fd);
  }

  static void Write(int fd, const std::string& text) {
    pollfd one{.fd = fd, .events = POLLOUT, .revents = 0};
    ASSERT_EQ(poll(&one, 1, kPatience_ms), 1);
    ASSERT_EQ(send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  static std::string Read(int fd) {
    char buffer[100];
    if (!Readable(fd, kPatience_ms)) return "nothing";
    const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got < 0) return errno == ECONNRESET ? "reset" : "failed";
    return got == 0 ? "ended" : std::string(buffer, static_cast<size_t>(got));
  }

  int listener_ = -1;
  int client_ = -1;
  int server_ = -1;
  std::unique_ptr<TcpForwarder> forwarder_;
};

TEST_F(TcpForwarderTest, BytesAndTheEndGoThroughBothWays) {
  Write(client_, "question");
  EXPECT_EQ(Read(server_), "question");
  Write(server_, "answer");
  EXPECT_EQ(Read(client_), "answer");
  (void)shutdown(server_, SHUT_WR);
  EXPECT_EQ(Read(client_), "ended");
  Write(client_, "later");
  EXPECT_EQ(Read(server_), "later");
  EXPECT_EQ(forwarder_->accepted(), 1U);
}

TEST_F(TcpForwarderTest, WhatIsHeldComesOnceItIsHealed) {
  forwarder_->Hold(TcpForwarder::kToServer);
  Write(client_, "held");
  EXPECT_FALSE(Readable(server_, kMoment_ms));
  Write(server_, "the other way");
  EXPECT_EQ(Read(client_), "the other way");
  forwarder_->Heal();
  EXPECT_EQ(Read(server_), "held");
}

TEST_F(TcpForwarderTest, ADelayIsThatOfEachByte) {
  forwarder_->Delay(TcpForwarder::kToClient, milliseconds(kMoment_ms));
  const auto begun = steady_clock::now();
  Write(server_, "late");
  EXPECT_EQ(Read(client_), "late");
  EXPECT_GE(steady_clock::now() - begun, milliseconds(kMoment_ms));
}

TEST_F(TcpForwarderTest, ACutResetsBothSidesEvenWhenHeld) {
  forwarder_->Hold(TcpForwarder::kToServer);
  forwarder_->Hold(TcpForwarder::kToClient);
  Write(client_, "lost");
  forwarder_->Cut();
  EXPECT_EQ(Read(client_), "reset");
  EXPECT_EQ(Read(server_), "reset");
}

TEST_F(TcpForwarderTest, HoldsALimitedNumberOfBytes) {
  forwarder_->Delay(TcpForwarder::kToServer, std::chrono::hours(1));
  const std::string piece(size_t{64} << 10, 'a');
  size_t sent = 0;
  pollfd one{.fd = client_, .events = POLLOUT, .revents = 0};
  while (poll(&one, 1, 10 * kMoment_ms) == 1 && sent < size_t{100} << 20) {
    const ssize_t more = send(client_, piece.data(), piece.size(), MSG_NOSIGNAL);
    ASSERT_GT(more, 0);
    sent += static_cast<size_t>(more);
  }
  EXPECT_GE(sent, size_t{1} << 20);
  EXPECT_LT(sent, size_t{30} << 20) << "its own and the kernel's buffers";
}

}  // namespace
}  // namespace pgc
