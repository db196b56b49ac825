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
    case 12:  // ChecksumError: the library goes on with the messages behind it
      return absl::StatusCode::kDataLoss;
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

// What an operator can do about it.
std::string_view HintFor(int result) {
  switch (result) {
    case c::kTimeout:
      // The library goes on trying where a broker closes the connection because of who we are.
      return ": no broker answered in time, or none let us in: see that the URL has the address, "
             "and the token or the certificate and its key, that they want; their logs say why "
             "they refuse";
    case 5:  // ConnectError
      return ": the warnings of `pulsar client` before it say why; with TLS, see tls-trust-certs "
             "of the URL";
    case 7:  // AuthenticationError
      return ": what the URL has to show who we are was refused, or could not be had; see its "
             "token, tls-cert or oauth2-file, and the warnings of `pulsar client` before it";
    case 8:  // AuthorizationError
      return ": the brokers know who we are, who may not do this: grant it, as with `pulsar-admin "
             "namespaces grant-permission`";
    case 12:  // ChecksumError
      return ": a message was damaged on its way to the broker, and those behind it may be stored: "
             "the topic lacks it; begin anew with an empty topic";
    case 19:  // ProducerBusy
      return ": another program writes to the topic, or one that is gone is not missed yet";
    case 25:  // ProducerBlockedQuotaExceededError
    case 26:  // ProducerBlockedQuotaExceededException
      return ": the backlog quota of the topic or its namespace is used up by what a subscription "
             "has not read: read it, remove the subscription or raise the quota";
    case 28:  // MessageTooBig
      return ": it is above the limit of the brokers; raise their maxMessageSize, and "
             "nettyMaxFrameSizeBytes of the bookies";
    case 29:  // TopicNotFound
      return ": the topic or its namespace is not there, and the cluster does not make it; create "
             "it";
    default:
      return "";
  }
}

}  // namespace

absl::Status ToStatus(const c::Api& api, c::Result result, std::string_view doing) {
  if (result == c::kOk) return absl::OkStatus();
  return {CodeOf(result), fmt::format("{}: {}{}", doing, api.result_str(result), HintFor(result))};
}

}  // namespace pgc::pulsar
