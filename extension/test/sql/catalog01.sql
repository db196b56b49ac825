-- This library under the catalog of version 0.1: preloaded, as 0.1 asks for it.
LOAD 'pgcapture';
CREATE EXTENSION pgcapture VERSION '0.1';
\c -
LOAD 'pgcapture';
\set shown 'SELECT query, tags FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
CREATE TABLE v1 (a int);
SET work_mem = 4096 \; CREATE TABLE v2 (a int) \; CREATE TABLE v3 AS SELECT 1 AS a;
SELECT 1 AS a INTO v4;
DO $$ BEGIN CREATE TABLE v5 (); EXECUTE 'CREATE VIEW v6 AS SELECT 1; DROP VIEW v6'; END $$;
CREATE SCHEMA v7 CREATE TABLE t (a int);
CREATE FUNCTION v8() RETURNS int LANGUAGE sql AS 'SELECT 1';
DROP FUNCTION v8();
SELECT tags, activity ?& '{datname,usename,application_name,client_addr,backend_start,xact_start}' AS activity
FROM pgcapture.ddl_logs WHERE query = 'CREATE TABLE v1 (a int)';
:shown;
-- A row without a query is what 0.1 has for what is not logged.
CREATE TEMP TABLE t1 (a int);
ALTER TABLE t1 ADD b int;
CREATE TEMP TABLE t2 AS SELECT 1 AS a;
DROP TABLE t1, v1, t2;
DROP TABLE IF EXISTS missing;
ALTER TABLE IF EXISTS missing ADD a int;
:shown;
-- The first command of a session that has not loaded the library.
\c -
CREATE TABLE v9 (a int);
\c -
SET work_mem = 4096 \; CREATE TABLE v10 (a int) \; CREATE TABLE v11 (a int);
SELECT query, tags FROM pgcapture.ddl_logs ORDER BY id;
SET client_min_messages = warning;
DROP EXTENSION pgcapture;
