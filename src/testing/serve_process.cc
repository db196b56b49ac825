#include "testing/serve_process.h"

#include <fmt/format.h>
#include <signal.h>

#include <utility>

#include "base/status_macros.h"

namespace pgc {

ServeProcess::ServeProcess(Options options)
    : options_(std::move(options)), address_(port_.address()) {}

absl::Status ServeProcess::Launch() {
  std::vector<std::string> args = options_.wrapper;
  args.insert(args.end(), {options_.program, "serve", "--data-dir", options_.data_dir.string(),
                           "--listen", address_, "--log-format", "json"});
  args.insert(args.end(), options_.flags.begin(), options_.flags.end());
  PGC_ASSIGN_OR_RETURN(process_,
                       Subprocess::Start({.args = std::move(args),
                                          .environment = {"PGCAPTURE_SOURCE=" + options_.source},
                                          .as_postgres = false,
                                          .directory = {}}));
  return absl::OkStatus();
}

absl::Status ServeProcess::Start(std::chrono::milliseconds timeout) {
  PGC_RETURN_IF_ERROR(Launch());
  if (process_->WaitForLine(R"("message":"capturing")", timeout).has_value()) {
    return absl::OkStatus();
  }
  return absl::InternalError(fmt::format("serve does not capture: {}", process_->errors()));
}

void ServeProcess::Kill() {
  process_->Signal(SIGKILL);
  (void)process_->Wait(std::chrono::seconds(30));
}

std::optional<int> ServeProcess::Stop() {
  process_->Signal(SIGTERM);
  return process_->Wait(std::chrono::seconds(10));
}

}  // namespace pgc
