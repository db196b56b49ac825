#include "gateway/resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/memory_store.h"
#include "store/store_testing.h"
#include "testing/change_log.h"

namespace pgc {
namespace {

using testing::HasSubstr;

class StoreResolverTest : public testing::Test {
 protected:
  // Whether the two uris stand for one subscription.
  bool AreOne(const std::string& uri, const std::string& other) {
    const auto one = resolver_.OpenConsumer(uri, {});
    EXPECT_TRUE(one.ok()) << one.status();
    const auto two = resolver_.OpenConsumer(other, {});
    EXPECT_TRUE(two.ok()) << two.status();
    for (const std::string& topic : store_->Topics()) {
      const auto info = store_->Describe(topic);
      EXPECT_TRUE(info.ok()) << info.status();
      for (const SubscriptionInfo& subscription : info->subscriptions) {
        if (subscription.consumers == 2) return true;
      }
    }
    return false;
  }

  const std::unique_ptr<EventStore> store_ = NewMemoryStore();
  const ChangeLog db_{*store_, "persistent://public/default/db"};
  const ChangeLog plain_{*store_, "a"};
  const ChangeLog nested_{*store_, "a/b"};
  StoreResolver resolver_{*store_};
};

TEST_F(StoreResolverTest, ATopicAloneIsItsDefaultSubscription) {
  EXPECT_TRUE(AreOne("a", "a/default"));
  EXPECT_FALSE(AreOne("a", "a/other"));
}

TEST_F(StoreResolverTest, ATopicMayHaveSlashesAndTheLongestCounts) {
  EXPECT_TRUE(AreOne("persistent://public/default/db", "persistent://public/default/db/default"));
  EXPECT_TRUE(AreOne("a/b", "a/b/default"));
  EXPECT_FALSE(AreOne("a/b", "a/c"));
}

TEST_F(StoreResolverTest, WhatIsNeitherTopicNorTopicAndNameIsNotFound) {
  for (const char* uri : {"", "b", "a/", "ab", "a/c/d", "/a", "persistent://public/default",
                          "persistent://public/default/dbx", "a//"}) {
    const absl::Status status = resolver_.OpenConsumer(uri, {}).status();
    EXPECT_TRUE(absl::IsNotFound(status)) << uri << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("'" + std::string(uri) + "'"));
  }
}

TEST_F(StoreResolverTest, AnEndlessUriIsInvalid) {
  EXPECT_TRUE(
      absl::IsInvalidArgument(resolver_.OpenConsumer("a/" + std::string(600, 'x'), {}).status()));
}

}  // namespace
}  // namespace pgc
