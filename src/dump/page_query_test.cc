#include "dump/page_query.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgc {
namespace {

using testing::HasSubstr;
using testing::Not;

class PageQueryTest : public testing::Test {
 protected:
  PageQueryTest() {
    request_.schema = "public";
    request_.table = "t";
    table_.block_bytes = 8192;
    table_.pages = 1000;
  }
  absl::StatusOr<PageQuery> New(bool has_range_scan) {
    return PageQuery::New(request_, table_, columns_, key_, has_range_scan);
  }

  DumpRequest request_;
  TableFacts table_;
  const std::vector<DumpColumn> columns_{{.name = "id", .type_oid = 23, .as_text = false}};
  const std::vector<KeyColumn> key_{{.name = "id", .type = "integer"}};
};

TEST_F(PageQueryTest, TheLastRangeIsOpenAndNoOtherIs) {
  EXPECT_THAT(New(true)->Next(), Not(HasSubstr("ctid <")));
  request_.page_end = UINT32_MAX - 1;
  EXPECT_THAT(New(true)->Next(), HasSubstr("ctid < '(4294967295,0)'"));
  request_.page_begin = request_.page_end = 7;
  auto query = *New(true);
  const std::string statement = query.Next();
  EXPECT_THAT(statement, HasSubstr("ctid >= '(7,0)'"));
  EXPECT_THAT(statement, HasSubstr("ctid < '(8,0)'"));
  EXPECT_EQ(query.Next(), "");
}

TEST_F(PageQueryTest, WithoutARangeScanPagesAreListedInBoundedPieces) {
  request_.page_begin = 100;
  auto query = *New(false);
  int statements = 0;
  std::string last;
  for (std::string next = query.Next(); !next.empty(); next = query.Next()) {
    ++statements;
    last = next;
  }
  EXPECT_EQ(statements, 4) << "900 pages, 256 at a time";
  EXPECT_THAT(last, HasSubstr("generate_series(868::pg_catalog.int8, 999::pg_catalog.int8)"));
  EXPECT_THAT(last, HasSubstr("generate_series(1, 291)"));
}

TEST_F(PageQueryTest, KeysHaveALimit) {
  request_.keys.assign(PageQuery::kMostKeys, "(1)");
  EXPECT_TRUE(New(true).ok());
  request_.keys.emplace_back("(1)");
  EXPECT_TRUE(absl::IsInvalidArgument(New(true).status()));
  request_.keys = {"(" + std::string(PageQuery::kMostKeyBytes, '1') + ")"};
  EXPECT_TRUE(absl::IsInvalidArgument(New(true).status()));
}

TEST_F(PageQueryTest, AKeyHasAValueForEachColumn) {
  for (const char* const key : {"(1,2)", "()", "1"}) {
    request_.keys = {key};
    EXPECT_TRUE(absl::IsInvalidArgument(New(true).status())) << key;
  }
}

}  // namespace
}  // namespace pgc
