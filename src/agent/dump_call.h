// The calls that are answered by a dump server, one object a call.
//
// Threads: gRPC calls the reactions from any of its threads, the pool RunOn, Begin and Rows from
// one of its own and Done from any. A call never calls the pool with its own mutex held. Owner:
// gRPC, until OnDone, and the pool, until Done.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/slice.h>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/dump_pool.h"
#include "agent/dump_request.h"
#include "base/mutex.h"

namespace pgc {

// What a call may hold, and for how long.
struct DumpCallLimits {
  size_t bytes_in_flight = 0;
  std::chrono::milliseconds stall_timeout{0};
};

// StreamDump and DumpPages. Reading waits until the peer has taken what was read before; when the
// peer goes away, it ends.
class StreamDumpCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                             public ServerJob,
                             public DumpWriter,
                             public std::enable_shared_from_this<StreamDumpCall> {
 public:
  // How the rows go out: as they come, behind the header and before the mark of the last one, or
  // each as a message.
  enum class Framing : uint8_t { kPages, kRows };

  StreamDumpCall(DumpPool& pool, DumpCallLimits limits, Framing framing)
      : pool_(pool), limits_(limits), framing_(framing) {}

  // Called once: one of these.
  void Start(AgentDump dump);
  void Refuse(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  absl::Status RunOn(DumpServer& dump_server, std::stop_token stop) override;
  bool may_begin_anew() const override;
  void Done(absl::Status status) override;

  absl::Status Begin(const DumpHeader& header) override;
  absl::Status Rows(std::string_view changes, uint64_t count) override;

 private:
  // Bytes that wait to be sent.
  struct Chunk {
    grpc::Slice bytes;
    size_t sent = 0;
  };

  void Enqueue(std::string_view head, std::string_view rows) PGC_REQUIRES(mutex_);
  void Pump() PGC_REQUIRES(mutex_);
  absl::Status TakeMessage() PGC_REQUIRES(mutex_);
  void EndWith(const absl::Status& status) PGC_REQUIRES(mutex_);

  DumpPool& pool_;
  const DumpCallLimits limits_;
  const Framing framing_;
  AgentDump dump_;
  std::shared_ptr<StreamDumpCall> self_;  // until OnDone

  // Of the thread that reads.
  std::stop_token stop_;
  std::string head_;  // the header, until it is sent

  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<Chunk> chunks_ PGC_GUARDED_BY(mutex_);
  size_t in_flight_ PGC_GUARDED_BY(mutex_) = 0;  // bytes of chunks_
  bool begun_ PGC_GUARDED_BY(mutex_) = false;    // something may have been sent
  bool writing_ PGC_GUARDED_BY(mutex_) = false;
  bool finished_ PGC_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> ended_ PGC_GUARDED_BY(mutex_);  // of the call; what waits goes first
  grpc::ByteBuffer reply_ PGC_GUARDED_BY(mutex_);  // gRPC's from StartWrite to OnWriteDone
};

// A call with one answer.
class UnaryDumpCall : public grpc::ServerUnaryReactor,
                      public ServerJob,
                      public std::enable_shared_from_this<UnaryDumpCall> {
 public:
  explicit UnaryDumpCall(DumpPool& pool) : pool_(pool) {}

  // Called once: one of these.
  void Start();
  void Refuse(const absl::Status& status);

  void OnCancel() override;
  void OnDone() override;
  bool may_begin_anew() const override { return true; }
  void Done(absl::Status status) override;

 protected:
  // Gives gRPC the answer that RunOn made.
  virtual void Answer() = 0;

 private:
  void EndWith(const absl::Status& status) PGC_REQUIRES(mutex_);

  DumpPool& pool_;
  std::shared_ptr<UnaryDumpCall> self_;  // until OnDone
  Mutex mutex_;
  bool finished_ PGC_GUARDED_BY(mutex_) = false;
};

// Dump: all rows are one message.
class DumpCall final : public UnaryDumpCall, public DumpWriter {
 public:
  // `response` is that of the call.
  DumpCall(DumpPool& pool, size_t max_bytes, AgentDump dump, grpc::ByteBuffer& response);

  absl::Status RunOn(DumpServer& dump_server, std::stop_token stop) override;
  absl::Status Begin(const DumpHeader& header) override;
  absl::Status Rows(std::string_view changes, uint64_t count) override;

 protected:
  void Answer() override;

 private:
  const size_t max_bytes_;
  const AgentDump dump_;
  grpc::ByteBuffer& response_;
  std::vector<grpc::Slice> rows_;
  size_t bytes_ = 0;
};

class ListTablesCall final : public UnaryDumpCall {
 public:
  // `response` is that of the call.
  ListTablesCall(DumpPool& pool, pb::ListTablesResponse& response)
      : UnaryDumpCall(pool), response_(response) {}

  absl::Status RunOn(DumpServer& dump_server, std::stop_token stop) override;

 protected:
  void Answer() override;

 private:
  pb::ListTablesResponse& response_;
  std::vector<DumpTable> tables_;
};

}  // namespace pgc
