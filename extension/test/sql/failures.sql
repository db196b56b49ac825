-- What is rolled back is not logged; and nothing fails that would not fail by itself.
\set shown 'SELECT query FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
TRUNCATE pgcapture.ddl_logs;
\c -
CREATE TABLE f1 (a int PRIMARY KEY);
CREATE TABLE f1 (a int);
CREATE TABLE f2 (a missing);
DROP TABLE missing;
CREATE TABLE f3 AS SELECT 1 / (SELECT count(*) FROM f1) AS a;
BEGIN;
CREATE TABLE f4 (a int);
ROLLBACK;
BEGIN;
CREATE TABLE f5 (a int);
SAVEPOINT s;
CREATE TABLE f6 (a int);
ROLLBACK TO s;
CREATE TABLE f7 (a int);
SAVEPOINT s;
CREATE TABLE f7 (a int);
ROLLBACK TO s;
CREATE TABLE f8 (a int);
COMMIT;
DO $$ BEGIN
  BEGIN CREATE TABLE f9 (a int); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN CREATE TABLE f10 (a int); END;
END $$;
:shown;
-- The first command of a session fails.
\c -
CREATE TABLE f1 (a int);
CREATE TABLE f11 (a int);
:shown;
\c -
DO $$ BEGIN
  BEGIN CREATE TABLE f1 (a int); EXCEPTION WHEN duplicate_table THEN CREATE TABLE f12 (a int); END;
END $$;
:shown;

-- Prepared transactions.
BEGIN;
CREATE TABLE f13 (a int);
PREPARE TRANSACTION 'pgcapture 1';
BEGIN;
CREATE TABLE f14 (a int);
PREPARE TRANSACTION 'pgcapture 2';
SELECT query FROM pgcapture.ddl_logs;
COMMIT PREPARED 'pgcapture 1';
ROLLBACK PREPARED 'pgcapture 2';
:shown;

-- Read only.
\c -
BEGIN READ ONLY;
CREATE TABLE f15 (a int);
ROLLBACK;
BEGIN READ ONLY;
REINDEX TABLE f1;
COMMIT;
:shown;

-- Isolation levels.
BEGIN ISOLATION LEVEL REPEATABLE READ;
CREATE TABLE f16 (a int);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
CREATE TABLE f17 (a int);
DROP TABLE f17;
COMMIT;
:shown;

-- In an extension's script nothing is logged, only the command that runs it.
CREATE EXTENSION hstore;
COMMENT ON EXTENSION hstore IS 'x';
ALTER EXTENSION hstore DROP FUNCTION hstore(text, text);
ALTER EXTENSION hstore ADD FUNCTION hstore(text, text);
DROP EXTENSION hstore;
:shown;
-- Publications and subscriptions are the server's own.
SET client_min_messages = error;
CREATE PUBLICATION f18 FOR TABLE f1;
COMMENT ON PUBLICATION f18 IS 'x';
ALTER PUBLICATION f18 RENAME TO f19;
DROP PUBLICATION f19;
CREATE SUBSCRIPTION f20 CONNECTION 'dbname=none' PUBLICATION none WITH (connect = false);
COMMENT ON SUBSCRIPTION f20 IS 'x';
ALTER SUBSCRIPTION f20 SET (slot_name = NONE);
DROP SUBSCRIPTION f20;
:shown;
RESET client_min_messages;

-- A thousand in one transaction; their rows come in order.
DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('CREATE VIEW f21_%s AS SELECT %s AS a', i, i); END LOOP; END $$;
SELECT count(*), bool_and(query = format('CREATE VIEW f21_%s AS SELECT %s AS a', number, number))
FROM (SELECT query, row_number() OVER (ORDER BY id) AS number FROM pgcapture.ddl_logs) l;
DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('DROP VIEW f21_%s', i); END LOOP; END $$;
TRUNCATE pgcapture.ddl_logs;
