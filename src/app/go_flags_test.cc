#include "app/go_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgc {
namespace {

using testing::ElementsAre;

TEST(GoFlagsTest, EveryFlagOfTheGoProgramHasAKebabCaseName) {
  for (const auto& [go, ours] : std::vector<std::pair<std::string, std::string>>{
           {"PGConnURL", "pg-conn-url"},
           {"PGReplURL", "pg-repl-url"},
           {"PulsarURL", "pulsar-url"},
           {"PulsarTopic", "pulsar-topic"},
           {"PulsarTracker", "pulsar-tracker"},
           {"PulsarTrackerInterval", "pulsar-tracker-interval"},
           {"PulsarTrackerReplicateState", "pulsar-tracker-replicate-state"},
           {"DecodePlugin", "decode-plugin"},
           {"Tables", "tables"},
           {"StartLSN", "start-lsn"},
           {"PGLogPath", "pg-log-path"},
           {"ReaderPrefix", "reader-prefix"},
           {"BatchTxSize", "batch-tx-size"},
           {"Renice", "renice"},
           {"ResolverConfig", "resolver-config"},
           {"ListenAddr", "listen-addr"},
           {"ControllerAddr", "controller-addr"},
           {"ExportPrometheus", "export-prometheus"},
           {"PrometheusAddr", "prometheus-addr"},
           {"AgentAddr", "agent-addr"},
           {"AgentCommand", "agent-command"}}) {
    EXPECT_EQ(KebabCase(go), ours);
  }
}

TEST(GoFlagsTest, OnlyWholeFlagNamesAreTranslated) {
  EXPECT_THAT(FromGoFlags({"agent", "--ListenAddr=:10000", "--Renice", "-10", "--listen-addr", "A",
                           "PGConnURL", "--", "--A.b", "--x=--PGConnURL", "--PulsarURL==a"}),
              ElementsAre("agent", "--listen-addr=:10000", "--renice", "-10", "--listen-addr", "A",
                          "PGConnURL", "--", "--A.b", "--x=--PGConnURL", "--pulsar-url==a"));
}

TEST(GoFlagsTest, WhatIsCalledOtherwiseHereIsTakenUnderBothNames) {
  EXPECT_THAT(FromGoFlags({"pg2pulsar", "--PGConnURL=a", "--pg-conn-url", "--Tables"},
                          {{"pg-conn-url", "source"}, {"pulsar-url", "store"}}),
              ElementsAre("pg2pulsar", "--source=a", "--source", "--tables"));
}

}  // namespace
}  // namespace pgc
