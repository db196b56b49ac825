#include "app/renice.h"

#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/log.h"

namespace pgc {

void Renice(int priority) {
  if (priority >= 0 || setpriority(PRIO_PROCESS, 0, priority) == 0) return;
  log::Debug("the priority stays as it is",
             {{"renice", std::to_string(priority)}, {"error", std::strerror(errno)}});
}

}  // namespace pgc
