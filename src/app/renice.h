#pragma once

namespace pgc {

// Below 0: gives this process that priority, where it may. Threads that are made later have it too.
void Renice(int priority);

}  // namespace pgc
