// usage: contract_consumer ADDRESS URI COUNT TABLE_REGEX|- ack|requeue|none
//
// A consumer of today: built from the frozen copy of the contract, knowing nothing else of
// pgcapture. Prints what it sees, field by field, does what the last argument says with each
// change, and closes its side after COUNT of them.
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "frozen.pb.h"

namespace {

std::string Hex(std::string_view bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += kHex[static_cast<uint8_t>(c) >> 4];
    out += kHex[c & 0xF];
  }
  return out;
}

// Fields that the contract does not have, in the message and all that it holds.
int UnknownFields(const google::protobuf::Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  int count = reflection.GetUnknownFields(message).field_count();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      count += UnknownFields(reflection.GetMessage(message, field));
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      count += UnknownFields(reflection.GetRepeatedMessage(message, field, i));
    }
  }
  return count;
}

void PrintRow(const char* which, const google::protobuf::RepeatedPtrField<pgcapture::Field>& row) {
  for (const pgcapture::Field& field : row) {
    const std::string value = field.has_binary() ? "binary " + Hex(field.binary())
                              : field.has_text() ? "text " + field.text()
                                                 : "null";
    std::printf("  %s %s %" PRIu32 " %s\n", which, field.name().c_str(), field.oid(),
                value.c_str());
  }
}

void Print(const std::string& bytes, const pgcapture::CaptureMessage& message) {
  const pgcapture::Checkpoint& checkpoint = message.checkpoint();
  const pgcapture::Change& change = message.change();
  std::printf("bytes %s\n", Hex(bytes).c_str());
  std::printf("checkpoint %" PRIu64 " %" PRIu32 " %s\n", checkpoint.lsn(), checkpoint.seq(),
              Hex(checkpoint.data()).c_str());
  std::printf("change %s %s %s\n", pgcapture::Change::Operation_Name(change.op()).c_str(),
              change.schema().c_str(), change.table().c_str());
  PrintRow("new", change.new_());
  PrintRow("old", change.old());
  std::printf("unknown fields %d\n", UnknownFields(message));
  // What the classes of the contract write is what came: nothing is out of order or twice.
  std::printf("same bytes %d\n", message.SerializeAsString() == bytes ? 1 : 0);
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (!buffer.DumpToSingleSlice(&slice).ok()) std::abort();
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string regex = argv[4];
  const std::string then = argv[5];
  // Limits as they are by default, in Go and Python too: messages of up to 4 MiB.
  const auto channel = grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  const std::unique_ptr<grpc::ClientReaderWriter<pgcapture::CaptureRequest, grpc::ByteBuffer>>
      stream(
          grpc::internal::ClientReaderWriterFactory<pgcapture::CaptureRequest, grpc::ByteBuffer>::
              Create(channel.get(),
                     grpc::internal::RpcMethod("/pgcapture.DBLogGateway/Capture",
                                               grpc::internal::RpcMethod::BIDI_STREAMING),
                     &context));
  pgcapture::CaptureRequest init;
  init.mutable_init()->set_uri(argv[2]);
  if (regex != "-") {
    (*init.mutable_init()->mutable_parameters()->mutable_fields())["TableRegex"].set_string_value(
        regex);
  }
  stream->Write(init);
  stream->WaitForInitialMetadata();
  std::printf("attached\n");

  grpc::ByteBuffer buffer;
  for (int left = std::atoi(argv[3]); left > 0 && stream->Read(&buffer); --left) {
    const std::string bytes = BytesOf(buffer);
    pgcapture::CaptureMessage message;
    if (!message.ParseFromString(bytes)) return 1;
    Print(bytes, message);
    if (then == "none") continue;
    pgcapture::CaptureRequest done;
    *done.mutable_ack()->mutable_checkpoint() = message.checkpoint();
    if (then == "requeue") done.mutable_ack()->set_requeue_reason("again");
    stream->Write(done);
  }
  stream->WritesDone();
  while (stream->Read(&buffer)) {
  }
  const grpc::Status status = stream->Finish();
  std::printf("status %d %s\n", status.error_code(), status.error_message().c_str());
  return 0;
}
