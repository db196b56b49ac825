// Dumps of tables that are written to: what consumers have in the end is what the tables have.
#include <gtest/gtest.h>

#include "e2e/dump/order_fixture.h"

namespace pgc {
namespace {

class DumpOrder : public OrderPlaces {};

TEST_P(DumpOrder, ByArrivalOneConsumerHasWhatTheTablesHave) { RunSeeds(false); }
TEST_P(DumpOrder, ByVersionSharersThatRequeueHaveWhatTheTablesHave) { RunSeeds(true); }

INSTANTIATE_TEST_SUITE_P(From, DumpOrder,
                         testing::Values(OrderPlace::kReplica, OrderPlace::kLaggingReplica,
                                         OrderPlace::kStandby, OrderPlace::kSource,
                                         OrderPlace::kHeldBackSource),
                         [](const auto& param) { return NameOf(param.param); });

}  // namespace
}  // namespace pgc
