#include "client/message_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace pgc {
namespace {

constexpr uint32_t kInt4 = 23;
constexpr uint32_t kText = 25;

class MessageTextTest : public testing::Test {
 protected:
  MessageTextTest() {
    message_.mutable_checkpoint()->set_lsn(0x16B3748);
    message_.mutable_checkpoint()->set_seq(26);
    message_.mutable_change()->set_schema("public");
    message_.mutable_change()->set_table("t");
  }
  static void SetBinary(pb::Field* field, const std::string& name, uint32_t oid,
                        const std::string& value) {
    field->set_name(name);
    field->set_oid(oid);
    field->set_binary(value);
  }
  void New(const std::string& name, uint32_t oid, const std::string& value) {
    SetBinary(message_.mutable_change()->add_new_(), name, oid, value);
  }
  void Old(const std::string& name, uint32_t oid, const std::string& value) {
    SetBinary(message_.mutable_change()->add_old(), name, oid, value);
  }

  pb::CaptureMessage message_;
};

const std::string kOne("\0\0\0\1", 4);
const std::string kTwo("\0\0\0\2", 4);

TEST_F(MessageTextTest, AnInsert) {
  New("id", kInt4, kOne);
  New("name", kText, "it's");
  message_.mutable_change()->add_new_()->set_name("note");
  EXPECT_EQ(MessageToJson(message_),
            R"({"lsn":"0/16B3748","seq":26,"op":"INSERT","schema":"public","table":"t",)"
            R"("new":{"id":1,"name":"it's","note":null},"old":{}})");
  EXPECT_EQ(MessageToText(message_), "0/16B3748|1a INSERT public.t id=1 name='it''s' note=null");
}

// A text[] as PostgreSQL sends it.
std::string TextArray(const std::vector<std::string>& elements) {
  const auto word = [](size_t value) {
    std::string bytes(4, '\0');
    for (size_t i = 0; i < 4; ++i) bytes[i] = static_cast<char>(value >> (24 - 8 * i));
    return bytes;
  };
  std::string array = word(1) + word(0) + word(kText) + word(elements.size()) + word(1);
  for (const std::string& element : elements) array += word(element.size()) + element;
  return array;
}

TEST_F(MessageTextTest, ADdlCommand) {
  constexpr uint32_t kTextArray = 1009;
  constexpr uint32_t kBool = 16;
  message_.mutable_change()->set_schema("pgcapture");
  message_.mutable_change()->set_table("ddl_logs");
  New("id", kInt4, kOne);
  New("query", kText, "COMMENT ON TABLE \"t\" IS 'it';\nDROP TABLE u");
  New("tags", kTextArray, TextArray({"COMMENT", "DROP TABLE"}));
  EXPECT_EQ(MessageToText(message_),
            "0/16B3748|1a DDL COMMENT, DROP TABLE "
            R"('COMMENT ON TABLE "t" IS ''it'';\nDROP TABLE u')");
  New("exact", kBool, std::string(1, '\0'));
  message_.mutable_change()->mutable_new_(1)->clear_value();
  EXPECT_EQ(MessageToText(message_), "0/16B3748|1a DDL COMMENT, DROP TABLE (not exact) null");
  // The row, as any other.
  EXPECT_EQ(MessageToJson(message_),
            R"({"lsn":"0/16B3748","seq":26,"op":"INSERT","schema":"pgcapture","table":"ddl_logs",)"
            R"("new":{"id":1,"query":null,"tags":["COMMENT","DROP TABLE"],"exact":false},)"
            R"("old":{}})");
}

TEST_F(MessageTextTest, AnUpdateOfTheKey) {
  message_.mutable_change()->set_op(pb::Change::UPDATE);
  New("id", kInt4, kTwo);
  Old("id", kInt4, kOne);
  EXPECT_EQ(MessageToJson(message_),
            R"({"lsn":"0/16B3748","seq":26,"op":"UPDATE","schema":"public","table":"t",)"
            R"("new":{"id":2},"old":{"id":1}})");
  EXPECT_EQ(MessageToText(message_), "0/16B3748|1a UPDATE public.t old(id=1) id=2");
}

TEST_F(MessageTextTest, ADelete) {
  message_.mutable_change()->set_op(pb::Change::DELETE);
  Old("id", kInt4, kOne);
  Old("name", kText, "one");
  EXPECT_EQ(MessageToJson(message_),
            R"({"lsn":"0/16B3748","seq":26,"op":"DELETE","schema":"public","table":"t",)"
            R"("new":{},"old":{"id":1,"name":"one"}})");
  EXPECT_EQ(MessageToText(message_), "0/16B3748|1a DELETE public.t old(id=1 name='one')");
}

TEST_F(MessageTextTest, ARowOfADumpSaysSo) {
  message_.mutable_change()->set_op(pb::Change::UPDATE);
  message_.mutable_checkpoint()->set_lsn(0);
  message_.mutable_checkpoint()->set_seq(7);
  pb::Field* const field = message_.mutable_change()->add_new_();
  field->set_name("doc");
  field->set_oid(3802);
  field->set_text(R"({"a": 1})");
  EXPECT_EQ(MessageToJson(message_),
            R"({"lsn":"0/0","seq":7,"op":"UPDATE","dump":true,"schema":"public","table":"t",)"
            R"("new":{"doc":{"a": 1}},"old":{}})");
  EXPECT_EQ(MessageToText(message_), R"(0/0|7 UPDATE (dump) public.t doc={"a": 1})");
  // Which is newer, this or a change that another reader got, only its place says.
  message_.set_dump_lsn(0x16B3748);
  EXPECT_EQ(MessageToJson(message_),
            R"({"lsn":"0/0","seq":7,"op":"UPDATE","dump":true,"dump_lsn":"0/16B3748",)"
            R"("schema":"public","table":"t","new":{"doc":{"a": 1}},"old":{}})");
}

TEST_F(MessageTextTest, WhateverAChangeHoldsIsOneLine) {
  message_.mutable_change()->set_op(static_cast<pb::Change::Operation>(9));
  message_.mutable_change()->set_schema("a\nb");
  message_.mutable_change()->set_table("\"t\" \\");
  New("a \"b\"\n", kText, "line\nend \\ \"quoted\" \x01");
  New("", 16'660, "\n");
  const std::string json = MessageToJson(message_);
  EXPECT_TRUE(nlohmann::json::accept(json)) << json;
  EXPECT_EQ(json.find('\n'), std::string::npos);
  EXPECT_EQ(MessageToText(message_),
            R"(0/16B3748|1a 9 a\nb.\"t\" \\ "a \"b\"\n"='line\nend \\ "quoted" \u0001')"
            R"( ={"$oid":16660,"$binary":"Cg=="})");
}

class OtherMessageTextTest : public testing::Test {
 protected:
  OtherMessageTextTest() {
    message_.mutable_checkpoint()->set_lsn(0x16B3748);
    message_.mutable_checkpoint()->set_seq(1);
  }

  pb::CaptureMessage message_;
};

TEST_F(OtherMessageTextTest, ABegin) {
  message_.mutable_begin()->set_remote_xid(7);
  message_.mutable_begin()->set_commit_time(820'638'245'678'901);
  EXPECT_EQ(MessageToJson(message_), R"({"lsn":"0/16B3748","seq":1,"op":"BEGIN","xid":7,)"
                                     R"("time":"2026-01-02T03:04:05.678901+00:00"})");
  EXPECT_EQ(MessageToText(message_),
            "0/16B3748|1 BEGIN xid=7 time='2026-01-02T03:04:05.678901+00:00'");
}

TEST_F(OtherMessageTextTest, ACommit) {
  message_.mutable_commit()->set_end_lsn(0x16B3780);
  message_.mutable_commit()->set_commit_time(820'638'245'678'901);
  EXPECT_EQ(MessageToJson(message_),
            R"({"lsn":"0/16B3748","seq":1,"op":"COMMIT","end_lsn":"0/16B3780",)"
            R"("time":"2026-01-02T03:04:05.678901+00:00"})");
  EXPECT_EQ(MessageToText(message_),
            "0/16B3748|1 COMMIT end_lsn=0/16B3780 time='2026-01-02T03:04:05.678901+00:00'");
}

TEST_F(OtherMessageTextTest, ATruncate) {
  for (const char* table : {"t", "u\n"}) {
    auto* const relation = message_.mutable_truncate()->add_relations();
    relation->set_schema("public");
    relation->set_table(table);
  }
  message_.mutable_truncate()->set_cascade(true);
  EXPECT_EQ(MessageToJson(message_),
            R"({"lsn":"0/16B3748","seq":1,"op":"TRUNCATE","tables":[)"
            R"({"schema":"public","table":"t"},{"schema":"public","table":"u\n"}],)"
            R"("cascade":true,"restart_identity":false})");
  EXPECT_EQ(MessageToText(message_), R"(0/16B3748|1 TRUNCATE public.t, public.u\n cascade)");
}

TEST_F(OtherMessageTextTest, ALogicalMessage) {
  message_.mutable_logical_message()->set_prefix("app");
  message_.mutable_logical_message()->set_content(std::string("h\0i", 3));
  EXPECT_EQ(MessageToJson(message_),
            R"({"lsn":"0/16B3748","seq":1,"op":"MESSAGE","transactional":false,"prefix":"app",)"
            R"("content":"\\x680069"})");
  EXPECT_EQ(MessageToText(message_), R"(0/16B3748|1 MESSAGE app '\\x680069')");
}

}  // namespace
}  // namespace pgc
