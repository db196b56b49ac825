#include "gateway/attachment.h"

#include <fmt/format.h>

#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "base/status_macros.h"

namespace pgc {
namespace {

// One that no other session has.
std::string EphemeralUri(const std::string& uri) {
  std::random_device random;
  return fmt::format("{}/~{:08x}{:08x}", uri, random(), random());
}

SnapshotOptions DumpsOf(Resolver& resolver, const CaptureInit& init) {
  SnapshotOptions dumps;
  // Nobody can have asked for dumps of one that lives in memory only, but itself.
  if (init.consumer.ephemeral && !init.from_snapshot) return dumps;
  dumps.uri = init.consumer.ephemeral ? EphemeralUri(init.uri) : init.uri;
  dumps.sources = resolver.Dumps(init.uri);
  dumps.wants = [tables = init.tables, schemas = init.schemas](std::string_view schema,
                                                               std::string_view table) {
    return tables.Matches(table) && schemas.Matches(schema);
  };
  return dumps;
}

absl::Status Open(Resolver& resolver, const CaptureInit& init, Attachment& attachment) {
  PGC_ASSIGN_OR_RETURN(attachment.consumer, resolver.OpenConsumer(init.uri, init.consumer));
  return absl::OkStatus();
}

absl::Status BeginSnapshot(Resolver& resolver, const CaptureInit& init, Attachment& attachment,
                           const std::stop_token& stop) {
  const absl::StatusOr<bool> is_new = resolver.IsNew(init.uri);
  if (absl::IsUnimplemented(is_new.status())) {
    // Of a store that does not tell, the controller knows for which subscription it has not
    // scheduled a snapshot. So here the subscription is made first: whatever comes in between, the
    // next consumer asks again; and what a table gets that is made after the tables were listed is
    // in the stream.
    PGC_RETURN_IF_ERROR(CheckHasDumps(attachment.dumps.sources));
    PGC_RETURN_IF_ERROR(Open(resolver, init, attachment));
    attachment.dumps.once = !init.consumer.ephemeral;
    return ScheduleSnapshot(attachment.dumps, stop);
  }
  if (!is_new.ok()) return is_new.status();
  if (!*is_new && !init.consumer.ephemeral) return absl::OkStatus();
  // The subscription is made when the dumps are scheduled: the other way round, what comes in
  // between could lose them for good.
  return ScheduleSnapshot(attachment.dumps, stop);
}

absl::Status Fill(Resolver& resolver, const CaptureInit& init, Attachment& attachment,
                  const std::stop_token& stop) {
  if (init.from_snapshot) {
    PGC_RETURN_IF_ERROR(BeginSnapshot(resolver, init, attachment, stop));
  }
  if (stop.stop_requested()) return absl::CancelledError("the consumer went away");
  if (attachment.consumer == nullptr) PGC_RETURN_IF_ERROR(Open(resolver, init, attachment));
  if (attachment.dumps.sources.controller != nullptr) {
    PGC_ASSIGN_OR_RETURN(attachment.handed_to_others, attachment.consumer->HandedToOthers());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Attachment> Attach(Resolver& resolver, const CaptureInit& init,
                                  const std::stop_token& stop) {
  Attachment attachment;
  attachment.dumps = DumpsOf(resolver, init);
  absl::Status status = Fill(resolver, init, attachment, stop);
  if (status.ok()) return attachment;
  ForgetDumps(init, attachment.dumps);
  return status;
}

void ForgetDumps(const CaptureInit& init, const SnapshotOptions& dumps) {
  if (init.consumer.ephemeral) ForgetSnapshot(dumps.uri, dumps.sources);
}

}  // namespace pgc
