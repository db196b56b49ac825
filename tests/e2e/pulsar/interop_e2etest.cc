// What another client reads of a topic that was captured.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/hex.h"
#include "e2e/pulsar/pulsar_fixture.h"
#include "event/checkpoint.h"
#include "pgcapture.pb.h"
#include "pulsar/pulsar_testing.h"

namespace pgc {
namespace {

namespace pb = ::pgcapture;

using testing::HasSubstr;

class InteropE2e : public PulsarE2e {};

TEST_F(InteropE2e, ThePythonClientReadsKeysPayloadsBatchesAndIds) {
  auto capture = Capture();
  ASSERT_TRUE(capture->WaitForLine("capturing", kWait).has_value()) << capture->errors();
  Sql("CREATE TABLE marks (name text PRIMARY KEY)");
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  Sql("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 1500) i");
  auto apply = Apply();
  ASSERT_TRUE(WaitApplied()) << capture->errors() << apply->errors();
  Stop(*apply);
  const auto client = pulsar::NewClient(broker_->url());
  const auto ours = pulsar::ReadAll(client, topic());
  ASSERT_GT(ours.size(), 1'500U);
  const std::string source = PGC_SOURCE_DIR;
  const auto theirs = Subprocess::Start(
      {.args = {source + "/tests/e2e/pulsar/read_topic.py", source + "/build/libpulsar/python",
                broker_->url(), topic(), std::to_string(ours.size())},
       .environment = {},
       .as_postgres = false,
       .directory = ""});
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  ASSERT_EQ((*theirs)->Wait(kWait), 0) << (*theirs)->errors();
  const std::vector<std::string> lines = (*theirs)->output_lines();
  ASSERT_EQ(lines.size(), ours.size());
  Checkpoint last;
  int32_t in_batches = 0;
  int32_t largest_batch = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    std::istringstream line(lines[i]);
    std::string key;
    std::string id_text;
    int32_t batch_index = 0;
    std::string payload;
    line >> key >> id_text >> batch_index >> payload;
    EXPECT_EQ(key, ours[i].key());
    const auto checkpoint = ParseKey(key);
    ASSERT_TRUE(checkpoint.ok()) << key;
    EXPECT_GT(*checkpoint, last) << "in order, without repeats";
    last = *checkpoint;
    const std::string bytes = BytesFromHex(payload);
    EXPECT_EQ(bytes, pulsar::TextOf(ours[i]));
    pb::Message event;
    EXPECT_TRUE(event.ParseFromString(bytes));
    // Its ids leave out what has its default; ours are written as the Go client writes them.
    const auto id = pulsar::ParseMessageId(BytesFromHex(id_text));
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_TRUE(id->same_entry(ours[i].id()));
    EXPECT_EQ(id->batch_index, ours[i].id().batch_index);
    EXPECT_EQ(pulsar::ParseMessageId(pulsar::Serialize(ours[i].id())).value(), ours[i].id());
    in_batches += batch_index > 0 ? 1 : 0;
    largest_batch = std::max(largest_batch, ours[i].id().batch_size);
  }
  EXPECT_GT(in_batches, 1'000) << "messages are sent in batches";
  EXPECT_LE(largest_batch, 1'000);
  const auto stats = broker_->Admin("GET", "persistent/" + topic_path() + "/stats");
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_THAT(*stats, HasSubstr("\"producerName\":\"" + topic() + "-producer\""));
  EXPECT_THAT(*stats, HasSubstr("\"metadata\":{\"host\":"));
  // The checkpoint of the replica has the id of the last transaction's Commit, as Go writes it.
  const auto row = replica_->Query("SELECT encode(mid, 'hex') FROM pgcapture.sources");
  ASSERT_TRUE(row.ok()) << row.status();
  const std::string mid = BytesFromHex(row->Text(0, 0));
  const auto stored = pulsar::ParseMessageId(mid);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(pulsar::Serialize(*stored), mid);
  EXPECT_TRUE(stored->is_message());
  EXPECT_GT(stored->batch_size, 0);
  Stop(*capture);
}

}  // namespace
}  // namespace pgc
