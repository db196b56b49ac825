#include "event/message_views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "event/wire_testing.h"

namespace pgc {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using wire::Bytes;
using wire::Field;
using wire::Number;

const std::string kCheckpoint = Field(1, Number(1, 0x100) + Number(2, 7) + Field(3, "data"));
const std::string kNew =
    Field(4, Field(1, "id") + Number(2, 23) + Field(3, std::string("\0\0\0\1", 4)));
const std::string kNull = Field(4, Field(1, "gone") + Number(2, 25));
const std::string kOld = Field(5, Field(1, "id") + Number(2, 23) + Field(4, "2"));

std::string Change(std::string_view table, std::string_view fields) {
  return Field(2, Number(1, 1) + Field(2, "public") + Field(3, table) + std::string(fields));
}

// "t(id,gone|id)": the names of what is new and old.
std::string Describe(const MessageView& message) {
  std::string text(message.change.table);
  text += '(';
  for (const FieldView& field : message.change.new_fields) text.append(field.name) += ',';
  text += '|';
  for (const FieldView& field : message.change.old_fields) text.append(field.name) += ',';
  return text += ')';
}

std::vector<std::string> Describe(const MessageViews& views) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < views.size(); ++i) texts.push_back(Describe(views[i]));
  return texts;
}

TEST(MessageViews, AChangeHasItsColumnsAndKnowsNullFromAnEmptyValue) {
  MessageViews views;
  const std::string empty = Field(4, Field(1, "note") + Number(2, 25) + Field(3, ""));
  const std::string bytes = kCheckpoint + Change("t", kNew + kOld + kNull + empty) + Number(20, 99);
  ASSERT_TRUE(views.Parse(Bytes(bytes)).ok());
  ASSERT_EQ(views.size(), 1U);
  const MessageView& message = views[0];
  EXPECT_EQ(message.lsn.value, 0x100U);
  EXPECT_EQ(message.seq, 7U);
  EXPECT_EQ(message.data, "data");
  EXPECT_EQ(Field(1, message.checkpoint), kCheckpoint);
  EXPECT_EQ(message.dump_lsn.value, 99U);
  EXPECT_EQ(message.kind, EventKind::kChange);
  EXPECT_EQ(message.change.operation, Operation::kUpdate);
  EXPECT_EQ(message.change.schema, "public");
  EXPECT_EQ(Describe(message), "t(id,gone,note,|id,)");
  const auto& fields = message.change.new_fields;
  EXPECT_EQ(fields[0].type_oid, 23U);
  EXPECT_EQ(fields[0].kind, FieldValue::Kind::kBinary);
  EXPECT_EQ(fields[0].value, std::string_view("\0\0\0\1", 4));
  EXPECT_EQ(fields[1].kind, FieldValue::Kind::kNull);
  EXPECT_EQ(fields[2].kind, FieldValue::Kind::kBinary);
  EXPECT_EQ(fields[2].value, "");
  EXPECT_EQ(message.change.old_fields[0].kind, FieldValue::Kind::kText);
  EXPECT_EQ(message.change.old_fields[0].value, "2");
}

TEST(MessageViews, ThoseBehindTheFirstHaveTheirOwnColumnsWhereverTheyStandInIt) {
  const std::string second = Field(25, kCheckpoint + Change("u", kNew));
  const std::string third = Field(25, kCheckpoint + Change("v", kOld + kNull));
  MessageViews views;
  const auto expected = ElementsAre("t(|id,)", "u(id,|)", "v(gone,|id,)");
  const std::string own = kCheckpoint + Change("t", kOld);
  const std::string behind = own + second + third;
  ASSERT_TRUE(views.Parse(Bytes(behind)).ok());
  EXPECT_THAT(Describe(views), expected);
  const std::string before = second + third + own;
  ASSERT_TRUE(views.Parse(Bytes(before)).ok());
  EXPECT_THAT(Describe(views), expected);
}

TEST(MessageViews, WhatIsNoChangeIsItsBytes) {
  MessageViews views;
  const std::string begin =
      kCheckpoint + Field(21, Number(3, 5)) + Field(25, Field(24, Field(1, "app")));
  ASSERT_TRUE(views.Parse(Bytes(begin)).ok());
  ASSERT_EQ(views.size(), 2U);
  EXPECT_EQ(views[0].kind, EventKind::kBegin);
  EXPECT_EQ(views[0].content, Number(3, 5));
  EXPECT_EQ(views[1].kind, EventKind::kLogicalMessage);
  EXPECT_EQ(views[1].lsn.value, 0U);
  EXPECT_THAT(views[0].change.new_fields, IsEmpty());
}

TEST(MessageViews, WhatIsUnknownIsPassedOver) {
  MessageViews views;
  const std::string bytes = Field(99, "later") + kCheckpoint + Number(98, 1) +
                            Change("t", Number(97, 2) + Field(4, Field(1, "id") + Field(96, "x")));
  ASSERT_TRUE(views.Parse(Bytes(bytes)).ok());
  EXPECT_THAT(Describe(views), ElementsAre("t(id,|)"));
}

TEST(MessageViews, WhatIsNoMessageIsRefusedAndLeavesNone) {
  MessageViews views;
  const std::string whole = kCheckpoint + Change("t", kNew);
  const std::string more = Field(25, whole);
  for (const std::string& bytes :
       {whole.substr(0, whole.size() - 1), whole + kCheckpoint, whole + Field(21, ""),
        whole + Field(25, more), std::string("\0\0", 2), Field(1, "x"), Field(2, Field(4, "x")),
        Field(2, Number(1, 3)), whole + '\x0b'}) {
    ASSERT_TRUE(views.Parse(Bytes(whole)).ok());
    EXPECT_TRUE(absl::IsInvalidArgument(views.Parse(Bytes(bytes))))
        << testing::PrintToString(bytes);
    EXPECT_EQ(views.size(), 0U);
  }
  EXPECT_TRUE(views.Parse(Bytes("")).ok());
  EXPECT_EQ(views.size(), 1U);
}

}  // namespace
}  // namespace pgc
