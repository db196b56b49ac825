#include "dump/dump_server.h"

#include <fmt/format.h>

#include <atomic>
#include <utility>

#include "base/status_macros.h"
#include "dump/captured_xids.h"
#include "dump/connection_pool.h"
#include "dump/dump_reader.h"
#include "dump/server_error.h"
#include "dump/table_facts.h"

namespace pgc {
namespace {

absl::Status CheckRequest(const DumpRequest& request) {
  if (request.schema.empty() || request.table.empty()) {
    return absl::NotFoundError("the name of the table is empty");
  }
  if (request.page_begin > request.page_end) {
    return absl::InvalidArgumentError(fmt::format("the pages end, at {}, before they begin, at {}",
                                                  request.page_end, request.page_begin));
  }
  const auto has_nul = [](const std::string& text) { return text.find('\0') != text.npos; };
  if (has_nul(request.schema) || has_nul(request.table)) {
    return absl::NotFoundError("the name of the table has a NUL byte");
  }
  return absl::OkStatus();
}

class PostgresDumpServer final : public DumpServer {
 public:
  explicit PostgresDumpServer(DumpServerOptions options)
      : options_(std::move(options)),
        pool_(options_.url, options_.connections, options_.is_source) {
    if (options_.is_source && options_.store != nullptr) {
      captured_ = std::make_unique<CapturedXids>(
          *options_.store, CapturedXidsOptions{.url = options_.url, .topic = options_.topic});
    }
  }

  absl::Status Read(const DumpRequest& request, DumpWriter& out, std::stop_token stop) override {
    PGC_RETURN_IF_ERROR(CheckRequest(request));
    if (options_.is_source && captured_ == nullptr) {
      return absl::UnavailableError("the source can be dumped from only where its log is");
    }
    return OnSession(stop, [&](DumpSession& session, bool& begun) {
      return ReadDump(session, options_, captured_.get(), request, out, begun, stop);
    });
  }

  absl::StatusOr<std::vector<DumpTable>> Tables(std::stop_token stop) override {
    std::vector<DumpTable> tables;
    PGC_RETURN_IF_ERROR(OnSession(stop, [&](DumpSession& session, bool&) -> absl::Status {
      PGC_ASSIGN_OR_RETURN(tables, ListTables(*session.sql, options_.publishes_via_root, stop));
      return absl::OkStatus();
    }));
    if (options_.captures != nullptr) {
      std::erase_if(tables, [this](const DumpTable& table) { return !options_.captures(table); });
    }
    return tables;
  }

  std::optional<uint64_t> identity() const override { return pool_.identity(); }
  int in_use() const override { return in_use_; }

 private:
  // Sessions that were kept may have died with their server since: each is tried, then a new one.
  template <typename Use>
  absl::Status OnSession(const std::stop_token& stop, Use use) {
    const struct InUse {
      explicit InUse(std::atomic<int>& in_use) : count(in_use) { ++count; }
      ~InUse() { --count; }
      std::atomic<int>& count;
    } in_use(in_use_);
    while (true) {
      PGC_ASSIGN_OR_RETURN(ConnectionPool::Lease lease, pool_.Take(stop));
      bool begun = false;
      absl::Status status = use(lease.session(), begun);
      if (absl::IsUnavailable(status) && lease.session().used && !begun) {
        lease.session().drop = true;
        continue;
      }
      return DumpError(std::move(status));
    }
  }

  const DumpServerOptions options_;
  ConnectionPool pool_;
  std::unique_ptr<CapturedXids> captured_;
  std::atomic<int> in_use_{0};
};

}  // namespace

std::unique_ptr<DumpServer> DumpServer::New(DumpServerOptions options) {
  return std::make_unique<PostgresDumpServer>(std::move(options));
}

}  // namespace pgc
