#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/background.h"
#include "base/mutex.h"
#include "event/block.h"
#include "event/store.h"
#include "gateway/attachment.h"
#include "gateway/capture_init.h"
#include "gateway/dump_feed.h"
#include "gateway/dump_injector.h"
#include "gateway/large_events.h"
#include "gateway/resolver.h"
#include "gateway/session_set.h"
#include "gateway/snapshot.h"
#include "gateway/splice.h"
#include "gateway/wake_queue.h"

namespace pgc {

// One call of `DBLogGateway.Capture`: sends a consumer the changes it wants and takes its
// acknowledgements (docs/contract.md, section 7).
//
//        Start            init                           half-close, error, cancelled, End
//   [new] ----> [waiting] ----> [attaching] ----> [attached] ----> [ended] ----> Finish, OnDone
//          refused or a wrong request: ------------------------------^
//
// Attaching asks whoever has the events and the dumps, who may be away, and so has a thread of its
// own; the next request is read when it is done.
//
// While attached it is either writing one message, or waiting for the store, or about to be woken;
// OnWriteDone and Wake lead to Pump, which goes on to the next of these three. One message at a
// time in flight is the flow control: gRPC says OnWriteDone when the consumer's window has let the
// message out, so a consumer that does not read costs one message and the block it is from.
// Requests are read one at a time all the while, whatever the writes do.
//
// Threads: gRPC calls the reactions from any of its threads, the wake queue calls Wake, the server
// End. One mutex lets one in at a time; it is held over calls of gRPC and of the consumer.
// That is safe because neither calls back into the session from within: gRPC runs the reactions
// of reads, writes and OnDone on its own threads, and the consumer's ready callback only pushes to
// the wake queue (see there). Nothing here waits for the consumer at the other end.
//
// Rows of dumps come from a DumpFeed, which wakes the session like the store does, and go out where
// the DumpInjector says.
//
// A consumer that asked for Batched gets as many of the events that are there as fit into a batch,
// from several blocks if need be; nothing waits for a batch to fill.
//
// Owner: the SessionSet, until OnDone, which gRPC calls after Finish and after every other
// reaction has returned. Wake and End hold a reference of their own. The store's consumer is
// given back when the session ends, not later, so that the next session of its subscription can
// have it, also while Finish waits for a write to be given up.
class CaptureSession final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                             public std::enable_shared_from_this<CaptureSession> {
 public:
  // All references outlive this; `context` is that of the call.
  CaptureSession(Resolver& resolver, WakeQueue& wakes, Background& background, SessionSet& sessions,
                 LargeEvents& large_events, grpc::CallbackServerContext& context);

  // Waits for init. Called once, or End instead.
  void Start();
  // Ends the call with `status`; later calls change nothing.
  void End(const absl::Status& status);
  // The consumer may have something.
  void Wake();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // Where the session is in the events of a block.
  struct Position {
    EventSlice slice;
    Block::Cursor cursor;
    std::vector<bool> wanted;  // per table of the block
    bool found = false;        // the cursor is at an event that is wanted and not sent yet

    // A change without a table is wanted, so that it is found to be none.
    bool Wants(uint32_t table) const { return table >= wanted.size() || wanted[table]; }
  };
  // What looking for what is to be sent next came to.
  enum class Found { kEvent, kRow, kNothingNow, kOthersTurn, kDumpIsAwaited };
  static bool IsSomething(Found found) { return found == Found::kEvent || found == Found::kRow; }

  absl::Status TakeRequest() PGC_REQUIRES(mutex_);
  absl::Status BeginAttaching(const pb::CaptureInit& init) PGC_REQUIRES(mutex_);
  bool TakeAttachment(absl::StatusOr<Attachment>& attachment);
  void StartStream() PGC_REQUIRES(mutex_);
  absl::Status TakeAck(const pb::CaptureAck& ack) PGC_REQUIRES(mutex_);
  absl::Status TakeAckOf(const pb::Checkpoint& checkpoint, const std::string& requeue_reason)
      PGC_REQUIRES(mutex_);
  absl::Status TakeAckOfDump(const pb::Checkpoint& checkpoint, const std::string& requeue_reason)
      PGC_REQUIRES(mutex_);
  void StartDumps() PGC_REQUIRES(mutex_);
  bool TellDumpsWhere() PGC_REQUIRES(mutex_);
  void Pump() PGC_REQUIRES(mutex_);
  grpc::WriteOptions OptionsOfWrite(Found what) PGC_REQUIRES(mutex_);
  absl::StatusOr<Found> WriteNext(size_t& budget) PGC_REQUIRES(mutex_);
  absl::StatusOr<Found> WriteBatch(size_t& budget) PGC_REQUIRES(mutex_);
  absl::Status WriteOne(Found what) PGC_REQUIRES(mutex_);
  absl::StatusOr<Found> FindNext(size_t& budget) PGC_REQUIRES(mutex_);
  absl::StatusOr<Found> FindInStream(size_t& budget) PGC_REQUIRES(mutex_);
  bool IsSendable(const ReplyPart& part) PGC_REQUIRES(mutex_);
  ReplyPart PartOfFound(Found what) PGC_REQUIRES(mutex_);
  void TakeFound(Found what) PGC_REQUIRES(mutex_);
  void Pass(const Event& event) PGC_REQUIRES(mutex_);
  absl::StatusOr<bool> FindInSlice() PGC_REQUIRES(mutex_);
  absl::StatusOr<bool> Wants(const Event& event) PGC_REQUIRES(mutex_);
  void MoveTo(EventSlice slice) PGC_REQUIRES(mutex_);
  void ReadDataOfFound() PGC_REQUIRES(mutex_);
  absl::Status CheckSize(const ReplyPart& part) PGC_REQUIRES(mutex_);
  void EndLocked(const absl::Status& status) PGC_REQUIRES(mutex_);
  void GiveBackConsumer() PGC_REQUIRES(mutex_);
  void FinishIfIdle() PGC_REQUIRES(mutex_);

  Resolver& resolver_;
  WakeQueue& wakes_;
  Background& background_;
  SessionSet& sessions_;
  LargeEvents& large_events_;
  grpc::CallbackServerContext& context_;
  const std::string peer_;

  Mutex mutex_;
  CaptureInit init_ PGC_GUARDED_BY(mutex_);
  bool has_init_ PGC_GUARDED_BY(mutex_) = false;
  Background::Work attaching_ PGC_GUARDED_BY(mutex_);
  // While attached, and where its dumps come from.
  std::unique_ptr<EventConsumer> consumer_ PGC_GUARDED_BY(mutex_);
  SnapshotOptions dump_source_ PGC_GUARDED_BY(mutex_);
  std::optional<Position> position_ PGC_GUARDED_BY(mutex_);
  // While attached, where there are dumps.
  std::shared_ptr<DumpFeed> feed_ PGC_GUARDED_BY(mutex_);
  std::optional<DumpInjector> dumps_ PGC_GUARDED_BY(mutex_);
  StreamPlace place_ PGC_GUARDED_BY(mutex_);  // without what is next
  std::string data_ PGC_GUARDED_BY(mutex_);   // of the last checkpoint, to reuse its memory
  // The first large event that was sent to a consumer that told no limit, until it is answered.
  std::optional<Checkpoint> large_ PGC_GUARDED_BY(mutex_);
  // Why no event after those that were found can be sent; not to be passed over.
  absl::Status failed_ PGC_GUARDED_BY(mutex_);
  uint64_t in_reply_ PGC_GUARDED_BY(mutex_) = 0;  // events in reply_
  bool writing_ PGC_GUARDED_BY(mutex_) = false;
  bool closing_ PGC_GUARDED_BY(mutex_) = false;  // the consumer, on another thread
  bool wake_is_due_ PGC_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> ended_ PGC_GUARDED_BY(mutex_);
  uint64_t delivered_ PGC_GUARDED_BY(mutex_) = 0;
  grpc::ByteBuffer request_ PGC_GUARDED_BY(mutex_);  // gRPC's from StartRead to OnReadDone
  grpc::ByteBuffer reply_ PGC_GUARDED_BY(mutex_);    // gRPC's from StartWrite to OnWriteDone
};

}  // namespace pgc
