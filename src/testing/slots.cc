#include "testing/slots.h"

#include "base/status_macros.h"

namespace pgc {

absl::Status DropSlots(Connection& sql) {
  PGC_RETURN_IF_ERROR(sql.Execute(
      "ROLLBACK; SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE "
      "active AND database = current_database()"));
  return sql.Execute(
      "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = "
      "current_database()");
}

}  // namespace pgc
