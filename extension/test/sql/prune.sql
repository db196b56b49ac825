-- Old rows are deleted, and no DELETE is in the stream of any output plugin.
TRUNCATE pgcapture.ddl_logs;
CREATE PUBLICATION prune_test FOR ALL TABLES;
SELECT 1 FROM pg_create_logical_replication_slot('prune_pgoutput', 'pgoutput');
SELECT 1 FROM pg_create_logical_replication_slot('prune_test_decoding', 'test_decoding');
INSERT INTO pgcapture.ddl_logs (query, activity)
SELECT 'old ' || i, jsonb_build_object('xact_start', now() - interval '100 days') FROM generate_series(1, 600) i;
INSERT INTO pgcapture.ddl_logs (query, activity) VALUES ('without a time', '{}'), ('without activity', NULL),
  ('with another time', '{"xact_start": "yesterday"}'), ('with another activity', '[1]');
INSERT INTO pgcapture.ddl_logs (query, activity)
SELECT 'new ' || i, jsonb_build_object('xact_start', now()) FROM generate_series(1, 3) i;
-- PostgreSQL itself would refuse it.
DELETE FROM pgcapture.ddl_logs WHERE query LIKE 'old%';
SELECT count(*) FROM pgcapture.ddl_logs;
SELECT pgcapture.prune('200 days');
BEGIN;
SELECT pgcapture.prune();
ROLLBACK;
SELECT count(*) FROM pgcapture.ddl_logs;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pgcapture.prune();
COMMIT;
SELECT pgcapture.prune();
SELECT query FROM pgcapture.ddl_logs ORDER BY id;
-- pgoutput: the first byte is the kind of message.
SELECT chr(get_byte(data, 0)) AS kind, count(*)
FROM pg_logical_slot_get_binary_changes('prune_pgoutput', NULL, NULL, 'proto_version', '1', 'publication_names', 'prune_test')
WHERE get_byte(data, 0) IN (ascii('I'), ascii('U'), ascii('D'), ascii('T')) GROUP BY 1 ORDER BY 1;
-- test_decoding, which is made to show everything, shows that there was a DELETE.
SELECT data, count(*)
FROM pg_logical_slot_get_changes('prune_test_decoding', NULL, NULL) WHERE data LIKE '%DELETE%' GROUP BY 1;
SELECT pg_drop_replication_slot('prune_pgoutput'), pg_drop_replication_slot('prune_test_decoding');
DROP PUBLICATION prune_test;

-- DDL prunes now and then: one command of 64, by chance, and 256 rows at a time.
TRUNCATE pgcapture.ddl_logs;
INSERT INTO pgcapture.ddl_logs (query, activity)
SELECT 'old ' || i, jsonb_build_object('xact_start', now() - interval '100 days') FROM generate_series(1, 200) i;
SET pgcapture.ddl_log_keep = 0;
DO $$ BEGIN FOR i IN 1..500 LOOP COMMENT ON SCHEMA pgcapture IS 'x'; END LOOP; END $$;
SELECT count(*) FROM pgcapture.ddl_logs WHERE query LIKE 'old%';
RESET pgcapture.ddl_log_keep;
DO $$ BEGIN
  FOR i IN 1..20000 LOOP
    COMMENT ON SCHEMA pgcapture IS 'x';
    EXIT WHEN NOT EXISTS (SELECT FROM pgcapture.ddl_logs WHERE query LIKE 'old%');
  END LOOP;
END $$;
SELECT count(*) FROM pgcapture.ddl_logs WHERE query LIKE 'old%';
-- Where somebody gave the table an identity, deletes would be in the stream.
ALTER TABLE pgcapture.ddl_logs REPLICA IDENTITY DEFAULT;
SELECT pgcapture.prune();
ALTER TABLE pgcapture.ddl_logs REPLICA IDENTITY NOTHING;
TRUNCATE pgcapture.ddl_logs;

-- It waits for nobody: what another transaction is deleting is left to it.
INSERT INTO pgcapture.ddl_logs (query, activity)
SELECT 'old ' || i, jsonb_build_object('xact_start', now() - interval '100 days') FROM generate_series(1, 10) i;
BEGIN;
SELECT pgcapture.prune();
PREPARE TRANSACTION 'pgcapture prune';
SET statement_timeout = '10s';
SELECT pgcapture.prune();
RESET statement_timeout;
ROLLBACK PREPARED 'pgcapture prune';
SELECT pgcapture.prune();
TRUNCATE pgcapture.ddl_logs;
