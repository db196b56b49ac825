// usage: source_drain_bench URL TOPIC LSN
// Reads what the slot of TOPIC has up to LSN, decodes it, keeps nothing and acknowledges all: the
// reading half of capture, without a store. Prints seconds, changes and its own CPU time.
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>

#include "base/log.h"
#include "source/postgres_source.h"

namespace pgc {
namespace {

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

absl::Status Drain(const std::string& url, const std::string& topic, Lsn end) {
  PostgresSourceOptions options;
  options.url = url;
  options.topic = topic;
  options.no_ddl = true;
  const auto source = NewPostgresSource(options);
  if (absl::Status status = source->Open({}, {}); !status.ok()) return status;
  const auto begun = std::chrono::steady_clock::now();
  uint64_t events = 0;
  uint64_t blocks = 0;
  uint64_t bytes = 0;
  for (Lsn captured; captured < end;) {
    auto batch = source->Next({});
    if (!batch.ok()) return batch.status();
    for (const auto& block : batch->blocks) {
      events += block->size();
      bytes += block->bytes().size();
      ++blocks;
    }
    captured = batch->captured;
    source->Acknowledge(captured);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  fmt::print("{:.3f} s, {} events in {} blocks of {} bytes, {:.0f} events/s, {:.2f} CPU s\n",
             seconds.count(), events, blocks, bytes, static_cast<double>(events) / seconds.count(),
             CpuSeconds());
  return absl::OkStatus();
}

}  // namespace
}  // namespace pgc

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: source_drain_bench URL TOPIC LSN\n");
    return 2;
  }
  const auto end = pgc::ParseLsn(argv[3]);
  const absl::Status status = end.ok() ? pgc::Drain(argv[1], argv[2], *end) : end.status();
  if (status.ok()) return 0;
  pgc::log::Error(std::string(status.message()));
  return 1;
}
