#include "testing/free_port.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "testing/loopback.h"

namespace pgc {
namespace {

class Socket {
 public:
  Socket() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() { close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void Set(int option) {
    const int yes = 1;
    EXPECT_EQ(setsockopt(fd_, SOL_SOCKET, option, &yes, sizeof yes), 0);
  }
  // Each is 0, or errno.
  int Listen(int port) {
    const sockaddr_in address = Loopback(port);
    if (bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return errno;
    return listen(fd_, 1) == 0 ? 0 : errno;
  }
  int Connect(int port) {
    const sockaddr_in address = Loopback(port);
    const int result = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    return result == 0 ? 0 : errno;
  }

 private:
  const int fd_;
};

TEST(FreePort, IsRefusedUntilItsServerListensAndAfterItsEnd) {
  const FreePort port;
  ASSERT_NE(port.number(), 0);
  EXPECT_EQ(port.address(), "127.0.0.1:" + std::to_string(port.number()));
  for (int start = 0; start < 3; ++start) {
    EXPECT_EQ(Socket().Connect(port.number()), ECONNREFUSED);
    Socket server;
    server.Set(SO_REUSEADDR);
    if (start > 0) server.Set(SO_REUSEPORT);  // as gRPC does
    ASSERT_EQ(server.Listen(port.number()), 0);
    EXPECT_EQ(Socket().Connect(port.number()), 0);
  }
}

TEST(FreePort, IsNobodyElsesWhileItIsKept) {
  const FreePort port;
  EXPECT_EQ(Socket().Listen(port.number()), EADDRINUSE);
  const FreePort other;
  EXPECT_NE(other.number(), port.number());
}

}  // namespace
}  // namespace pgc
