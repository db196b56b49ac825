#pragma once

#include <memory>

#include "event/store.h"
#include "store/timer.h"

namespace pgc {

// A store that is gone with its object, for tests: what EventStore says, and no limit on what it
// holds. `timer` is when requeued events come again; without one it has its own.
std::unique_ptr<EventStore> NewMemoryStore(std::shared_ptr<Timer> timer = nullptr);

}  // namespace pgc
