#include "gateway/configured_resolver.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/status_macros.h"
#include "rpc/keepalive.h"

namespace pgc {
namespace {

using Json = nlohmann::json;

absl::Status Wrong(const std::string& uri, std::string_view key, std::string_view what) {
  return absl::InvalidArgumentError(
      fmt::format("the resolver configuration: {} of the uri '{}' is not {}", key, uri, what));
}

absl::StatusOr<std::string> ReadText(const std::string& uri, const Json& entry, const char* key) {
  const auto found = entry.find(key);
  if (found == entry.end() || found->is_null()) return std::string();
  if (!found->is_string()) return Wrong(uri, key, "text");
  return found->get<std::string>();
}

absl::StatusOr<std::vector<std::string>> ReadAgents(const std::string& uri, const Json& entry) {
  constexpr char kKey[] = "AgentURL";
  const auto found = entry.find(kKey);
  if (found == entry.end() || found->is_null()) return std::vector<std::string>();
  std::vector<std::string> agents;
  for (const Json& one : found->is_array() ? *found : Json::array({*found})) {
    if (!one.is_string()) return Wrong(uri, kKey, "host:port, or a list of them");
    if (!one.get<std::string>().empty()) agents.push_back(one.get<std::string>());
  }
  return agents;
}

}  // namespace

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  KeepAlive(arguments);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

absl::StatusOr<std::unique_ptr<ConfiguredResolver>> ConfiguredResolver::New(
    std::string_view json, OpenStore open_store, std::shared_ptr<grpc::Channel> controller) {
  const Json config = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return absl::InvalidArgumentError(
        "the resolver configuration is no JSON object of uri to {\"PulsarURL\", \"PulsarTopic\", "
        "\"PulsarSubscription\", \"AgentURL\"}");
  }
  Entries entries;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels;
  for (const auto& [uri, value] : config.items()) {
    if (!value.is_object()) return Wrong(uri, "the value", "an object");
    Entry entry;
    PGC_ASSIGN_OR_RETURN(entry.store, ReadText(uri, value, "PulsarURL"));
    PGC_ASSIGN_OR_RETURN(entry.topic, ReadText(uri, value, "PulsarTopic"));
    PGC_ASSIGN_OR_RETURN(entry.subscription, ReadText(uri, value, "PulsarSubscription"));
    if (entry.subscription.empty()) entry.subscription = StoreResolver::kDefaultSubscription;
    const auto replicate = value.find("PulsarReplicateState");
    if (replicate != value.end() && !replicate->is_boolean() && !replicate->is_null()) {
      return Wrong(uri, "PulsarReplicateState", "true or false");
    }
    entry.replicate_state = replicate != value.end() && replicate->is_boolean() && *replicate;
    PGC_ASSIGN_OR_RETURN(const auto agents, ReadAgents(uri, value));
    for (const std::string& agent : agents) {
      auto& channel = channels[agent];
      if (channel == nullptr) channel = ChannelTo(agent);
      entry.agents.push_back(channel);
    }
    entries.emplace(uri, std::move(entry));
  }
  return std::unique_ptr<ConfiguredResolver>(
      new ConfiguredResolver(std::move(entries), std::move(open_store), std::move(controller)));
}

ConfiguredResolver::ConfiguredResolver(Entries entries, OpenStore open_store,
                                       std::shared_ptr<grpc::Channel> controller)
    : entries_(std::move(entries)),
      open_store_(std::move(open_store)),
      controller_(std::move(controller)) {}

absl::StatusOr<const ConfiguredResolver::Entry*> ConfiguredResolver::Find(
    std::string_view uri) const {
  const auto found = entries_.find(uri);
  if (found != entries_.end()) return &found->second;
  return absl::NotFoundError(fmt::format(
      "unknown uri '{}': it is none of the resolver configuration", uri.substr(0, 512)));
}

absl::StatusOr<std::shared_ptr<EventStore>> ConfiguredResolver::StoreOf(const Entry& entry) {
  MutexLock lock(mutex_);
  std::shared_ptr<EventStore>& store = stores_[entry.store];
  if (store == nullptr) {
    PGC_ASSIGN_OR_RETURN(store, open_store_(entry.store));
  }
  return store;
}

absl::StatusOr<std::unique_ptr<EventConsumer>> ConfiguredResolver::OpenConsumer(
    std::string_view uri, const ConsumerOptions& options) {
  PGC_ASSIGN_OR_RETURN(const Entry* const entry, Find(uri));
  PGC_ASSIGN_OR_RETURN(const auto store, StoreOf(*entry));
  ConsumerOptions all = options;
  all.replicate_state = entry->replicate_state;
  return store->OpenConsumer(entry->topic, entry->subscription, all);
}

absl::StatusOr<bool> ConfiguredResolver::IsNew(std::string_view uri) {
  PGC_ASSIGN_OR_RETURN(const Entry* const entry, Find(uri));
  PGC_ASSIGN_OR_RETURN(const auto store, StoreOf(*entry));
  return IsNewIn(*store, entry->topic, entry->subscription);
}

DumpSources ConfiguredResolver::Dumps(std::string_view uri) {
  const auto entry = Find(uri);
  if (!entry.ok() || (*entry)->agents.empty()) return {};
  return {.controller = controller_, .agents = (*entry)->agents};
}

}  // namespace pgc
