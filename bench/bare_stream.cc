#include "bare_stream.h"

#include <fmt/format.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace pgc {
namespace {

// Sends all messages and reads what comes.
class BareReactor final : public grpc::ServerGenericBidiReactor {
 public:
  BareReactor(std::vector<grpc::ByteBuffer>& messages, size_t count)
      : messages_(messages), count_(count) {
    StartSendInitialMetadata();
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    if (next_ == 0) Write();
    StartRead(&request_);
  }
  void OnWriteDone(bool ok) override {
    if (ok && next_ < count_) Write();
  }
  void OnDone() override { delete this; }

 private:
  void Write() { StartWrite(&messages_[next_++ % messages_.size()]); }

  std::vector<grpc::ByteBuffer>& messages_;
  const size_t count_;
  size_t next_ = 0;
  grpc::ByteBuffer request_;
};

class BareService final : public grpc::CallbackGenericService {
 public:
  BareService(std::vector<grpc::ByteBuffer> messages, size_t count)
      : messages_(std::move(messages)), count_(count) {}
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new BareReactor(messages_, count_);
  }

 private:
  std::vector<grpc::ByteBuffer> messages_;
  const size_t count_;
};

}  // namespace

void ServeUntilKilled(const std::string& address) {
  std::printf("listening %s\n", address.c_str());
  (void)std::fflush(stdout);
  while (true) pause();
}

void ServeBareStream(std::vector<grpc::ByteBuffer> messages, size_t count) {
  BareService service(std::move(messages), count);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  const auto server = builder.BuildAndStart();
  ServeUntilKilled(fmt::format("127.0.0.1:{}", port));
}

}  // namespace pgc
