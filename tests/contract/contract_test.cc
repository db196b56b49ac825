// What a consumer of today sees of our gateway: contract_consumer knows only the frozen copy of the
// contract, and the events are the bytes that an existing installation has stored.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "event/block.h"
#include "gateway/server.h"
#include "pgcapture.pb.h"
#include "store/memory_store.h"
#include "testing/change_log.h"
#include "testing/subprocess.h"

namespace pgc {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

// begin; insert (1,'one',null,12.50,true,'2026-01-02 03:04:05.678901+00','{"a": 1}','{1,2,NULL}');
// insert (2,'two'); update name='uno' where id=1; update id=3 where id=2; delete id=3; commit
constexpr const char* kBegin = "0a1308d08b81850210ca9bcc9afffec00118e5c611";
constexpr const char* kInsertOne =
    "1aaf0112067075626c69631a026731220c0a02696410171a0400000001220d0a046e616d6510191a036f6e6522080a"
    "046e6f7465101922140a016e10a40d1a0c0002000000000002000c138822090a026f6b10101a010122110a02617410"
    "a0091a080002ea5dbb1f6f3522120a026a7310da1d1a09017b2261223a20317d22320a0361727210ef071a28000000"
    "010000000100000017000000030000000100000004000000010000000400000002ffffffff";
constexpr const char* kInsertTwo =
    "1a5f12067075626c69631a026731220c0a02696410171a0400000002220d0a046e616d6510191a0374776f22080a04"
    "6e6f7465101922060a016e10a40d22060a026f6b101022070a02617410a00922070a026a7310da1d22080a03617272"
    "10ef07";
constexpr const char* kUpdateName =
    "1ab101080112067075626c69631a026731220c0a02696410171a0400000001220d0a046e616d6510191a03756e6f22"
    "080a046e6f7465101922140a016e10a40d1a0c0002000000000002000c138822090a026f6b10101a010122110a0261"
    "7410a0091a080002ea5dbb1f6f3522120a026a7310da1d1a09017b2261223a20317d22320a0361727210ef071a2800"
    "0000010000000100000017000000030000000100000004000000010000000400000002ffffffff";
constexpr const char* kUpdateKey =
    "1a6f080112067075626c69631a026731220c0a02696410171a0400000003220d0a046e616d6510191a0374776f2208"
    "0a046e6f7465101922060a016e10a40d22060a026f6b101022070a02617410a00922070a026a7310da1d22080a0361"
    "727210ef072a0c0a02696410171a0400000002";
constexpr const char* kDelete = "1a1c080212067075626c69631a0267312a0c0a02696410171a0400000003";
constexpr const char* kCommit = "121508d08b81850210808c81850218ca9bcc9afffec001";
constexpr uint64_t kLsn = 547'374'544;

std::shared_ptr<const Block> GoldenTransaction() {
  BlockBuilder builder;
  const uint32_t table = builder.AddTable({.schema = "public", .name = "g1"});
  uint32_t seq = 0;
  for (const char* hex :
       {kBegin, kInsertOne, kInsertTwo, kUpdateName, kUpdateKey, kDelete, kCommit}) {
    const std::string bytes = FromHex(hex);
    const auto kind = static_cast<EventKind>(bytes[0] >> 3);  // the field's number
    uint8_t* const out = builder.Add(kind, kind == EventKind::kChange ? table : Event::kNoTable,
                                     {.lsn = Lsn{kLsn}, .seq = seq}, bytes.size());
    std::copy(bytes.begin(), bytes.end(), out);
    ++seq;
  }
  return builder.Finish();
}

class ContractTest : public testing::Test {
 protected:
  ContractTest() {
    auto server = GatewayServer::Start({.address = "127.0.0.1:0"}, resolver_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  std::unique_ptr<Subprocess> Consume(const std::string& uri, int count,
                                      const std::string& regex = "-",
                                      const std::string& then = "ack") {
    auto consumer = Subprocess::Start({.args = {PGC_CONTRACT_CONSUMER, server_->address(), uri,
                                                std::to_string(count), regex, then},
                                       .environment = {},
                                       .directory = {}});
    EXPECT_TRUE(consumer.ok()) << consumer.status();
    EXPECT_TRUE((*consumer)->WaitForLine("attached", seconds(60)).has_value());
    return *std::move(consumer);
  }
  // Everything that it printed after "attached".
  static std::vector<std::string> Lines(Subprocess& consumer) {
    EXPECT_EQ(consumer.Wait(seconds(60)), 0) << consumer.errors();
    std::vector<std::string> lines = consumer.output_lines();
    if (!lines.empty()) lines.erase(lines.begin());
    return lines;
  }

  const std::unique_ptr<EventStore> store_ = NewMemoryStore();
  ChangeLog log_{*store_};
  StoreResolver resolver_{*store_};
  std::unique_ptr<GatewayServer> server_;
};

// The bytes of the reply to the `change`, which has this seq and this place in the topic.
std::string Reply(const std::string& change, const std::string& seq, const std::string& ordinal) {
  return "0a1208d08b81850210" + seq + "1a08" + ordinal + "12" + change.substr(2);
}

std::vector<std::string> Only(const std::vector<std::string>& lines, const std::string& word) {
  std::vector<std::string> found;
  for (const std::string& line : lines) {
    if (line.rfind(word + " ", 0) == 0) found.push_back(line.substr(word.size() + 1));
  }
  return found;
}

TEST_F(ContractTest, AConsumerGetsTheBytesThatAnExistingInstallationSends) {
  const auto consumer = Consume("pgcapture/a", 5);
  log_.Append({GoldenTransaction()});
  const std::vector<std::string> lines = Lines(*consumer);
  EXPECT_THAT(Only(lines, "bytes"), ElementsAre(Reply(kInsertOne, "01", "0000000000000001"),
                                                Reply(kInsertTwo, "02", "0000000000000002"),
                                                Reply(kUpdateName, "03", "0000000000000003"),
                                                Reply(kUpdateKey, "04", "0000000000000004"),
                                                Reply(kDelete, "05", "0000000000000005")));
  EXPECT_THAT(Only(lines, "unknown fields"), ElementsAre("0", "0", "0", "0", "0"));
  EXPECT_THAT(Only(lines, "same bytes"), ElementsAre("1", "1", "1", "1", "1"));
  EXPECT_THAT(Only(lines, "status"), ElementsAre("0 "));
}

TEST_F(ContractTest, AConsumerReadsEveryField) {
  const auto consumer = Consume("pgcapture/a", 5);
  log_.Append({GoldenTransaction()});
  std::vector<std::string> lines = Lines(*consumer);
  std::erase_if(lines, [](const std::string& line) {
    return line.rfind("bytes ", 0) == 0 || line.rfind("same ", 0) == 0 ||
           line.rfind("unknown ", 0) == 0;
  });
  const char* const kArray =
      "binary 000000010000000100000017000000030000000100000004000000010000000400000002ffffffff";
  EXPECT_THAT(
      lines,
      ElementsAre(
          "checkpoint 547374544 1 0000000000000001", "change INSERT public g1",
          "  new id 23 binary 00000001", "  new name 25 binary 6f6e65", "  new note 25 null",
          "  new n 1700 binary 0002000000000002000c1388", "  new ok 16 binary 01",
          "  new at 1184 binary 0002ea5dbb1f6f35", "  new js 3802 binary 017b2261223a20317d",
          std::string("  new arr 1007 ") + kArray, "checkpoint 547374544 2 0000000000000002",
          "change INSERT public g1", "  new id 23 binary 00000002", "  new name 25 binary 74776f",
          "  new note 25 null", "  new n 1700 null", "  new ok 16 null", "  new at 1184 null",
          "  new js 3802 null", "  new arr 1007 null", "checkpoint 547374544 3 0000000000000003",
          "change UPDATE public g1", "  new id 23 binary 00000001", "  new name 25 binary 756e6f",
          "  new note 25 null", "  new n 1700 binary 0002000000000002000c1388",
          "  new ok 16 binary 01", "  new at 1184 binary 0002ea5dbb1f6f35",
          "  new js 3802 binary 017b2261223a20317d", std::string("  new arr 1007 ") + kArray,
          "checkpoint 547374544 4 0000000000000004", "change UPDATE public g1",
          "  new id 23 binary 00000003", "  new name 25 binary 74776f", "  new note 25 null",
          "  new n 1700 null", "  new ok 16 null", "  new at 1184 null", "  new js 3802 null",
          "  new arr 1007 null", "  old id 23 binary 00000002",
          "checkpoint 547374544 5 0000000000000005", "change DELETE public g1",
          "  old id 23 binary 00000003", "status 0 "));
}

TEST_F(ContractTest, WhatAConsumerAcknowledgedDoesNotComeAgainAndTheRestDoes) {
  const auto first = Consume("pgcapture/a", 3);
  log_.Append({GoldenTransaction()});
  EXPECT_THAT(Only(Lines(*first), "status"), ElementsAre("0 "));
  const auto second = Consume("pgcapture/a", 2, "-", "none");
  EXPECT_THAT(Only(Lines(*second), "checkpoint"),
              ElementsAre("547374544 4 0000000000000004", "547374544 5 0000000000000005"));
  const auto third = Consume("pgcapture/a", 2);
  EXPECT_THAT(Only(Lines(*third), "checkpoint"),
              ElementsAre("547374544 4 0000000000000004", "547374544 5 0000000000000005"));
}

TEST_F(ContractTest, ARequeuedChangeComesAgainAsItWas) {
  const auto consumer = Consume("pgcapture/a", 10, "-", "requeue");
  log_.Append({GoldenTransaction()});
  const std::vector<std::string> bytes = Only(Lines(*consumer), "bytes");
  ASSERT_EQ(bytes.size(), 10U);
  EXPECT_EQ(std::vector<std::string>(bytes.begin(), bytes.begin() + 5),
            std::vector<std::string>(bytes.begin() + 5, bytes.end()));
}

TEST_F(ContractTest, TheTableRegexIsNotAnchoredAndLooksAtTheBareName) {
  const auto consumer = Consume("pgcapture/a", 2, "der");
  log_.Insert({{.table = "orders", .id = 1, .note = ""},
               {.table = "people", .id = 2, .note = ""},
               {.table = "public", .id = 3, .note = ""},
               {.table = "border", .id = 4, .note = ""}});
  EXPECT_THAT(Only(Lines(*consumer), "change"),
              ElementsAre("INSERT public orders", "INSERT public border"));
}

TEST_F(ContractTest, ErrorsHaveTheCodesOfTheContract) {
  EXPECT_THAT(Only(Lines(*Consume("nowhere", 1)), "status"),
              ElementsAre(testing::StartsWith("5 unknown uri 'nowhere'")));
  EXPECT_THAT(Only(Lines(*Consume("", 1)), "status"), ElementsAre(testing::StartsWith("3 ")));
  EXPECT_THAT(Only(Lines(*Consume("pgcapture/a", 1, "a(b")), "status"),
              ElementsAre(testing::StartsWith("3 ")));
}

// --- the proto itself

std::string Describe(const google::protobuf::FieldDescriptor& field) {
  std::string type = field.type_name();
  if (field.message_type() != nullptr) type = field.message_type()->full_name();
  if (field.enum_type() != nullptr) type = field.enum_type()->full_name();
  const auto* const oneof = field.real_containing_oneof();
  return field.full_name() + " = " + std::to_string(field.number()) + " " + type +
         (field.is_repeated() ? " repeated" : "") +
         (oneof != nullptr ? " in " + oneof->full_name() : "");
}

void ExpectIn(const google::protobuf::Descriptor& frozen,
              const google::protobuf::DescriptorPool& ours) {
  const auto* const message = ours.FindMessageTypeByName(frozen.full_name());
  ASSERT_NE(message, nullptr) << frozen.full_name();
  for (int i = 0; i < frozen.field_count(); ++i) {
    const auto* const field = message->FindFieldByNumber(frozen.field(i)->number());
    ASSERT_NE(field, nullptr) << Describe(*frozen.field(i));
    EXPECT_EQ(Describe(*field), Describe(*frozen.field(i)));
  }
  for (int i = 0; i < message->field_count(); ++i) {
    const auto& field = *message->field(i);
    EXPECT_TRUE(frozen.FindFieldByNumber(field.number()) != nullptr || field.number() >= 20)
        << Describe(field) << ": additions start at 20";
  }
}

TEST(ContractProto, EveryFieldAndMethodOfTheContractIsInOursAndAdditionsStartAt20) {
  std::ifstream file(PGC_FROZEN_DESCRIPTORS, std::ios::binary);
  google::protobuf::FileDescriptorSet files;
  ASSERT_TRUE(files.ParseFromIstream(&file));
  google::protobuf::DescriptorPool pool;
  for (const auto& one : files.file()) ASSERT_NE(pool.BuildFile(one), nullptr) << one.name();
  const auto* const frozen = pool.FindFileByName("frozen.proto");
  ASSERT_NE(frozen, nullptr);
  const auto& ours = *google::protobuf::DescriptorPool::generated_pool();
  ASSERT_GT(frozen->message_type_count(), 20);
  for (int i = 0; i < frozen->message_type_count(); ++i) {
    ExpectIn(*frozen->message_type(i), ours);
  }
  ASSERT_EQ(frozen->service_count(), 3);
  for (int i = 0; i < frozen->service_count(); ++i) {
    const auto* const service = ours.FindServiceByName(frozen->service(i)->full_name());
    ASSERT_NE(service, nullptr) << frozen->service(i)->full_name();
    for (int j = 0; j < frozen->service(i)->method_count(); ++j) {
      const auto& method = *frozen->service(i)->method(j);
      const auto* const our = service->FindMethodByName(method.name());
      ASSERT_NE(our, nullptr) << method.full_name();
      EXPECT_EQ(our->DebugString(), method.DebugString());
    }
  }
}

}  // namespace
}  // namespace pgc
