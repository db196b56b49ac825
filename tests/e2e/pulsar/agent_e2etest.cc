// Agents of two hosts, with a topic of Pulsar between them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "e2e/pulsar/pulsar_fixture.h"
#include "testing/free_port.h"

namespace pgc {
namespace {

class AgentE2e : public PulsarE2e {
 protected:
  static std::unique_ptr<Subprocess> Agent(const std::string& address) {
    auto agent = Run({"agent", "--ListenAddr", address, "--Renice", "0", "--pulsar-library",
                      PulsarBroker::Library()});
    EXPECT_TRUE(agent->WaitForLine("the agent listens", kWait).has_value());
    return agent;
  }
  std::unique_ptr<Subprocess> Configure(const std::string& agent, const std::string& command,
                                        const std::string& database) const {
    return Run({"configure", "--AgentAddr", agent, "--AgentCommand", command, "--PGConnURL",
                database, "--PGReplURL", database, "--PulsarURL", broker_->url(), "--PulsarTopic",
                topic(), "--PulsarTracker", "pulsar"});
  }

  const FreePort capturer_port_;
  const std::string capturer_ = capturer_port_.address();
  const FreePort applier_port_;
  const std::string applier_ = applier_port_.address();
};

TEST_F(AgentE2e, OneCapturesIntoATopicAndTheOtherAppliesIt) {
  auto capturer = Agent(capturer_);
  auto applier = Agent(applier_);
  auto capture = Configure(capturer_, "pg2pulsar", server_->Url(name_));
  ASSERT_TRUE(capture->WaitForLine("\"SourceTxCounter\":", kWait).has_value())
      << capture->errors() << capturer->errors();
  auto apply = Configure(applier_, "pulsar2pg", replica_url());
  ASSERT_TRUE(apply->WaitForLine("\"ReplicationLagMilliseconds\":", kWait).has_value())
      << apply->errors() << applier->errors();
  Sql("CREATE TABLE marks (name text PRIMARY KEY)");
  Sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
  Sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 1000) i");
  ASSERT_TRUE(WaitApplied()) << capturer->errors() << applier->errors();
  // An agent that was lost is set going by what configures it, and goes on where it was.
  Kill(*capturer);
  Kill(*applier);
  Sql("UPDATE t SET v = 'after' WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0");
  capturer = Agent(capturer_);
  applier = Agent(applier_);
  ASSERT_TRUE(WaitApplied()) << capturer->errors() << applier->errors();
  for (Subprocess* const process : {capture.get(), apply.get(), applier.get(), capturer.get()}) {
    Stop(*process);
  }
  ExpectEqual();
}

}  // namespace
}  // namespace pgc
