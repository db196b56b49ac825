-- pgcapture.auto_replica_identity
\set shown 'SELECT query FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
TRUNCATE pgcapture.ddl_logs;
CREATE TABLE i0 (a int);
SET pgcapture.auto_replica_identity = on;
CREATE TABLE i1 (a int);
CREATE TABLE i2 (a int PRIMARY KEY);
CREATE TABLE i3 (a int UNIQUE NOT NULL);
CREATE TABLE i16 (a int PRIMARY KEY DEFERRABLE);
CREATE TABLE i4 AS SELECT 1 AS a;
SELECT 1 AS a INTO i5;
CREATE TABLE IF NOT EXISTS i0 (a int);
CREATE UNLOGGED TABLE i6 (a int);
CREATE TEMP TABLE i7 (a int);
CREATE TABLE i8 (a int) PARTITION BY LIST (a);
CREATE TABLE i9 PARTITION OF i8 FOR VALUES IN (1);
CREATE VIEW i10 AS SELECT 1 AS a;
CREATE SCHEMA i11 CREATE TABLE "I 12" (a int) CREATE TABLE i13 (a int PRIMARY KEY);
BEGIN;
CREATE TABLE i14 (a int);
ROLLBACK;
SELECT relname, relreplident FROM pg_class WHERE relname ~* '^i ?\d+$' AND relkind IN ('r', 'p') ORDER BY relname COLLATE "C";
:shown;
-- Somebody else's table.
CREATE ROLE pgcapture_other;
CREATE SCHEMA i15 AUTHORIZATION pgcapture_other CREATE TABLE t (a int);
SELECT relreplident FROM pg_class WHERE oid = 'i15.t'::regclass;
SELECT query, role FROM pgcapture.ddl_logs ORDER BY id;
RESET pgcapture.auto_replica_identity;
SET client_min_messages = warning;
DROP SCHEMA i11, i15 CASCADE;
DROP ROLE pgcapture_other;
TRUNCATE pgcapture.ddl_logs;
