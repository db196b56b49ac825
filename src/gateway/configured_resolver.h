#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "event/store.h"
#include "gateway/resolver.h"

namespace pgc {

// Uris of a configuration (docs/contract.md, section 7): a JSON object of uri → {"PulsarURL",
// "PulsarTopic", "PulsarSubscription", "PulsarReplicateState", "AgentURL"}, where AgentURL is
// `host:port` or a list of them.
class ConfiguredResolver : public Resolver {
 public:
  // Opens the store of a PulsarURL; called once for each.
  using OpenStore = std::function<absl::StatusOr<std::shared_ptr<EventStore>>(const std::string&)>;

  // InvalidArgument, naming uri and key, when it is no such object. `controller` has the dumps of
  // all uris; none: there are no dumps.
  static absl::StatusOr<std::unique_ptr<ConfiguredResolver>> New(
      std::string_view json, OpenStore open_store, std::shared_ptr<grpc::Channel> controller);

  absl::StatusOr<std::unique_ptr<EventConsumer>> OpenConsumer(
      std::string_view uri, const ConsumerOptions& options) override;
  absl::StatusOr<bool> IsNew(std::string_view uri) override;
  DumpSources Dumps(std::string_view uri) override;

 private:
  struct Entry {
    std::string store;
    std::string topic;
    std::string subscription;
    bool replicate_state = false;
    std::vector<std::shared_ptr<grpc::Channel>> agents;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  ConfiguredResolver(Entries entries, OpenStore open_store,
                     std::shared_ptr<grpc::Channel> controller);

  absl::StatusOr<const Entry*> Find(std::string_view uri) const;
  absl::StatusOr<std::shared_ptr<EventStore>> StoreOf(const Entry& entry);

  const Entries entries_;
  const OpenStore open_store_;
  const std::shared_ptr<grpc::Channel> controller_;
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<EventStore>> stores_ PGC_GUARDED_BY(mutex_);  // by url
};

// To a peer's services in plain text, for messages of any size.
std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address);

}  // namespace pgc
