#include "gateway/dump_rows.h"

#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <set>
#include <string>
#include <vector>

namespace pgc {
namespace {

// In so many slices, as it may come from a connection.
grpc::ByteBuffer BufferOf(const std::string& bytes, size_t slices) {
  std::vector<grpc::Slice> parts;
  for (size_t i = 0; i < slices; ++i) {
    const size_t begin = bytes.size() * i / slices;
    parts.emplace_back(bytes.substr(begin, bytes.size() * (i + 1) / slices - begin));
  }
  return {parts.data(), parts.size()};
}

pb::Change Row(const std::string& note) {
  pb::Change change;
  change.set_op(pb::Change::UPDATE);
  change.set_schema("public");
  change.set_table("t");
  pb::Field& field = *change.add_new_();
  field.set_name("note");
  field.set_binary(note);
  return change;
}

TEST(DumpRows, HaveTheBytesOfAnAnswerHoweverItsSlicesAreCut) {
  for (const size_t size : {0U, 5U, 300U, 1'000'000U}) {
    pb::AgentDumpResponse answer;
    answer.set_applied_lsn(77);
    for (int i = 0; i < 3; ++i) *answer.add_change() = Row(std::string(size, 'x'));
    answer.set_last(true);
    const std::string bytes = answer.SerializeAsString();
    for (const size_t slices : {1U, 2U, 7U}) {
      auto part = ReadPagesPart(BufferOf(bytes, slices));
      ASSERT_TRUE(part.ok()) << part.status();
      // The rows stay where they are when what holds them is moved.
      const PagesPart moved = *std::move(part);
      EXPECT_EQ(moved.answer.applied, Lsn{77});
      EXPECT_TRUE(moved.last);
      ASSERT_EQ(moved.rows.rows.size(), 3U);
      for (const auto row : moved.rows.rows) {
        const auto change = ChangeOf(row);
        pb::Change parsed;
        ASSERT_TRUE(parsed.ParseFromArray(change.data(), static_cast<int>(change.size())));
        EXPECT_EQ(parsed.SerializeAsString(), Row(std::string(size, 'x')).SerializeAsString());
      }
    }
  }
}

TEST(DumpRows, OfAnEmptyAnswerAreNone) {
  const auto part = ReadPagesPart(BufferOf("", 1));
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_TRUE(part->rows.rows.empty());
  EXPECT_FALSE(part->last);
}

TEST(DumpRows, OfBytesThatAreNoAnswerAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(ReadPagesPart(BufferOf("\xFF", 1)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadDumpChange(BufferOf("\xFF", 1)).status()));
}

TEST(DumpRows, OfAChangeAloneAreItsLengthAndItsBytes) {
  for (const size_t size : {0U, 5U, 300U, 1'000'000U}) {
    const std::string bytes = Row(std::string(size, 'x')).SerializeAsString();
    const auto part = ReadDumpChange(BufferOf(bytes, 3));
    ASSERT_TRUE(part.ok()) << part.status();
    ASSERT_EQ(part->rows.rows.size(), 1U);
    const auto change = ChangeOf(part->rows.rows[0]);
    EXPECT_TRUE(std::string(change.begin(), change.end()) == bytes) << size;
    EXPECT_FALSE(part->last);
  }
}

// --- the number of a dump

pb::DumpInfoResponse Info(const std::string& schema, const std::string& table, uint32_t begin,
                          uint32_t end) {
  pb::DumpInfoResponse info;
  info.set_schema(schema);
  info.set_table(table);
  info.set_page_begin(begin);
  info.set_page_end(end);
  return info;
}

uint32_t Crc(const std::string& bytes) {
  return static_cast<uint32_t>(crc32(crc32(0, nullptr, 0),
                                     reinterpret_cast<const Bytef*>(bytes.data()),
                                     static_cast<uInt>(bytes.size())));
}

TEST(DumpId, IsTheCrcOfSchemaTableAndPagesAsGoHasIt) {
  EXPECT_EQ(DumpId(Info("public", "t", 0, 9)), 963540812U);
  EXPECT_EQ(DumpId(Info("public", "orders", 128, 4'294'967'295)), 1798404527U);
  EXPECT_EQ(DumpId(Info("", "", 0, 0)), 1696784233U);
  EXPECT_EQ(DumpId(Info("public", "t", 0x01020304, 0x05060708)),
            Crc("publict\x01\x02\x03\x04\x05\x06\x07\x08"));
}

TEST(DumpId, DoesNotDependOnWhatChangesNoRow) {
  pb::DumpInfoResponse info = Info("public", "t", 0, 9);
  const uint32_t id = DumpId(info);
  info.set_job(7);
  info.set_server("77");
  info.set_relfilenode(16'384);
  info.set_sweep_from(500);
  EXPECT_EQ(DumpId(info), id);
}

TEST(DumpId, GoesOnOverWhatChangesTheRows) {
  const std::string plain("publict\0\0\0\0\0\0\0\x09", 15);
  std::set<uint32_t> ids = {Crc(plain)};
  pb::DumpInfoResponse info = Info("public", "t", 0, 9);
  info.set_where("id > 5");
  EXPECT_EQ(DumpId(info), Crc(plain + "id > 5"));
  EXPECT_TRUE(ids.insert(DumpId(info)).second);
  info.add_columns("id");
  info.add_columns("note");
  EXPECT_EQ(DumpId(info), Crc(plain + "id > 5idnote"));
  EXPECT_TRUE(ids.insert(DumpId(info)).second);
  info.add_keys("(1)");
  EXPECT_EQ(DumpId(info), Crc(plain + "id > 5idnote(1)"));
  EXPECT_TRUE(ids.insert(DumpId(info)).second);
  info.set_sweep(true);
  EXPECT_TRUE(ids.insert(DumpId(info)).second);
}

}  // namespace
}  // namespace pgc
