#include "testing/tcp_forwarder.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <list>
#include <string>
#include <vector>

#include "testing/loopback.h"

namespace pgc {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kMaxHeldBytes = size_t{1} << 20;
constexpr size_t kReadBytes = size_t{64} << 10;

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

// One direction of a connection.
struct Pipe {
  struct Piece {
    steady_clock::time_point due;
    std::string bytes;
  };

  int from;
  int to;
  std::deque<Piece> pieces = {};
  size_t bytes = 0;
  bool ended = false;   // nothing more comes in
  bool closed = false;  // and the other side was told

  bool WantsIn() const { return !ended && bytes < kMaxHeldBytes; }
  bool WantsOut() const { return !pieces.empty() || (ended && !closed); }
  steady_clock::time_point due() const {
    return pieces.empty() ? steady_clock::time_point{} : pieces.front().due;
  }

  // Both are false when the connection is broken.
  bool Read(milliseconds delay) {
    std::string piece(kReadBytes, '\0');
    const ssize_t got = recv(from, piece.data(), piece.size(), 0);
    if (got < 0) return WouldBlock();
    if (got == 0) {
      ended = true;
      return true;
    }
    piece.resize(static_cast<size_t>(got));
    bytes += piece.size();
    pieces.push_back({.due = steady_clock::now() + delay, .bytes = std::move(piece)});
    return true;
  }
  bool Write() {
    while (!pieces.empty() && pieces.front().due <= steady_clock::now()) {
      std::string& piece = pieces.front().bytes;
      const ssize_t sent = send(to, piece.data(), piece.size(), MSG_NOSIGNAL);
      if (sent < 0) return WouldBlock();
      bytes -= static_cast<size_t>(sent);
      piece.erase(0, static_cast<size_t>(sent));
      if (piece.empty()) pieces.pop_front();
    }
    if (pieces.empty() && ended && !closed) {
      closed = true;
      (void)shutdown(to, SHUT_WR);
    }
    return true;
  }
};

}  // namespace

// The connections, of the one thread.
class TcpForwarder::Links {
 public:
  Links(int listener, int wake, int server_port)
      : listener_(listener), wake_(wake), server_port_(server_port) {}
  ~Links() { Cut(); }

  void Cut() {
    // A reset, and not an end in good order.
    constexpr linger kReset{.l_onoff = 1, .l_linger = 0};
    for (const Link& link : links_) {
      for (const Pipe& pipe : link.pipes) {
        setsockopt(pipe.from, SOL_SOCKET, SO_LINGER, &kReset, sizeof kReset);
      }
    }
    while (!links_.empty()) Close(links_.begin());
  }

  // Waits for something to do, and does it unless the conditions have changed; whether a connection
  // has come.
  bool Turn(const Conditions& conditions) {
    Collect(conditions);
    (void)poll(polled_.data(), polled_.size(), Timeout(conditions));
    if (polled_[0].revents != 0) {
      // What came behind a change is served by it.
      uint64_t count = 0;
      (void)!read(wake_, &count, sizeof count);
      return false;
    }
    for (size_t i = 0; i < wanted_.size(); ++i) {
      if (polled_[i + kOwn].revents != 0) Serve(wanted_[i], conditions);
    }
    links_.remove_if([](const Link& link) {
      const bool over = link.broken || (link.pipes[0].closed && link.pipes[1].closed);
      if (over) CloseBoth(link);
      return over;
    });
    return polled_[1].revents != 0 && Accept();
  }

 private:
  static constexpr size_t kOwn = 2;  // the eventfd and the listener

  struct Link {
    Pipe pipes[2];
    bool broken = false;
  };
  struct Wanted {
    Link* link;
    Direction direction;
    bool in;
  };

  static void CloseBoth(const Link& link) {
    for (const Pipe& pipe : link.pipes) close(pipe.from);
  }
  void Close(std::list<Link>::iterator link) {
    CloseBoth(*link);
    links_.erase(link);
  }

  void Collect(const Conditions& conditions) {
    const auto now = steady_clock::now();
    wanted_.clear();
    polled_ = {{.fd = wake_, .events = POLLIN, .revents = 0},
               {.fd = listener_, .events = POLLIN, .revents = 0}};
    for (Link& link : links_) {
      for (const Direction direction : {kToServer, kToClient}) {
        const Pipe& pipe = link.pipes[direction];
        if (conditions.held[direction]) continue;
        if (pipe.WantsIn()) {
          wanted_.push_back({.link = &link, .direction = direction, .in = true});
          polled_.push_back({.fd = pipe.from, .events = POLLIN, .revents = 0});
        }
        if (pipe.WantsOut() && pipe.due() <= now) {
          wanted_.push_back({.link = &link, .direction = direction, .in = false});
          polled_.push_back({.fd = pipe.to, .events = POLLOUT, .revents = 0});
        }
      }
    }
  }

  // Until the first piece that is delayed is due.
  int Timeout(const Conditions& conditions) const {
    const auto now = steady_clock::now();
    auto next = steady_clock::time_point::max();
    for (const Link& link : links_) {
      for (const Direction direction : {kToServer, kToClient}) {
        const Pipe& pipe = link.pipes[direction];
        if (!conditions.held[direction] && pipe.WantsOut() && pipe.due() > now) {
          next = std::min(next, pipe.due());
        }
      }
    }
    if (next == steady_clock::time_point::max()) return -1;
    return static_cast<int>(std::chrono::ceil<milliseconds>(next - now).count());
  }

  static void Serve(const Wanted& wanted, const Conditions& conditions) {
    Pipe& pipe = wanted.link->pipes[wanted.direction];
    const bool ok = wanted.in ? pipe.Read(conditions.delay[wanted.direction]) : pipe.Write();
    if (!ok) wanted.link->broken = true;
  }

  bool Accept() {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return false;
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(server_port_);
    if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      close(server);
      close(client);
      return true;
    }
    (void)fcntl(server, F_SETFL, O_NONBLOCK);
    links_.push_back({.pipes = {{.from = client, .to = server}, {.from = server, .to = client}}});
    return true;
  }

  const int listener_;
  const int wake_;
  const int server_port_;
  std::list<Link> links_;
  std::vector<pollfd> polled_;
  std::vector<Wanted> wanted_;  // what each of them, behind our own, is for
};

absl::StatusOr<std::unique_ptr<TcpForwarder>> TcpForwarder::Start(int server_port) {
  std::unique_ptr<TcpForwarder> forwarder(new TcpForwarder());
  forwarder->server_port_ = server_port;
  forwarder->wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  forwarder->listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof address;
  if (bind(forwarder->listener_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(forwarder->listener_, 64) != 0 ||
      getsockname(forwarder->listener_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return absl::InternalError("no port to forward from");
  }
  forwarder->port_ = ntohs(address.sin_port);
  forwarder->thread_ =
      std::jthread([self = forwarder.get()](const std::stop_token& stop) { self->Run(stop); });
  return forwarder;
}

TcpForwarder::~TcpForwarder() {
  thread_.request_stop();
  Set([](Conditions&) {});
  if (thread_.joinable()) thread_.join();
  close(listener_);
  close(wake_);
}

template <typename Change>
void TcpForwarder::Set(const Change& change) {
  {
    MutexLock lock(mutex_);
    change(conditions_);
  }
  constexpr uint64_t kOne = 1;
  (void)!write(wake_, &kOne, sizeof kOne);
}

void TcpForwarder::Cut() {
  Set([](Conditions& conditions) { ++conditions.cuts; });
}

void TcpForwarder::Delay(Direction direction, milliseconds by) {
  Set([&](Conditions& conditions) { conditions.delay[direction] = by; });
}

void TcpForwarder::Hold(Direction direction) {
  Set([&](Conditions& conditions) { conditions.held[direction] = true; });
}

void TcpForwarder::Heal() {
  Set([](Conditions& conditions) { conditions = {.cuts = conditions.cuts}; });
}

uint64_t TcpForwarder::accepted() const {
  MutexLock lock(mutex_);
  return accepted_;
}

TcpForwarder::Conditions TcpForwarder::conditions() const {
  MutexLock lock(mutex_);
  return conditions_;
}

void TcpForwarder::Run(const std::stop_token& stop) {
  Links links(listener_, wake_, server_port_);
  uint64_t cuts = 0;
  while (!stop.stop_requested()) {
    const Conditions now = conditions();
    if (std::exchange(cuts, now.cuts) != now.cuts) links.Cut();
    if (!links.Turn(now)) continue;
    MutexLock lock(mutex_);
    ++accepted_;
  }
}

}  // namespace pgc
