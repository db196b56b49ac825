#include "pulsar/result.h"

#include <spdlog/fmt/fmt.h>

namespace pgc::pulsar {
namespace {

// Those of the library's results that time does not mend, by their numbers.
absl::StatusCode CodeOf(int result) {
  switch (result) {
    case 2:   // InvalidConfiguration
    case 21:  // InvalidTopicName
    case 22:  // InvalidUrl
      return absl::StatusCode::kInvalidArgument;
    case 29:  // TopicNotFound
    case 30:  // SubscriptionNotFound
      return absl::StatusCode::kNotFound;
    case 7:   // AuthenticationError
    case 8:   // AuthorizationError
    case 9:   // ErrorGettingAuthenticationData
    case 13:  // ConsumerBusy: an exclusive one is there, or consumers of another kind
    case 19:  // ProducerBusy: another producer has the name
    case 24:  // OperationNotSupported
    case 28:  // MessageTooBig
    case 32:  // UnsupportedVersionError
    case 33:  // TopicTerminated
    case 35:  // IncompatibleSchema
    case 36:  // ConsumerAssignError
    case 40:  // NotAllowedError
    case 43:  // ProducerFenced
      return absl::StatusCode::kFailedPrecondition;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

absl::Status ToStatus(const c::Api& api, c::Result result, std::string_view doing) {
  if (result == c::kOk) return absl::OkStatus();
  // The library goes on trying where a broker closes the connection because of who we are.
  const std::string_view hint =
      result == c::kTimeout ? ": no broker answered in time, or none let us in" : "";
  return {CodeOf(result), fmt::format("{}: {}{}", doing, api.result_str(result), hint)};
}

}  // namespace pgc::pulsar
