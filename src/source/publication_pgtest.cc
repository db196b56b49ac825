#include <gmock/gmock.h>

#include "source/publication.h"
#include "testing/database_test.h"

namespace pgc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Publication : public DatabaseTest {
 protected:
  std::string Published() {
    return Ask(
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = '" +
        name_ + "' ORDER BY 1");
  }

  PublicationOptions Wanted(const std::vector<std::string>& only = {},
                            const std::vector<std::string>& all_but = {}) {
    PublicationOptions options;
    options.name = name_;
    options.ddl = false;
    options.choice = *TableChoice::Parse(only, all_but);
    return options;
  }
  absl::Status Ensure(const PublicationOptions& options) {
    return EnsurePublication(*sql_, options, {});
  }
  std::string PublishOptions() {
    return Ask(
        "SELECT concat_ws(' ', puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, "
        "pubviaroot) FROM pg_publication");
  }
  // A row's version changes with every ALTER.
  std::string Version() { return Ask("SELECT concat(oid, ':', xmin) FROM pg_publication"); }
  std::string Warnings(TableWatch& watch) {
    // What a session wrote is otherwise counted a little later.
    Sql("SELECT pg_stat_force_next_flush()");
    testing::internal::CaptureStderr();
    EXPECT_TRUE(watch.Look(*sql_, {}).ok());
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(Publication, IsOfAllTablesUnlessTold) {
  Sql("CREATE TABLE a (id int PRIMARY KEY)");
  ASSERT_TRUE(Ensure(Wanted()).ok());
  EXPECT_EQ(PublishOptions(), "t t t t t t");
}

TEST_F(Publication, ListsTablesAndWhatInheritsFromThem) {
  Sql("CREATE SCHEMA \"S.x\"; CREATE TABLE \"S.x\".\"T\"\"t\" (id int PRIMARY KEY);"
      "CREATE SCHEMA s; CREATE TABLE s.\"a.b\" (id int PRIMARY KEY);"
      "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS "
      "(parent);"
      "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
      "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
      "CREATE TABLE q (id int PRIMARY KEY) PARTITION BY RANGE (id);"
      "CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (10);"
      "CREATE TABLE other (id int PRIMARY KEY)");
  ASSERT_TRUE(Ensure(Wanted({"s.a.b", "parent", "p", "q1"})).ok());
  EXPECT_EQ(Published(), "public.child,public.p,public.parent,public.q1,s.a.b");
  EXPECT_EQ(PublishOptions(), "f t t t t t");
}

TEST_F(Publication, SkipsTablesWithTheirPartitionsAndWhatIsNotPublished) {
  Sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int);"
      "CREATE UNLOGGED TABLE u (id int); CREATE VIEW v AS SELECT 1;"
      "CREATE TABLE p (id int) PARTITION BY RANGE (id);"
      "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
      "CREATE TABLE q (id int PRIMARY KEY) PARTITION BY RANGE (id);"
      "CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (10)");
  ASSERT_TRUE(Ensure(Wanted({}, {"b", "p"})).ok());
  EXPECT_EQ(Published(), "public.a,public.q");
}

TEST_F(Publication, IsLeftAloneWhereItFits) {
  Sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)");
  for (const PublicationOptions& wanted :
       {Wanted(), Wanted({"a"}), Wanted({}, {"a"}), Wanted({}, {"a", "b"})}) {
    ASSERT_TRUE(Ensure(wanted).ok());
    const std::string version = Version();
    ASSERT_TRUE(Ensure(wanted).ok());
    EXPECT_EQ(Version(), version);
  }
}

TEST_F(Publication, IsAlteredWhereItDiffers) {
  Sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)");
  // Options.
  Sql("CREATE PUBLICATION " + name_ + " FOR ALL TABLES WITH (publish = 'insert')");
  const std::string oid = Ask("SELECT oid FROM pg_publication");
  ASSERT_TRUE(Ensure(Wanted()).ok());
  EXPECT_EQ(PublishOptions(), "t t t t t t");
  EXPECT_EQ(Ask("SELECT oid FROM pg_publication"), oid);
  // Kind.
  ASSERT_TRUE(Ensure(Wanted({"a"})).ok());
  EXPECT_EQ(Published(), "public.a");
  EXPECT_EQ(PublishOptions(), "f t t t t t");
  // Tables.
  ASSERT_TRUE(Ensure(Wanted({"b"})).ok());
  EXPECT_EQ(Published(), "public.b");
  ASSERT_TRUE(Ensure(Wanted({"b", "a"})).ok());
  EXPECT_EQ(Published(), "public.a,public.b");
  ASSERT_TRUE(Ensure(Wanted({}, {"a", "b"})).ok());
  EXPECT_EQ(Published(), "");
  ASSERT_TRUE(Ensure(Wanted()).ok());
  EXPECT_EQ(PublishOptions(), "t t t t t t");
}

TEST_F(Publication, NamesPartitionsWhereThatIsWanted) {
  PublicationOptions wanted = Wanted();
  wanted.via_partition_root = false;
  ASSERT_TRUE(Ensure(wanted).ok());
  EXPECT_EQ(PublishOptions(), "t t t t t f");
  const std::string version = Version();
  ASSERT_TRUE(Ensure(wanted).ok());
  EXPECT_EQ(Version(), version);
  ASSERT_TRUE(Ensure(Wanted()).ok());
  EXPECT_EQ(PublishOptions(), "t t t t t t");
}

TEST_F(Publication, LosesFiltersListsAndSchemasByName) {
  Sql("CREATE TABLE a (id int PRIMARY KEY, n int); CREATE TABLE b (id int PRIMARY KEY, n int)");
  Sql("CREATE PUBLICATION " + name_ +
      " FOR TABLE a (id), b WHERE (id > 5)"
      " WITH (publish_via_partition_root = true)");
  testing::internal::CaptureStderr();
  ASSERT_TRUE(Ensure(Wanted({"a", "b"})).ok());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("table=\"public.a, public.b\""));
  EXPECT_EQ(
      Ask("SELECT count(*) FROM pg_publication_rel WHERE prqual IS NOT NULL OR prattrs IS NOT "
          "NULL"),
      "0");
  Sql("ALTER PUBLICATION " + name_ + " SET TABLES IN SCHEMA public");
  ASSERT_TRUE(Ensure(Wanted({"a"})).ok());
  EXPECT_EQ(Published(), "public.a");
}

TEST_F(Publication, WritersOfATableWithoutIdentityAreSavedBeforehand) {
  Sql("CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE none (id int);"
      "CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;"
      "CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);"
      "CREATE TABLE gone (id int NOT NULL); CREATE UNIQUE INDEX gone_id ON gone (id);"
      "ALTER TABLE gone REPLICA IDENTITY USING INDEX gone_id; DROP INDEX gone_id;"
      "CREATE TABLE indexed (id int NOT NULL); CREATE UNIQUE INDEX indexed_id ON indexed (id);"
      "ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_id;"
      "CREATE TABLE whole (id int); ALTER TABLE whole REPLICA IDENTITY FULL;"
      "CREATE UNLOGGED TABLE unlogged (id int);"
      "CREATE TABLE p (id int) PARTITION BY RANGE (id);"
      "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);"
      "CREATE TABLE p11 PARTITION OF p1 FOR VALUES FROM (0) TO (10);"
      "CREATE TABLE p2 PARTITION OF p (PRIMARY KEY (id)) FOR VALUES FROM (10) TO (20);"
      "CREATE TABLE r (id int) PARTITION BY RANGE (id); ALTER TABLE r REPLICA IDENTITY FULL;"
      "CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (10)");
  const absl::Status status = Ensure(Wanted());
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("6 tables have no usable replica identity"),
                    HasSubstr(": public.deferred, public.gone, public.none, public.nothing, "
                              "public.p11, public.r1. "),
                    HasSubstr("--replica-identity-full, --tables or --skip-tables")));
  EXPECT_EQ(Ask("SELECT count(*) FROM pg_publication"), "0");
  // PostgreSQL agrees on each of them.
  Sql("INSERT INTO p VALUES (1), (11); INSERT INTO r VALUES (1);"
      "INSERT INTO good VALUES (1); INSERT INTO none VALUES (1); INSERT INTO nothing VALUES (1);"
      "INSERT INTO deferred VALUES (1); INSERT INTO gone VALUES (1); INSERT INTO indexed VALUES "
      "(1);"
      "INSERT INTO whole VALUES (1); INSERT INTO unlogged VALUES (1)");
  Sql("CREATE PUBLICATION probe FOR ALL TABLES WITH (publish_via_partition_root = true)");
  for (const char* refused :
       {"deferred", "gone", "none", "nothing", "p WHERE id < 10", "p11", "r"}) {
    EXPECT_FALSE(sql_->Execute(fmt::format("DELETE FROM {}", refused)).ok()) << refused;
  }
  for (const char* taken : {"good", "indexed", "whole", "unlogged", "p2", "p WHERE id > 10"}) {
    EXPECT_TRUE(sql_->Execute(fmt::format("DELETE FROM {}", taken)).ok()) << taken;
  }
}

TEST_F(Publication, ReplicaIdentityFullMendsLeavesAndRootsAndNothingElse) {
  Sql("CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE none (id int);"
      "CREATE TABLE p (id int) PARTITION BY RANGE (id);"
      "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);"
      "CREATE TABLE p11 PARTITION OF p1 FOR VALUES FROM (0) TO (10)");
  PublicationOptions options = Wanted();
  options.replica_identity_full = true;
  ASSERT_TRUE(Ensure(options).ok());
  EXPECT_EQ(Ask("SELECT relname FROM pg_class WHERE relreplident = 'f' ORDER BY 1"),
            "none,p,p1,p11");
  Sql("INSERT INTO p VALUES (1); DELETE FROM p; INSERT INTO none VALUES (1); DELETE FROM none");
  // A table made since is mended too, although the publication fits.
  Sql("CREATE TABLE later (id int)");
  ASSERT_TRUE(Ensure(options).ok());
  EXPECT_EQ(Ask("SELECT relreplident FROM pg_class WHERE relname = 'later'"), "f");
}

TEST_F(Publication, ATableThatIsNotPublishedMayHaveNoIdentity) {
  Sql("CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE none (id int)");
  EXPECT_TRUE(Ensure(Wanted({"good"})).ok());
  EXPECT_TRUE(Ensure(Wanted({}, {"none"})).ok());
  EXPECT_FALSE(Ensure(Wanted({"none"})).ok());
  EXPECT_FALSE(Ensure(Wanted({}, {"good"})).ok());
  Sql("UPDATE none SET id = 1");
}

TEST_F(Publication, AListOfManyTablesWithoutIdentityIsBounded) {
  Sql("DO $$ BEGIN FOR i IN 100..199 LOOP EXECUTE 'CREATE TABLE t' || i || ' (id int)'; END LOOP; "
      "END $$");
  EXPECT_THAT(
      std::string(Ensure(Wanted()).message()),
      AllOf(HasSubstr("100 tables"), HasSubstr("public.t119 and 80 more"), Not(HasSubstr("t120"))));
}

TEST_F(Publication, DdlLogsComeWithAListWhereDdlIsCaptured) {
  Sql("CREATE TABLE a (id int PRIMARY KEY)");
  PublicationOptions options = Wanted({"a"});
  options.ddl = true;
  ASSERT_TRUE(Ensure(options).ok());
  EXPECT_EQ(Published(), "pgcapture.ddl_logs,public.a");
  options.choice = *TableChoice::Parse({}, {"a"});
  ASSERT_TRUE(Ensure(options).ok());
  EXPECT_EQ(Published(), "pgcapture.ddl_logs");
  options.ddl = false;
  ASSERT_TRUE(Ensure(options).ok());
  EXPECT_EQ(Published(), "");
}

TEST_F(Publication, TheWatchNamesEachNewTableOnce) {
  Sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)");
  const PublicationOptions options = Wanted({}, {"a"});
  ASSERT_TRUE(Ensure(options).ok());
  TableWatch watch(options);
  EXPECT_EQ(Warnings(watch), "");
  Sql("CREATE TABLE c (id int)");
  EXPECT_THAT(Warnings(watch), AllOf(HasSubstr("not captured until the next start"),
                                     HasSubstr("table=public.c"), Not(HasSubstr("identity"))));
  EXPECT_EQ(Warnings(watch), "");
  Sql("ALTER TABLE c ADD PRIMARY KEY (id)");
  ASSERT_TRUE(Ensure(options).ok());
  EXPECT_EQ(Published(), "public.b,public.c");
  EXPECT_EQ(Warnings(watch), "");
}

TEST_F(Publication, TheWatchNamesATableWhoseWritersAreRefused) {
  const PublicationOptions options = Wanted();
  ASSERT_TRUE(Ensure(options).ok());
  TableWatch watch(options);
  Sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int)");
  EXPECT_THAT(Warnings(watch), AllOf(HasSubstr("UPDATE and DELETE"), HasSubstr("table=public.b"),
                                     Not(HasSubstr("public.a"))));
  EXPECT_EQ(Warnings(watch), "");
  // Mended, then broken again: that is news.
  Sql("ALTER TABLE b REPLICA IDENTITY FULL");
  EXPECT_EQ(Warnings(watch), "");
  Sql("ALTER TABLE b REPLICA IDENTITY DEFAULT");
  EXPECT_THAT(Warnings(watch), HasSubstr("table=public.b"));
}

TEST_F(Publication, TheLogOfTheExtensionNeedsNoIdentity) {
  Sql("CREATE SCHEMA pgcapture; CREATE TABLE pgcapture.ddl_logs (id serial PRIMARY KEY);"
      "ALTER TABLE pgcapture.ddl_logs REPLICA IDENTITY NOTHING");
  PublicationOptions options = Wanted();
  ASSERT_TRUE(Ensure(options).ok());
  TableWatch watch(options);
  EXPECT_EQ(Warnings(watch), "");
  options.replica_identity_full = true;
  ASSERT_TRUE(Ensure(options).ok());
  EXPECT_EQ(Ask("SELECT relreplident FROM pg_class WHERE relname = 'ddl_logs'"), "n");
}

TEST_F(Publication, AnOwnerWithoutSuperuserMakesAList) {
  Sql("CREATE ROLE owner LOGIN REPLICATION; GRANT CREATE ON DATABASE " + name_ +
      " TO owner; GRANT CREATE ON SCHEMA public TO owner");
  auto owner = Connection::Open(server_->Url(name_, "owner"));
  ASSERT_TRUE(owner.ok()) << owner.status();
  ASSERT_TRUE((*owner)->Execute("CREATE TABLE a (id int PRIMARY KEY)").ok());
  EXPECT_TRUE(EnsurePublication(**owner, Wanted({"a"}), {}).ok());
  EXPECT_EQ(Published(), "public.a");
  owner->reset();
  Sql("DROP OWNED BY owner; DROP ROLE owner");
}

}  // namespace
}  // namespace pgc
