#pragma once

#include <string>

namespace pgc {

// A replica that a sink keeps, to be dumped from.
struct KeptReplica {
  std::string url;
  std::string source_id;            // of its row in pgcapture.sources
  bool publishes_via_root = false;  // changes of a partition have the name of its root
};

}  // namespace pgc
