-- The columns of version 0.2, and activity.
\set shown 'SELECT query, search_path, role, exact FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
CREATE ROLE pgcapture_owner;
CREATE SCHEMA app AUTHORIZATION pgcapture_owner;
CREATE SCHEMA "My App";
GRANT CREATE ON DATABASE contrib_regression TO pgcapture_owner;
TRUNCATE pgcapture.ddl_logs;

\c -
CREATE TABLE c1 (a int);
SET search_path = app, missing, "My App", public;
CREATE TABLE c2 (a int);
SET search_path = '';
CREATE TABLE public.c3 (a int);
SET search_path = pg_catalog, public;
CREATE TABLE public.c3a (a int);
SET search_path = public, pg_catalog, pg_temp;
CREATE TABLE c3b (a int);
RESET search_path;
SET ROLE pgcapture_owner;
CREATE TABLE app.c4 (a int);
RESET ROLE;
CREATE FUNCTION make_as_definer() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = app AS
  'BEGIN CREATE TABLE c5 (a int); END';
ALTER FUNCTION make_as_definer() OWNER TO pgcapture_owner;
SELECT make_as_definer();
CREATE SCHEMA other AUTHORIZATION pgcapture_owner CREATE TABLE t (a int);
DROP SCHEMA "My App";
:shown;
-- A role that may not make temporary tables, with the temporary schema in its path.
REVOKE TEMP ON DATABASE contrib_regression FROM PUBLIC;
SET ROLE pgcapture_owner;
SET search_path = pg_temp, public;
CREATE TABLE app.c7 (a int);
DROP TABLE app.c7;
RESET ROLE;
RESET search_path;
GRANT TEMP ON DATABASE contrib_regression TO PUBLIC;
:shown;

-- Which schema a default value has is told by newer versions only.
\set objects 'SELECT query, jsonb_pretty(jsonb_path_query_array(objects, ''$[*] ? (@.object_type != "default value")'')) AS objects FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
\t on
\pset format unaligned
CREATE TABLE o1 (a serial PRIMARY KEY);
CREATE VIEW "O 2" AS SELECT * FROM o1;
ALTER TABLE o1 ADD COLUMN b int REFERENCES o1;
COMMENT ON COLUMN o1.b IS 'x';
GRANT SELECT ON o1 TO pgcapture_owner;
CREATE TABLE o3 AS SELECT 1 AS a;
CREATE TABLE IF NOT EXISTS o3 (a int);
SET client_min_messages = warning;
DROP TABLE o1 CASCADE;
DROP TABLE IF EXISTS o1;
CREATE FUNCTION o4(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
DROP FUNCTION o4(int);
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pgcapture_owner;
ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM pgcapture_owner;
:objects;
-- Of very many only the number is kept.
DO $$ BEGIN
  FOR i IN 1..1100 LOOP EXECUTE format('CREATE DOMAIN app.d%s AS int', i); END LOOP;
END $$;
TRUNCATE pgcapture.ddl_logs;
SELECT jsonb_array_length(objects) FROM pgcapture.ddl_logs;
DO $$ BEGIN SET LOCAL client_min_messages = error; DROP SCHEMA app, other CASCADE; END $$;
SELECT query, jsonb_array_length(objects), objects->-1 ? 'more' AS more FROM pgcapture.ddl_logs;
TRUNCATE pgcapture.ddl_logs;

-- activity says of the session what pg_stat_activity says.
SET application_name = 'a "quoted" name';
SET TimeZone = 'Asia/Kolkata';
BEGIN;
CREATE TABLE c6 (a int);
SELECT (l.activity - 'backend_start') = (to_jsonb(a) - 'backend_start') AS equal,
  abs(extract(epoch FROM (l.activity->>'backend_start')::timestamptz - a.backend_start)) < 1 AS started
FROM pgcapture.ddl_logs l, (
  SELECT datname, usename, application_name, client_addr, backend_start, xact_start
  FROM pg_stat_activity WHERE pid = pg_backend_pid()) a;
COMMIT;
REVOKE CREATE ON DATABASE contrib_regression FROM pgcapture_owner;
DROP FUNCTION make_as_definer();
DROP OWNED BY pgcapture_owner;
DROP ROLE pgcapture_owner;
TRUNCATE pgcapture.ddl_logs;
