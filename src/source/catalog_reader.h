#pragma once

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
// A connection that broke is made again once; then, and while the server holds back the answer for
// long, Unavailable.
class CatalogReader {
 public:
  // What the slot's catalog_xmin is past, its stream brings no more. A query ends with `stop`.
  CatalogReader(std::string url, std::string slot, std::stop_token stop);

  absl::StatusOr<CatalogTable> Read(uint32_t oid);

 private:
  absl::StatusOr<Result> Query(uint32_t oid);

  const std::string url_;
  const std::string slot_;
  const std::stop_token stop_;
  std::unique_ptr<Connection> sql_;
};

}  // namespace pgc
