#include "gateway/configured_resolver.h"

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <gtest/gtest.h>

#include "store/memory_store.h"
#include "testing/change_log.h"

namespace pgc {
namespace {

using testing::HasSubstr;

class ConfiguredResolverTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<ConfiguredResolver>> New(const std::string& json) {
    return ConfiguredResolver::New(
        json,
        [this](const std::string& url) -> absl::StatusOr<std::shared_ptr<EventStore>> {
          opened_.push_back(url);
          if (url == "memory") return store_;
          return absl::FailedPreconditionError("no such store: " + url);
        },
        ChannelTo("127.0.0.1:1"));
  }

  const std::shared_ptr<EventStore> store_ = NewMemoryStore();
  const ChangeLog log_{*store_, "t"};
  std::vector<std::string> opened_;
};

TEST_F(ConfiguredResolverTest, AUriIsATopicAndASubscriptionOfAStoreThatIsOpenedOnce) {
  const auto resolver = New(R"({
    "a": {"PulsarURL": "memory", "PulsarTopic": "t", "PulsarSubscription": "one"},
    "b": {"PulsarURL": "memory", "PulsarTopic": "t", "PulsarReplicateState": true}})");
  ASSERT_TRUE(resolver.ok()) << resolver.status();
  EXPECT_EQ((*resolver)->IsNew("a").value_or(false), true);
  const auto a = (*resolver)->OpenConsumer("a", {});
  ASSERT_TRUE(a.ok()) << a.status();
  const auto b = (*resolver)->OpenConsumer("b", {});
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ((*resolver)->IsNew("a").value_or(true), false);
  const auto topic = store_->Describe("t");
  ASSERT_TRUE(topic.ok());
  std::vector<std::string> names;
  for (const auto& subscription : topic->subscriptions) names.push_back(subscription.name);
  EXPECT_THAT(names, testing::UnorderedElementsAre("one", "default"));
  EXPECT_EQ(opened_.size(), 1u);
}

TEST_F(ConfiguredResolverTest, AnAgentIsOneAddressOrSeveral) {
  const auto resolver = New(R"({
    "none": {"PulsarURL": "memory", "PulsarTopic": "t"},
    "one": {"AgentURL": "127.0.0.1:2"},
    "two": {"AgentURL": ["127.0.0.1:2", "127.0.0.1:3"]}})");
  ASSERT_TRUE(resolver.ok()) << resolver.status();
  EXPECT_EQ((*resolver)->Dumps("none").controller, nullptr);
  EXPECT_EQ((*resolver)->Dumps("unknown").controller, nullptr);
  EXPECT_EQ((*resolver)->Dumps("one").agents.size(), 1u);
  EXPECT_NE((*resolver)->Dumps("one").controller, nullptr);
  ASSERT_EQ((*resolver)->Dumps("two").agents.size(), 2u);
  EXPECT_EQ((*resolver)->Dumps("two").agents[0], (*resolver)->Dumps("one").agents[0]);
}

TEST_F(ConfiguredResolverTest, WhatIsWrongIsNamed) {
  for (const auto& [json, named] : std::vector<std::pair<std::string, std::string>>{
           {"", "no JSON object"},
           {"[]", "no JSON object"},
           {R"({"a": 1})", "'a'"},
           {R"({"a": {"PulsarURL": 1}})", "PulsarURL"},
           {R"({"a": {"PulsarReplicateState": "yes"}})", "PulsarReplicateState"},
           {R"({"a": {"AgentURL": [1]}})", "AgentURL"}}) {
    const absl::Status status = New(json).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << json;
    EXPECT_THAT(std::string(status.message()), HasSubstr(named)) << json;
  }
}

TEST_F(ConfiguredResolverTest, AnUnknownUriAndAStoreThatDoesNotOpenSayWhy) {
  const auto resolver = New(R"({"a": {"PulsarURL": "pulsar://x"}})");
  ASSERT_TRUE(resolver.ok()) << resolver.status();
  EXPECT_TRUE(absl::IsNotFound((*resolver)->OpenConsumer("b", {}).status()));
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = (*resolver)->OpenConsumer("a", {}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("pulsar://x"));
  }
}

}  // namespace
}  // namespace pgc
