#include "event/checkpoint.h"

#include <fmt/format.h>

namespace pgc {

std::string ToKey(const Checkpoint& checkpoint) {
  return fmt::format("{}|{:x}", ToString(checkpoint.lsn), checkpoint.seq);
}

}  // namespace pgc
