#include "pulsar/message.h"

#include "base/log.h"

namespace pgc::pulsar {
namespace {

// The library numbers the partition of a topic without partitions -1.
std::string BytesFor(MessageId id) {
  id.partition = -1;
  return Serialize(id);
}

c::MessageId* Deserialize(const c::Api& api, const std::string& bytes) {
  return api.message_id_deserialize(bytes.data(), static_cast<uint32_t>(bytes.size()));
}

}  // namespace

MessageId ValueOf(const c::Api& api, c::MessageId* id) {
  int length = 0;
  void* const bytes = api.message_id_serialize(id, &length);
  const auto value = ParseMessageId({static_cast<const char*>(bytes), static_cast<size_t>(length)});
  std::free(bytes);
  if (!value.ok()) return {};
  MessageId got = *value;
  if (got.is_message() && got.batch_index < 0 && !got.first_piece.has_value()) {
    got.batch_index = 0;
    got.batch_size = 1;
  }
  return got;
}

const MessageId& Message::id() const {
  if (!id_.has_value()) {
    c::MessageId* const id = api_->message_get_message_id(message_.get());
    id_ = ValueOf(*api_, id);
    api_->message_id_free(id);
  }
  return *id_;
}

OwnedId::OwnedId(const c::Api& api, const MessageId& id)
    : api_(api), id_(Deserialize(api, BytesFor(id))) {}

}  // namespace pgc::pulsar
