-- A role without any right on the schema runs DDL, and its rows are written.
CREATE ROLE pgcapture_nobody;
GRANT CREATE ON SCHEMA public TO pgcapture_nobody;
TRUNCATE pgcapture.ddl_logs;
\c -
SET ROLE pgcapture_nobody;
CREATE TABLE r1 (a int);
CREATE TABLE r2 AS SELECT 1 AS a;
DROP TABLE r1, r2;
SELECT * FROM pgcapture.ddl_logs;
-- lastval() is the client's own.
CREATE SEQUENCE public.r_seq;
SELECT nextval('r_seq');
COMMENT ON SEQUENCE r_seq IS 'x';
SELECT lastval();
DROP SEQUENCE r_seq;
SELECT lastval();
SELECT pgcapture.prune();
-- What it finds in the search path is not run with other rights.
RESET ROLE;
CREATE SCHEMA trap AUTHORIZATION pgcapture_nobody;
SET ROLE pgcapture_nobody;
CREATE FUNCTION trap.fail(jsonb, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
CREATE OPERATOR trap.->> (FUNCTION = trap.fail, LEFTARG = jsonb, RIGHTARG = text);
CREATE FUNCTION trap.fail(oid, oid) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
CREATE OPERATOR trap.= (FUNCTION = trap.fail, LEFTARG = oid, RIGHTARG = oid);
SET search_path = trap, pg_catalog, public;
CREATE TABLE r3 (a int);
RESET ROLE;
SELECT pgcapture.prune('1 day');
DROP TABLE r3;
RESET search_path;
SELECT query, role FROM pgcapture.ddl_logs ORDER BY id;
-- EXECUTE on the functions of event triggers can be taken away from everybody.
REVOKE EXECUTE ON FUNCTION pg_event_trigger_ddl_commands(), pg_event_trigger_dropped_objects() FROM PUBLIC;
TRUNCATE pgcapture.ddl_logs;
SET ROLE pgcapture_nobody;
CREATE TABLE r4 (a int);
DROP TABLE r4;
RESET ROLE;
SELECT query, jsonb_array_length(objects) FROM pgcapture.ddl_logs ORDER BY id;
GRANT EXECUTE ON FUNCTION pg_event_trigger_ddl_commands(), pg_event_trigger_dropped_objects() TO PUBLIC;
SET client_min_messages = warning;
DROP OWNED BY pgcapture_nobody CASCADE;
DROP ROLE pgcapture_nobody;
TRUNCATE pgcapture.ddl_logs;
