-- A table that is not as the extension made it: commands go on, and what cannot be captured is said.
\set shown 'SELECT query FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
\set VERBOSITY terse
SELECT 1 FROM pg_create_logical_replication_slot('foreign_test', 'test_decoding');
TRUNCATE pgcapture.ddl_logs;
\c -
\set VERBOSITY terse
-- Columns, indexes and triggers that do no harm.
ALTER TABLE pgcapture.ddl_logs ADD COLUMN noted timestamptz DEFAULT now(), ADD COLUMN remark text;
CREATE INDEX ON pgcapture.ddl_logs (noted);
CREATE TABLE g1 (a int);
SELECT query, noted IS NOT NULL AS noted FROM pgcapture.ddl_logs WHERE query LIKE '%g1%';
TRUNCATE pgcapture.ddl_logs;
-- A column that has to be given a value.
ALTER TABLE pgcapture.ddl_logs ADD COLUMN needed int NOT NULL;
CREATE TABLE g2 (a int);
CREATE TABLE g3 AS SELECT 1 AS a;
:shown;
ALTER TABLE pgcapture.ddl_logs DROP COLUMN needed;
CREATE TABLE g4 (a int);
:shown;
-- A trigger that fails.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''refused''; END';
CREATE TRIGGER refuse BEFORE INSERT ON pgcapture.ddl_logs FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TABLE g5 (a int);
DROP TRIGGER refuse ON pgcapture.ddl_logs;
:shown;
-- A column of ours that has gone.
ALTER TABLE pgcapture.ddl_logs RENAME COLUMN objects TO things;
CREATE TABLE g6 (a int);
ALTER TABLE pgcapture.ddl_logs RENAME COLUMN things TO objects;
:shown;
-- The table has gone.
ALTER TABLE pgcapture.ddl_logs RENAME TO logs;
CREATE TABLE g7 (a int);
ALTER TABLE pgcapture.logs RENAME TO ddl_logs;
:shown;
-- A reader of the stream is told.
SELECT data FROM pg_logical_slot_get_changes('foreign_test', NULL, NULL) WHERE data LIKE '%pgcapture.ddl_lost%';
SELECT pg_drop_replication_slot('foreign_test');
ALTER TABLE pgcapture.ddl_logs DROP COLUMN noted, DROP COLUMN remark;
SELECT count(*) FROM pg_class WHERE relname LIKE 'g_' AND relkind = 'r';
TRUNCATE pgcapture.ddl_logs;
