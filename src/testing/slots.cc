#include "testing/slots.h"

#include "base/status_macros.h"

namespace pgc {
namespace {

constexpr char kWaitUntilFree[] = R"(
DO $$
DECLARE
  deadline timestamptz := clock_timestamp() + interval '30 s';
BEGIN
  WHILE EXISTS (SELECT FROM pg_replication_slots
                WHERE active AND database = current_database()) LOOP
    IF clock_timestamp() > deadline THEN
      RAISE 'a slot is still in use';
    END IF;
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$)";

}  // namespace

absl::Status DropSlots(Connection& sql) {
  PGC_RETURN_IF_ERROR(sql.Execute(
      "ROLLBACK; SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE "
      "active AND database = current_database()"));
  return sql.Execute(
      "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = "
      "current_database()");
}

absl::Status WaitUntilSlotsAreFree(Connection& sql) { return sql.Execute(kWaitUntilFree); }

}  // namespace pgc
