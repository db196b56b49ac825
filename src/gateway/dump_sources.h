#pragma once

#include <memory>
#include <string>
#include <vector>

namespace grpc {
class Channel;
}  // namespace grpc

namespace pgc {

// Where the dumps of a uri come from.
struct DumpSources {
  // Says which are to be made (`DBLogController`). None: the uri has no dumps.
  std::shared_ptr<grpc::Channel> controller;
  // Have the rows (`Agent`), each of its own servers; they cover for one another.
  std::vector<std::shared_ptr<grpc::Channel>> agents;
};

}  // namespace pgc
