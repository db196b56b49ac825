-- TRUNCATE of a single partition, which publish_via_partition_root leaves out of the stream.
CREATE TABLE parted (a int, b int) PARTITION BY LIST (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2) PARTITION BY LIST (b);
CREATE TABLE parted_2_1 PARTITION OF parted_2 FOR VALUES IN (1);
CREATE TABLE single (a int);
CREATE PUBLICATION truncate_root FOR TABLE parted, single WITH (publish_via_partition_root = true);
CREATE PUBLICATION truncate_leaf FOR TABLE parted;
CREATE PUBLICATION truncate_other FOR TABLE single WITH (publish_via_partition_root = true);
CREATE PUBLICATION truncate_none FOR TABLE parted WITH (publish_via_partition_root = true, publish = 'insert');
SELECT 1 FROM pg_create_logical_replication_slot('truncate_test', 'test_decoding');
TRUNCATE parted_1;
TRUNCATE parted;
TRUNCATE single;
TRUNCATE parted_1, parted_2 RESTART IDENTITY CASCADE;
BEGIN;
TRUNCATE parted_1;
ROLLBACK;
DO $$ BEGIN TRUNCATE public.parted_2_1; END $$;
CREATE PUBLICATION truncate_all FOR ALL TABLES WITH (publish_via_partition_root = true);
TRUNCATE ONLY parted_1;
-- Of each message its content: publication, number of relations, options, schema and name.
SELECT encode(substring(data FROM position('content:'::bytea IN data) + 8), 'escape') AS content
FROM pg_logical_slot_get_binary_changes('truncate_test', NULL, NULL) WHERE position('message:'::bytea IN data) = 1;
SELECT 1 FROM pg_drop_replication_slot('truncate_test');
DROP PUBLICATION truncate_root, truncate_leaf, truncate_other, truncate_none, truncate_all;
DROP TABLE parted, single;
