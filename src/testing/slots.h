#pragma once

#include "absl/status/status.h"
#include "pg/connection.h"

namespace pgc {

// Drops the logical slots of the connection's database, and ends who uses them: one that nobody
// reads would make the server keep all that later tests write. Errors: of the connection.
absl::Status DropSlots(Connection& sql);

// Waits until nobody uses the logical slots of the connection's database: the server notices a
// while after a reader's end that it is gone. Errors: of the connection, also after 30 s.
absl::Status WaitUntilSlotsAreFree(Connection& sql);

}  // namespace pgc
