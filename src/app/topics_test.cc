// topics against a real gateway, over the memory store and the embedded one.
#include "app/topics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "client/capture_client.h"
#include "gateway/server.h"
#include "store/embedded_store.h"
#include "store/memory_store.h"
#include "testing/change_log.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using testing::HasSubstr;

enum class StoreKind { kMemory, kEmbedded };

class TopicsTest : public testing::TestWithParam<StoreKind> {
 protected:
  TopicsTest() {
    if (GetParam() == StoreKind::kMemory) {
      store_ = NewMemoryStore();
    } else {
      auto opened = OpenEmbeddedStore(dir_.path() / "store", {});
      EXPECT_TRUE(opened.ok()) << opened.status();
      store_ = *std::move(opened);
    }
    resolver_ = std::make_unique<StoreResolver>(*store_);
    auto started = GatewayServer::Start({.address = "127.0.0.1:0"}, *resolver_, store_.get());
    EXPECT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    options_.gateway = server_->address();
  }
  ~TopicsTest() override { server_.reset(); }

  // What the command prints.
  std::string Run(const TopicsOptions& options) {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
    TopicsOptions to_file = options;
    to_file.output = file.get();
    const absl::Status status = RunTopics(to_file);
    EXPECT_TRUE(status.ok()) << status;
    std::rewind(file.get());
    std::string text(1 << 16, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file.get()));
    return text;
  }
  nlohmann::json List() {
    TopicsOptions options = options_;
    options.json = true;
    return nlohmann::json::parse(Run(options));
  }
  std::unique_ptr<CaptureClient> Open(const std::string& uri) {
    auto client =
        CaptureClient::Open({.gateway = server_->address(), .uri = uri, .parameters = {}}, {});
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }

  const TempDir dir_;
  std::unique_ptr<EventStore> store_;
  std::unique_ptr<StoreResolver> resolver_;
  std::unique_ptr<GatewayServer> server_;
  TopicsOptions options_;
};

INSTANTIATE_TEST_SUITE_P(Stores, TopicsTest,
                         testing::Values(StoreKind::kMemory, StoreKind::kEmbedded),
                         [](const auto& test) {
                           return test.param == StoreKind::kMemory ? "Memory" : "Embedded";
                         });

TEST_P(TopicsTest, AStoreWithoutTopicsSaysSo) {
  EXPECT_EQ(Run(options_), "no topics\n");
  EXPECT_EQ(List(), nlohmann::json::array());
}

TEST_P(TopicsTest, ShowsEventsPositionsAndSubscriptionsWithTheirBacklog) {
  ChangeLog log(*store_, "a/b");
  const auto consumer = Open("a/b/mail");
  const Lsn first = log.Insert({{.table = "t", .id = 1, .note = "one"}});
  const Lsn second = log.Insert({{.table = "t", .id = 2, .note = "two"}});
  const nlohmann::json topics = List();
  ASSERT_EQ(topics.size(), 1U);
  EXPECT_EQ(topics[0]["topic"], "a/b");
  EXPECT_EQ(topics[0]["events"], 6);
  EXPECT_EQ(topics[0]["oldest"], ToString(first));
  EXPECT_EQ(topics[0]["newest"], ToString(second));
  EXPECT_GT(topics[0]["newest_stored"].get<std::string>(), "2020");
  ASSERT_EQ(topics[0]["subscriptions"].size(), 1U);
  EXPECT_EQ(topics[0]["subscriptions"][0]["name"], "mail");
  EXPECT_EQ(topics[0]["subscriptions"][0]["consumers"], 1);
  EXPECT_GE(topics[0]["subscriptions"][0]["backlog_events"], 2);
  const std::string text = Run(options_);
  EXPECT_THAT(text, HasSubstr("a/b\n"));
  EXPECT_THAT(text, HasSubstr("6 events"));
  EXPECT_THAT(text, HasSubstr("mail"));
}

TEST_P(TopicsTest, TheCursorOfAReplicaIsToldApartAndDeletedButNotMoved) {
  ChangeLog log(*store_);
  ASSERT_TRUE(Open("pgcapture/mail")->Close().ok());
  log.Insert({{.table = "t", .id = 1, .note = "one"}});
  auto reader = store_->OpenReader("pgcapture", {.cursor = "replica"});
  ASSERT_TRUE(reader.ok()) << reader.status();
  const nlohmann::json subscriptions = List()[0]["subscriptions"];
  ASSERT_EQ(subscriptions.size(), 2U);
  EXPECT_EQ(subscriptions[0]["name"], "mail");
  EXPECT_EQ(subscriptions[0]["replica"], false);
  EXPECT_EQ(subscriptions[1]["name"], "replica");
  EXPECT_EQ(subscriptions[1]["replica"], true);
  EXPECT_EQ(subscriptions[1]["consumers"], 1);
  EXPECT_EQ(subscriptions[1]["backlog_events"], 3);
  EXPECT_THAT(Run(options_), HasSubstr("0/0|0  (replica)\n"));
  TopicsOptions options = options_;
  options.delete_subscription = "pgcapture/replica";
  EXPECT_TRUE(absl::IsFailedPrecondition(RunTopics(options)));
  reader->reset();
  EXPECT_EQ(Run(options), "deleted pgcapture/replica\n");
}

TEST_P(TopicsTest, MovesASubscriptionBackAndForth) {
  ChangeLog log(*store_);
  log.Insert({{.table = "t", .id = 1, .note = "one"}});
  ASSERT_TRUE(Open("pgcapture/mail")->Close().ok());
  TopicsOptions move = options_;
  move.move = "pgcapture/mail";
  move.to = "beginning";
  ASSERT_EQ(Run(move), "moved pgcapture/mail to beginning\n");
  auto consumer = Open("pgcapture/mail");
  const auto one = consumer->Next({});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->change().new_(1).binary(), "one");
  ASSERT_TRUE(consumer->Close().ok());
  move.to = "end";
  ASSERT_EQ(Run(move), "moved pgcapture/mail to end\n");
  consumer = Open("pgcapture/mail");
  log.Insert({{.table = "t", .id = 2, .note = "two"}});
  const auto two = consumer->Next({});
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_EQ(two->change().new_(1).binary(), "two");
}

TEST_P(TopicsTest, DeletesWhatIsNotInUseAndRefusesWhatIs) {
  auto log = std::make_unique<ChangeLog>(*store_);
  auto consumer = Open("pgcapture/mail");
  TopicsOptions subscription = options_;
  subscription.delete_subscription = "pgcapture/mail";
  TopicsOptions topic = options_;
  topic.delete_topic = "pgcapture";
  EXPECT_TRUE(absl::IsFailedPrecondition(RunTopics(subscription)));
  EXPECT_TRUE(absl::IsFailedPrecondition(RunTopics(topic)));
  ASSERT_TRUE(consumer->Close().ok());
  EXPECT_EQ(Run(subscription), "deleted pgcapture/mail\n");
  EXPECT_TRUE(List()[0]["subscriptions"].empty());
  log.reset();
  EXPECT_EQ(Run(topic), "deleted pgcapture\n");
  EXPECT_TRUE(List().empty());
}

TEST_P(TopicsTest, WhatIsNotThereOrMakesNoSenseIsNamed) {
  const ChangeLog log(*store_);
  TopicsOptions options = options_;
  options.move = "pgcapture";
  options.to = "end";
  EXPECT_TRUE(absl::IsInvalidArgument(RunTopics(options))) << "no subscription in it";
  options.move = "pgcapture/nobody";
  EXPECT_TRUE(absl::IsNotFound(RunTopics(options)));
  options.to = "yesterday";
  const absl::Status wrong = RunTopics(options);
  EXPECT_TRUE(absl::IsInvalidArgument(wrong));
  EXPECT_THAT(std::string(wrong.message()), HasSubstr("yesterday"));
  options.to = "";
  EXPECT_TRUE(absl::IsInvalidArgument(RunTopics(options)));
  TopicsOptions topic = options_;
  topic.delete_topic = "elsewhere";
  EXPECT_TRUE(absl::IsNotFound(RunTopics(topic)));
}

TEST_P(TopicsTest, AGatewayThatIsNotThereIsUnavailableAndNamed) {
  server_->Shutdown();
  const absl::Status status = RunTopics(options_);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(options_.gateway));
}

}  // namespace
}  // namespace pgc
