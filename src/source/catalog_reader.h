#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "decode/pglogical.h"
#include "pg/connection.h"

namespace pgc {

// Reads tables of the captured server's catalog, as it is now, on a connection of its own. Not
// thread-safe.
//
// A transaction can be in the stream before others see what it did: what it changed is waited for,
// up to a limit, since its commit may itself wait for what is captured to be acknowledged.
//
// A connection that broke is made again once; then, and while the server holds back the answer for
// long, Unavailable.
class CatalogReader {
 public:
  // How long a transaction's effects are waited for.
  static constexpr std::chrono::seconds kVisibleTimeout{3};

  // What the slot's catalog_xmin is past, its stream brings no more. A query ends with `stop`.
  CatalogReader(std::string url, std::string slot, std::stop_token stop);

  // `xid` is the transaction whose changes are decoded.
  absl::StatusOr<CatalogTable> Read(uint32_t oid, uint32_t xid);

 private:
  absl::Status Connect();
  absl::Status WaitUntilVisible(uint32_t xid);
  absl::StatusOr<Result> Query(uint32_t oid, uint32_t xid);

  const std::string url_;
  const std::string slot_;
  const std::stop_token stop_;
  std::unique_ptr<Connection> sql_;
  uint32_t visible_ = 0;  // the newest transaction that was waited for
};

}  // namespace pgc
