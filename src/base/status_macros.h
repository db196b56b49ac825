// Early return for absl::Status and absl::StatusOr.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define PGC_RETURN_IF_ERROR(expr)                                              \
  do {                                                                         \
    if (absl::Status pgc_status = (expr); !pgc_status.ok()) return pgc_status; \
  } while (false)

#define PGC_CONCAT_INNER(a, b) a##b
#define PGC_CONCAT(a, b) PGC_CONCAT_INNER(a, b)
#define PGC_ASSIGN_OR_RETURN(lhs, expr) \
  PGC_ASSIGN_OR_RETURN_IMPL(PGC_CONCAT(pgc_statusor_, __LINE__), lhs, expr)
#define PGC_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                              \
  if (!tmp.ok()) return std::move(tmp).status();  \
  lhs = *std::move(tmp)
