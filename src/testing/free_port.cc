#include "testing/free_port.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include "testing/loopback.h"

namespace pgc {

FreePort::FreePort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const int yes = 1;
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof address;
  if (setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
      bind(fd_, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
      getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    number_ = ntohs(address.sin_port);
  }
}

FreePort::~FreePort() { close(fd_); }

std::string FreePort::address() const { return fmt::format("127.0.0.1:{}", number_); }

}  // namespace pgc
