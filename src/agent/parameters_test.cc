#include "agent/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "agent/dump_request.h"
#include "agent/store_provider.h"
#include "testing/temp_dir.h"

namespace pgc {
namespace {

using google::protobuf::Struct;
using testing::ElementsAre;
using testing::HasSubstr;

Struct Of(const std::vector<std::pair<std::string, std::string>>& texts) {
  Struct parameters;
  for (const auto& [key, text] : texts) {
    (*parameters.mutable_fields())[key].set_string_value(text);
  }
  return parameters;
}

Struct Capture() {
  return Of({{"Command", "pg2pulsar"},
             {"PGConnURL", "postgres://a@h/db"},
             {"PGReplURL", "postgres://a@h/db?replication=database"},
             {"PulsarURL", "/data"},
             {"PulsarTopic", "persistent://a/b/c"},
             {"DecodePlugin", "pgoutput"}});
}

Struct Apply() {
  return Of({{"Command", "pulsar2pg"},
             {"PGConnURL", "postgres://a@h/db"},
             {"PulsarURL", "/data"},
             {"PulsarTopic", "persistent://a/b/c"}});
}

std::string ErrorOf(const Struct& parameters) {
  const auto read = ReadParameters(parameters);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(read.status().message());
}

TEST(ParametersTest, TheErrorNamesTheRequiredOneThatIsMissing) {
  EXPECT_THAT(ErrorOf(Struct()), HasSubstr("Command"));
  for (const Struct& all : {Capture(), Apply()}) {
    ASSERT_TRUE(ReadParameters(all).ok()) << ReadParameters(all).status();
    for (const auto& [key, value] : all.fields()) {
      Struct without = all;
      without.mutable_fields()->erase(key);
      EXPECT_THAT(ErrorOf(without), HasSubstr(key));
      (*without.mutable_fields())[key].set_string_value("");
      EXPECT_THAT(ErrorOf(without), HasSubstr(key));
      (*without.mutable_fields())[key].set_null_value(google::protobuf::NULL_VALUE);
      EXPECT_THAT(ErrorOf(without), HasSubstr(key));
      (*without.mutable_fields())[key].set_number_value(7);
      EXPECT_THAT(ErrorOf(without), HasSubstr(key));
    }
  }
}

TEST(ParametersTest, ReadsWhatTheGoProgramSends) {
  Struct parameters = Capture();
  auto& fields = *parameters.mutable_fields();
  fields["Tables"].set_string_value("public.a, s.b,,c");
  fields["StartLSN"].set_string_value("0/1A");
  fields["PulsarTracker"].set_string_value("pulsarSub");
  fields["PulsarTrackerInterval"].set_string_value("1m30s");
  fields["PulsarTrackerReplicateState"].set_string_value("true");
  const auto read = ReadParameters(parameters);
  ASSERT_TRUE(read.ok()) << read.status();
  const auto& capture = std::get<CaptureParameters>(*read);
  EXPECT_EQ(capture.store.url, "/data");
  EXPECT_EQ(capture.store.tracker_interval, std::chrono::seconds(90));
  EXPECT_EQ(capture.source.topic, "persistent://a/b/c");
  EXPECT_EQ(capture.source.url, "postgres://a@h/db");
  EXPECT_EQ(capture.source.replication_url, "postgres://a@h/db?replication=database");
  EXPECT_EQ(capture.start, Lsn{0x1A});
  EXPECT_THAT(capture.source.tables, ElementsAre("public.a", "s.b", "c"));
  fields["PulsarTrackerReplicateState"].set_bool_value(true);
  const auto interval = [&parameters] {
    const auto again = ReadParameters(parameters);
    EXPECT_TRUE(again.ok()) << again.status();
    return std::get<CaptureParameters>(*again).store.tracker_interval;
  };
  fields.erase("PulsarTrackerInterval");
  EXPECT_EQ(interval(), std::chrono::minutes(1));
  fields["PulsarTracker"].set_string_value("pulsar");
  EXPECT_EQ(interval(), std::chrono::minutes(0));
}

TEST(ParametersTest, ASinkHasTheSourceIdOfTheContract) {
  Struct parameters = Apply();
  (*parameters.mutable_fields())["PulsarTopic"].set_string_value("persistent://public/a/b-c");
  (*parameters.mutable_fields())["BatchTxSize"].set_number_value(100);
  (*parameters.mutable_fields())["PGLogPath"].set_string_value("/log");
  const auto read = ReadParameters(parameters);
  ASSERT_TRUE(read.ok()) << read.status();
  const auto& apply = std::get<ApplyParameters>(*read);
  EXPECT_EQ(apply.source_id, "a_b_c");
  EXPECT_EQ(apply.pg_log_path, "/log");
}

TEST(ParametersTest, GarbageIsNamed) {
  const auto with = [](Struct parameters, const char* key, const auto& set) {
    set((*parameters.mutable_fields())[key]);
    return ErrorOf(parameters);
  };
  const auto text = [](const char* value) {
    return [value](google::protobuf::Value& field) { field.set_string_value(value); };
  };
  const auto number = [](double value) {
    return [value](google::protobuf::Value& field) { field.set_number_value(value); };
  };
  const auto list = [](google::protobuf::Value& field) { field.mutable_list_value(); };
  EXPECT_THAT(with(Capture(), "Command", text("pulsar2pulsar")), HasSubstr("pulsar2pulsar"));
  EXPECT_THAT(with(Capture(), "PGConnURL", text("db")), HasSubstr("PGConnURL"));
  EXPECT_THAT(with(Capture(), "PGConnURL", list), HasSubstr("PGConnURL"));
  EXPECT_THAT(with(Capture(), "DecodePlugin", text("wal2json")), HasSubstr("DecodePlugin"));
  EXPECT_THAT(with(Capture(), "StartLSN", text("1-2")), HasSubstr("StartLSN"));
  EXPECT_THAT(with(Capture(), "PulsarTracker", text("x")), HasSubstr("PulsarTracker"));
  EXPECT_THAT(with(Capture(), "PulsarTrackerInterval", text("x")), HasSubstr("TrackerInterval"));
  EXPECT_THAT(with(Capture(), "PulsarTrackerReplicateState", text("x")), HasSubstr("Replicate"));
  EXPECT_THAT(with(Capture(), "PulsarTrackerReplicateState", number(1)), HasSubstr("Replicate"));
  EXPECT_THAT(with(Capture(), "Tables", list), HasSubstr("Tables"));
  for (const double wrong : {-1.0, 1.5, 1e300}) {
    EXPECT_THAT(with(Apply(), "BatchTxSize", number(wrong)), HasSubstr("BatchTxSize"));
  }
  EXPECT_THAT(with(Apply(), "BatchTxSize", text("1x")), HasSubstr("BatchTxSize"));
  EXPECT_LT(with(Capture(), "Command", text(std::string(1'000'000, 'x').c_str())).size(), 300);
}

TEST(ParametersTest, TheReportHasNoPassword) {
  Struct parameters = Of({{"PGConnURL", "postgres://a:secret@h/db"}, {"Other", "password=secret"}});
  auto& nested = *(*parameters.mutable_fields())["Deep"].mutable_struct_value()->mutable_fields();
  nested["list"].mutable_list_value()->add_values()->set_string_value("postgres://a:secret@h");
  const Struct masked = MaskParameters(parameters);
  EXPECT_THAT(masked.DebugString(), testing::Not(HasSubstr("secret")));
  EXPECT_EQ(masked.fields().at("PGConnURL").string_value(), "postgres://a:***@h/db");
}

TEST(ParametersTest, DurationsAreThoseOfGo) {
  using std::chrono::nanoseconds;
  for (const auto& [text, ns] :
       std::vector<std::pair<std::string, int64_t>>{{"0", 0},
                                                    {"+0", 0},
                                                    {"1m30s", 90'000'000'000},
                                                    {"1.5h", 5'400'000'000'000},
                                                    {".5s", 500'000'000},
                                                    {"5.s", 5'000'000'000},
                                                    {"1us", 1'000},
                                                    {"1\u00B5s", 1'000},
                                                    {"1\u03BCs", 1'000},
                                                    {"250ms", 250'000'000},
                                                    {"3ns", 3}}) {
    EXPECT_EQ(ParseGoDuration(text).value_or(nanoseconds(-1)), nanoseconds(ns)) << text;
  }
  for (const char* wrong :
       {"", "+", "1", "s", "1x", "1..5s", ".s", "1 s", "-1s", "1s ", "9e9h", "99999999999h"}) {
    EXPECT_FALSE(ParseGoDuration(wrong).ok()) << wrong;
  }
}

TEST(DumpRequestTest, AServerIsADecimalNumber) {
  pb::AgentDumpRequest request;
  EXPECT_EQ(ReadAgentDump(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.mutable_info();
  EXPECT_EQ(ReadAgentDump(request).status().code(), absl::StatusCode::kNotFound);
  request.mutable_info()->set_table("t");
  EXPECT_EQ(ReadAgentDump(request)->server, std::nullopt);
  request.mutable_info()->set_server("18446744073709551615");
  EXPECT_EQ(ReadAgentDump(request)->server, UINT64_MAX);
  for (const char* wrong : {"x", "18446744073709551616", "-1", "1 ", " 1"}) {
    request.mutable_info()->set_server(wrong);
    EXPECT_EQ(ReadAgentDump(request).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

TEST(DumpRequestTest, EveryTruncationOfARowIsNoRow) {
  pb::AgentDumpResponse rows;
  rows.add_change()->set_table(std::string(300, 't'));
  rows.add_change()->set_table("u");
  const std::string bytes = rows.SerializeAsString();
  size_t prefix = 0;
  const auto change = FirstChange(bytes, &prefix);
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(*change, rows.change(0).SerializeAsString());
  EXPECT_EQ(prefix, 3u);
  for (size_t size = 0; size < prefix + change->size(); ++size) {
    EXPECT_FALSE(FirstChange(std::string_view(bytes).substr(0, size), &prefix).has_value()) << size;
  }
  EXPECT_FALSE(FirstChange("\x12\x01x", &prefix).has_value());
  EXPECT_FALSE(FirstChange("\x0A\xFF\xFF\xFF\xFF\xFF\xFF", &prefix).has_value());
}

TEST(StoreProviderTest, ADirectoryHasOneStoreHoweverItIsWritten) {
  const TempDir folder;
  const StoreProvider stores = EmbeddedStores();
  const std::string dir = folder.path() / "log";
  const auto first = stores({.url = dir});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->spool_dir, std::filesystem::weakly_canonical(dir) / "spool");
  for (const std::string& same : {dir, dir + "/", "file://" + dir, dir + "/../log"}) {
    const auto again = stores({.url = same});
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->store, first->store) << same;
  }
}

TEST(StoreProviderTest, AStoreThatNobodyUsesIsClosed) {
  const TempDir folder;
  ASSERT_TRUE(EmbeddedStores()({.url = folder.path()}).ok());
  // Another process could have it now; this one opens it anew.
  ASSERT_TRUE(EmbeddedStores()({.url = folder.path()}).ok());
}

TEST(StoreProviderTest, OtherUrlsAreRefusedByName) {
  const StoreProvider stores = AllStores("/nowhere/libpulsar.so");
  EXPECT_EQ(stores({.url = "pulsar://h:6650"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  for (const char* wrong : {"data", "http://h", "file://data", ""}) {
    EXPECT_EQ(stores({.url = wrong}).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
  EXPECT_EQ(stores({.url = "/proc/nothing/here"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace pgc
