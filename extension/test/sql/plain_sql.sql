-- The capture in plain SQL: what it has in common with the extension, and where it differs (docs/extension.md).
\set shown 'SELECT query, tags, exact FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS pgcapture;
DROP TABLE p1, p2;
BEGIN;
\set ECHO none
\i plain/install.sql
\set ECHO all
COMMIT;
BEGIN;
\set ECHO none
\i plain/install.sql
\set ECHO all
COMMIT;
RESET client_min_messages;
SELECT count(*) FROM pgcapture.ddl_logs;
\c -
  CREATE TABLE p1 (a serial PRIMARY KEY)  ;
ALTER TABLE p1 ADD b text;
CREATE TABLE p2 AS SELECT 1 AS a;
SELECT 2 AS a INTO p3;
CREATE MATERIALIZED VIEW p4 AS SELECT 1 AS a;
REFRESH MATERIALIZED VIEW p4;
CREATE SCHEMA p5 CREATE TABLE t (a int);
DROP TABLE IF EXISTS missing;
ALTER TABLE IF EXISTS missing ADD a int;
:shown;
-- Difference: a string of several commands is there whole, once for each, and for the reader to split. So is one with ; in a literal.
SET work_mem = 4096 \; CREATE TABLE p6 (a int) \; CREATE TABLE p7 (a int);
CREATE TABLE p8 (a text DEFAULT ';');
:shown;
-- In PL/pgSQL the commands can be seen; difference: not in functions in SQL, nor several in one EXECUTE.
DO $$
BEGIN
  CREATE TABLE p9 (a int);
  EXECUTE 'CREATE TABLE p10 (a int)';
  EXECUTE 'CREATE TABLE p11 (a int); CREATE TABLE p12 (a int)';
END $$;
:shown;
CREATE FUNCTION plain_make_sql() RETURNS void LANGUAGE sql AS 'CREATE TABLE p13 (a int); CREATE TABLE p14 (a int)';
CREATE FUNCTION plain_make_plpgsql() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM plain_make_sql(); CREATE VIEW p15 AS SELECT ''"x"'' AS x; END';
TRUNCATE pgcapture.ddl_logs;
SELECT plain_make_plpgsql();
SELECT query, tags, exact, jsonb_path_query_array(objects, '$[*].object_identity') AS objects FROM pgcapture.ddl_logs ORDER BY id;
TRUNCATE pgcapture.ddl_logs;
-- Temporary relations leave no trace.
CREATE TEMP TABLE t1 (a serial PRIMARY KEY);
CREATE TEMP TABLE t2 AS SELECT 1 AS a;
SELECT 1 AS a INTO TEMPORARY t3;
CREATE INDEX ON t1 (a);
ALTER TABLE t1 ADD b int;
COMMENT ON TABLE t1 IS 'x';
CREATE VIEW v1 AS SELECT * FROM t1;
CREATE RULE r1 AS ON DELETE TO t1 DO ALSO NOTHING;
DROP RULE r1 ON t1;
CREATE POLICY po1 ON t1 USING (true);
DROP POLICY po1 ON t1;
DROP VIEW v1;
DROP TABLE t1, p6, t2, p7;
DROP TABLE t3;
:shown;
-- Difference: a GRANT on both kinds, or on a temporary one, is there as it is.
CREATE TEMP TABLE t4 (a int);
GRANT SELECT ON t4, p1 TO PUBLIC;
:shown;
-- Failures, savepoints, extensions, and what a copy has no use for.
BEGIN;
CREATE TABLE p16 (a int);
SAVEPOINT s;
CREATE TABLE p17 (a int);
ROLLBACK TO s;
COMMIT;
CREATE TABLE p16 (a int);
BEGIN;
CREATE TABLE p18 (a int);
PREPARE TRANSACTION 'pgcapture sql';
COMMIT PREPARED 'pgcapture sql';
CREATE EXTENSION hstore;
DROP EXTENSION hstore;
SET client_min_messages = error;
CREATE PUBLICATION p19;
DROP PUBLICATION p19;
RESET client_min_messages;
:shown;
-- Roles without rights; the search path is theirs, before and after.
CREATE ROLE pgcapture_sql;
CREATE SCHEMA p20 AUTHORIZATION pgcapture_sql;
TRUNCATE pgcapture.ddl_logs;
SET ROLE pgcapture_sql;
SET search_path = p20, pg_catalog;
CREATE FUNCTION p20.fail(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
CREATE OPERATOR p20.= (FUNCTION = p20.fail, LEFTARG = text, RIGHTARG = text);
CREATE TABLE t (a int);
BEGIN;
DROP TABLE t;
SHOW search_path;
COMMIT;
SHOW search_path;
RESET ROLE;
RESET search_path;
SELECT query, search_path, role FROM pgcapture.ddl_logs ORDER BY id;
TRUNCATE pgcapture.ddl_logs;
-- What cannot be captured is said.
ALTER TABLE pgcapture.ddl_logs ADD needed int NOT NULL;
\set VERBOSITY terse
CREATE TABLE p21 (a int);
\set VERBOSITY default
ALTER TABLE pgcapture.ddl_logs DROP needed;
TRUNCATE pgcapture.ddl_logs;
-- Pruning.
INSERT INTO pgcapture.ddl_logs (query, activity)
SELECT i, jsonb_build_object('xact_start', now() - interval '100 days') FROM generate_series(1, 10) i;
CREATE TABLE p22 (a int);
SELECT pgcapture.prune('200 days'), pgcapture.prune();
:shown;
-- The extension takes it over, with what is in the tables.
INSERT INTO pgcapture.sources (id) VALUES ('kept');
CREATE TABLE p23 (a int);
CREATE EXTENSION pgcapture VERSION 'sql';
ALTER EXTENSION pgcapture UPDATE TO '0.2';
CREATE TABLE p24 (a int);
:shown;
SELECT id FROM pgcapture.sources;
-- While the extension is there, the first command of the script refuses to go on.
\! sed '/^END/q' plain/install.sql >refusal.sql
\set ECHO none
\i refusal.sql
\set ECHO all
SET client_min_messages = warning;
DROP EXTENSION pgcapture;
-- Removal.
BEGIN;
\set ECHO none
\i plain/install.sql
\set ECHO all
COMMIT;
BEGIN;
\set ECHO none
\i plain/remove.sql
\set ECHO all
COMMIT;
SELECT to_regnamespace('pgcapture') IS NULL AS gone, (SELECT count(*) FROM pg_event_trigger) AS triggers;
DROP OWNED BY pgcapture_sql CASCADE;
DROP ROLE pgcapture_sql;
