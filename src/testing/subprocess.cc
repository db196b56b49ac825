#include "testing/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/status_macros.h"

namespace pgc {
namespace {

absl::Status Errno(std::string_view what) {
  return absl::InternalError(fmt::format("{}: {}", what, std::strerror(errno)));
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Start(const Options& options) {
  int out[2];
  int err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) return Errno("pipe");
  // All that allocates comes before fork: other threads may hold locks.
  std::vector<std::string> args = options.args;
  std::vector<std::string> environment = options.environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.emplace_back(*variable);
  }
  const std::vector<char*> argv = Pointers(args);
  const std::vector<char*> envp = Pointers(environment);
  const passwd* const postgres =
      options.as_postgres && getuid() == 0 ? getpwnam("postgres") : nullptr;
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return Errno("fork");
  if (pid == 0) {
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (postgres != nullptr && (setgroups(0, nullptr) != 0 || setgid(postgres->pw_gid) != 0 ||
                                setuid(postgres->pw_uid) != 0)) {
      _exit(126);
    }
    if (!options.directory.empty() && chdir(options.directory.c_str()) != 0) _exit(126);
    // After setuid, which clears it.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126);
    execvpe(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  close(out[1]);
  close(err[1]);
  std::unique_ptr<Subprocess> process(new Subprocess());
  process->pid_ = pid;
  Subprocess* const self = process.get();
  self->readers_[0] = std::jthread(
      [self, fd = out[0]](const std::stop_token& stop) { self->Collect(fd, true, stop); });
  self->readers_[1] = std::jthread(
      [self, fd = err[0]](const std::stop_token& stop) { self->Collect(fd, false, stop); });
  return process;
}

Subprocess::~Subprocess() {
  if (!exit_code_.has_value()) {
    Signal(SIGKILL);
    (void)Wait(std::chrono::seconds(30));
  }
  for (std::jthread& reader : readers_) reader.request_stop();
}

void Subprocess::Collect(int fd, bool is_output, const std::stop_token& stop) {
  std::string partial;
  char buffer[65536];
  while (true) {
    // A grandchild may hold the pipe open after the child has ended.
    pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, 100) == 0) {
      if (stop.stop_requested()) break;
      continue;
    }
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got <= 0) break;
    partial.append(buffer, static_cast<size_t>(got));
    MutexLock lock(mutex_);
    size_t begin = 0;
    for (size_t end = partial.find('\n'); end != std::string::npos;
         begin = end + 1, end = partial.find('\n', begin)) {
      (is_output ? output_ : errors_).push_back(partial.substr(begin, end - begin));
    }
    partial.erase(0, begin);
    changed_.NotifyAll();
  }
  close(fd);
  MutexLock lock(mutex_);
  if (!partial.empty()) (is_output ? output_ : errors_).push_back(partial);
  --open_streams_;
  changed_.NotifyAll();
}

void Subprocess::Signal(int signal) {
  if (!exit_code_.has_value()) kill(pid_, signal);
}

std::optional<int> Subprocess::Wait(std::chrono::milliseconds timeout) {
  if (exit_code_.has_value()) return exit_code_;
  const auto fd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  pollfd ended{.fd = fd, .events = POLLIN, .revents = 0};
  const int ready = poll(&ended, 1, static_cast<int>(timeout.count()));
  close(fd);
  if (ready <= 0) return std::nullopt;
  int status = 0;
  if (waitpid(pid_, &status, 0) != pid_) return std::nullopt;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  // What it wrote before its end is still in the pipes.
  MutexLock lock(mutex_);
  changed_.WaitUntil(mutex_, std::stop_token(),
                     std::chrono::steady_clock::now() + std::chrono::seconds(1),
                     [this]() PGC_REQUIRES(mutex_) { return open_streams_ == 0; });
  return exit_code_;
}

std::optional<std::string> Subprocess::WaitForLine(const std::string& text,
                                                   std::chrono::milliseconds timeout) {
  std::optional<std::string> found;
  MutexLock lock(mutex_);
  changed_.WaitUntil(mutex_, std::stop_token(), std::chrono::steady_clock::now() + timeout,
                     [this, &text, &found]() PGC_REQUIRES(mutex_) {
                       for (const auto* lines : {&output_, &errors_}) {
                         for (const std::string& line : *lines) {
                           if (line.find(text) == std::string::npos) continue;
                           found = line;
                           return true;
                         }
                       }
                       return open_streams_ == 0;
                     });
  return found;
}

std::vector<std::string> Subprocess::output_lines() const {
  MutexLock lock(mutex_);
  return output_;
}

std::string Subprocess::errors() const {
  MutexLock lock(mutex_);
  std::string all;
  for (const std::string& line : errors_) all += line + "\n";
  return all;
}

absl::StatusOr<std::string> Run(const Subprocess::Options& options,
                                std::chrono::milliseconds timeout) {
  PGC_ASSIGN_OR_RETURN(const auto process, Subprocess::Start(options));
  const std::optional<int> code = process->Wait(timeout);
  if (code != 0) {
    return absl::InternalError(fmt::format(
        "{} {}: {}", options.args[0],
        code.has_value() ? fmt::format("ended with {}", *code) : std::string("took too long"),
        process->errors()));
  }
  std::string output;
  for (const std::string& line : process->output_lines()) output += line + "\n";
  return output;
}

}  // namespace pgc
