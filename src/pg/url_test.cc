#include "pg/url.h"

#include <gtest/gtest.h>

namespace pgc {
namespace {

TEST(MaskPassword, HidesItInEveryFormThatLibpqReads) {
  EXPECT_EQ(MaskPassword("postgres://u:secret@h:5432/db"), "postgres://u:***@h:5432/db");
  EXPECT_EQ(MaskPassword("--source=postgresql://u:s@e:c@h/db"), "--source=postgresql://u:***@h/db");
  EXPECT_EQ(MaskPassword("postgres://h/db?user=u&password=secret&sslmode=require"),
            "postgres://h/db?user=u&password=***&sslmode=require");
  EXPECT_EQ(MaskPassword("host=h password=secret user=u"), "host=h password=*** user=u");
  EXPECT_EQ(MaskPassword("host=h password='se cret' user=u"), "host=h password=*** user=u");
  EXPECT_EQ(MaskPassword("user=u password=secret"), "user=u password=***");
}

TEST(MaskPassword, LeavesOtherTextAlone) {
  for (const char* text : {"postgres://h:5432/db", "postgres://u@h:5432/db", "serve", "",
                           "127.0.0.1:10001", "pulsar://a:6650,b:6650"}) {
    EXPECT_EQ(MaskPassword(text), text);
  }
}

TEST(IsConnectionString, TellsUrlsAndSettingsFromOtherText) {
  for (const char* text : {"postgres://h/d", "postgresql:///d", "host=h dbname=d"}) {
    EXPECT_TRUE(IsConnectionString(text)) << text;
  }
  for (const char* text : {"", "database", "http://h/d", "/var/run/postgresql"}) {
    EXPECT_FALSE(IsConnectionString(text)) << text;
  }
}

}  // namespace
}  // namespace pgc
