#pragma once

#include <atomic>
#include <cstdint>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace pgc {

// What both databases have before anything is written: tables in which a change that is applied
// twice, or not at all, leaves a trace.
extern const char kLoadTables[];

// Writes random transactions until stopped, through every restart of the server.
class WriteLoad {
 public:
  // `worker` counts from 1; the rows of different workers do not meet.
  WriteLoad(std::string url, uint32_t worker, uint64_t seed);
  uint64_t committed() const { return committed_; }

 private:
  uint32_t Pick(uint32_t below) { return static_cast<uint32_t>(random_() % below); }
  void Session(const std::stop_token& stop);
  std::string Statement();
  std::string Swap();

  const std::string url_;
  const uint32_t worker_;
  std::mt19937_64 random_;
  std::atomic<uint64_t> committed_ = 0;
  std::jthread thread_;
};

// Runs DDL, and writes into what it makes, until stopped, through every restart of the server.
class DdlLoad {
 public:
  DdlLoad(std::string url, uint64_t seed);
  uint64_t committed() const { return committed_; }

 private:
  void Session(const std::stop_token& stop);
  std::vector<std::string> Round();

  const std::string url_;
  std::mt19937_64 random_;
  uint64_t round_ = 0;
  std::atomic<uint64_t> committed_ = 0;
  std::jthread thread_;
};

}  // namespace pgc
