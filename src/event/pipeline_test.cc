#include "event/pipeline.h"

#include <gtest/gtest.h>

#include <deque>

namespace pgc {
namespace {

class FakeSource : public EventSource {
 public:
  absl::Status Open(const ResumePoint& resume, std::stop_token) override {
    resumed = resume;
    return open;
  }
  absl::StatusOr<EventBatch> Next(std::stop_token stop) override {
    if (batches.empty()) {
      if (end.ok()) {
        stopper.request_stop();
        EXPECT_TRUE(stop.stop_requested());
        return absl::CancelledError("stopped");
      }
      return end;
    }
    EventBatch batch = std::move(batches.front());
    batches.pop_front();
    return batch;
  }
  void Acknowledge(Lsn captured) override { acknowledged.push_back(captured); }

  absl::Status open;
  absl::Status end;  // what comes after the batches; ok: a stop
  std::deque<EventBatch> batches;
  std::stop_source stopper;
  ResumePoint resumed;
  std::vector<Lsn> acknowledged;
};

class FakeSink : public EventSink {
 public:
  absl::StatusOr<ResumePoint> Open(DurableCallback callback) override {
    durable = std::move(callback);
    return resume;
  }
  absl::Status Append(EventBatch batch) override {
    if (batch.captured >= refuse_from) return absl::FailedPreconditionError("disk full");
    durable(batch.captured);
    return absl::OkStatus();
  }

  ResumePoint resume;
  Lsn refuse_from{UINT64_MAX};
  DurableCallback durable;
};

EventBatch UpTo(uint64_t lsn) { return {.blocks = {}, .captured = Lsn{lsn}, .origin = ""}; }

TEST(Pipeline, ResumesTheSourceWhereTheSinkStopped) {
  FakeSource source;
  FakeSink sink;
  sink.resume = {.last = {.lsn = Lsn{7}, .seq = 3}, .captured = Lsn{8}, .origin = "here"};
  int started = 0;
  EXPECT_TRUE(RunPipeline(source, sink, source.stopper.get_token(), [&] { ++started; }).ok());
  EXPECT_EQ(source.resumed.last, sink.resume.last);
  EXPECT_EQ(source.resumed.captured, Lsn{8});
  EXPECT_EQ(source.resumed.origin, "here");
  EXPECT_EQ(started, 1);
}

TEST(Pipeline, ConfirmsNothingThatTheSinkRefused) {
  FakeSource source;
  source.batches.push_back(UpTo(1));
  source.batches.push_back(UpTo(2));
  source.batches.push_back(UpTo(3));
  FakeSink sink;
  sink.refuse_from = Lsn{2};
  const absl::Status status = RunPipeline(source, sink, source.stopper.get_token());
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(source.acknowledged, std::vector<Lsn>{Lsn{1}});
}

TEST(Pipeline, ReturnsWhyTheSourceFailed) {
  FakeSource source;
  source.end = absl::UnavailableError("server restarts");
  FakeSink sink;
  EXPECT_TRUE(absl::IsUnavailable(RunPipeline(source, sink, source.stopper.get_token())));
}

TEST(Pipeline, ACancelledSourceThatNobodyStoppedIsAFailure) {
  FakeSource source;
  source.end = absl::CancelledError("on its own");
  FakeSink sink;
  EXPECT_TRUE(absl::IsCancelled(RunPipeline(source, sink, source.stopper.get_token())));
}

TEST(Pipeline, DoesNotStartWithoutASource) {
  FakeSource source;
  source.open = absl::FailedPreconditionError("wal_level");
  FakeSink sink;
  bool started = false;
  EXPECT_FALSE(RunPipeline(source, sink, source.stopper.get_token(), [&] { started = true; }).ok());
  EXPECT_FALSE(started);
}

}  // namespace
}  // namespace pgc
