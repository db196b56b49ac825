#include "pulsar/reader.h"

#include <spdlog/fmt/fmt.h>

#include "base/status_macros.h"
#include "pulsar/result.h"

namespace pgc::pulsar {

absl::StatusOr<std::unique_ptr<Reader>> Reader::Open(std::shared_ptr<Client> client,
                                                     const Options& options) {
  std::unique_ptr<Reader> reader(new Reader(std::move(client), options.topic));
  PGC_RETURN_IF_ERROR(reader->Subscribe(options));
  if (const auto* const time = std::get_if<FromPublishTime>(&options.from)) {
    PGC_RETURN_IF_ERROR(reader->Seek(*time));
  }
  return reader;
}

absl::Status Reader::Subscribe(const Options& options) {
  const c::Api& api = client_->api();
  c::ReaderConfiguration* const configuration = api.reader_configuration_create();
  api.reader_configuration_set_receiver_queue_size(configuration, options.queue_messages);
  if (!options.name.empty()) {
    api.reader_configuration_set_reader_name(configuration, options.name.c_str());
  }
  if (!options.prefix.empty()) {
    api.reader_configuration_set_subscription_role_prefix(configuration, options.prefix.c_str());
  }
  // The library's readers start after an id, so it gets the place before it.
  const auto* const id = std::get_if<FromId>(&options.from);
  const OwnedId before(api, id != nullptr ? Before(id->id) : MessageId{});
  const bool latest = std::holds_alternative<FromLatest>(options.from);
  const c::MessageId* const start = id != nullptr ? before.get()
                                    : latest      ? api.message_id_latest()
                                                  : api.message_id_earliest();
  const c::Result result =
      api.client_create_reader(client_->get(), topic_.c_str(), start, configuration, &reader_);
  api.reader_configuration_free(configuration);
  return Failed(result, "opening a reader");
}

Reader::~Reader() {
  if (reader_ == nullptr) return;
  (void)client_->api().reader_close(reader_);
  client_->api().reader_free(reader_);
}

absl::StatusOr<std::optional<Message>> Reader::Next(std::chrono::milliseconds wait) {
  c::Message* message = nullptr;
  const c::Result result = client_->api().reader_read_next_with_timeout(
      reader_, &message, static_cast<int>(wait.count()));
  if (result == c::kTimeout) return std::nullopt;
  PGC_RETURN_IF_ERROR(Failed(result, "reading"));
  return Message(client_->api(), message);
}

absl::StatusOr<bool> Reader::HasMore() {
  int available = 0;
  PGC_RETURN_IF_ERROR(Failed(client_->api().reader_has_message_available(reader_, &available),
                             "asking for the end"));
  return available != 0;
}

absl::Status Reader::Seek(const FromPublishTime& to) {
  return Failed(client_->api().reader_seek_by_timestamp(reader_, to.unix_ms), "moving a reader");
}

absl::Status Reader::Failed(c::Result result, std::string_view doing) const {
  return ToStatus(client_->api(), result, fmt::format("{} of topic {}", doing, topic_));
}

}  // namespace pgc::pulsar
