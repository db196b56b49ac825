-- The text of a row is the one command, wherever it comes from; also when it is the first of its session.
\set shown 'SELECT query, tags, exact FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
TRUNCATE pgcapture.ddl_logs;

\c -
  CREATE TABLE s1 (a int)  ;
CREATE TABLE s2 (a text DEFAULT ';') /* a comment; */
;
:shown;

-- Several in one string.
\c -
SET work_mem = 4096 \; CREATE TABLE s3 () \; CREATE TABLE s4 () \; INSERT INTO s1 VALUES (1) \; ALTER TABLE s3 ADD b int;
:shown;

-- A DO block.
\c -
DO $$
BEGIN
  CREATE TABLE s5 ();
  INSERT INTO s1 VALUES (2);
  EXECUTE 'CREATE TABLE s6 (); CREATE TABLE s7 ();';
  FOR i IN 8..9 LOOP
    EXECUTE format('CREATE TABLE s%s ()', i);
  END LOOP;
END $$;
:shown;

-- Functions of PL/pgSQL and SQL, which call one another.
CREATE FUNCTION make_sql(int) RETURNS void LANGUAGE sql AS
  'SELECT 1; CREATE TABLE in_sql (a int); CREATE INDEX in_sql_a ON in_sql (a); DROP TABLE in_sql;';
CREATE FUNCTION make_plpgsql() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM make_sql(1);
  CREATE VIEW in_plpgsql AS SELECT 1 AS one;
END $$;
CREATE PROCEDURE make_procedure() LANGUAGE plpgsql AS $$
BEGIN
  CREATE TABLE p1 ();
  COMMIT;
  CREATE TABLE p2 ();
END $$;
TRUNCATE pgcapture.ddl_logs;
\c -
SELECT make_sql(1);
:shown;
\c -
SELECT make_plpgsql();
:shown;
\c -
CALL make_procedure();
:shown;

-- A schema with what is in it is one command.
\c -
CREATE SCHEMA s10 CREATE TABLE t (id serial PRIMARY KEY) CREATE VIEW v AS SELECT * FROM t CREATE INDEX ON t (id);
:shown;

-- Tables that are filled as they are made are logged first.
\c -
CREATE TABLE s11 AS SELECT generate_series(1, 3) AS a;
SELECT a INTO s12 FROM s11;
CREATE TABLE IF NOT EXISTS s11 AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW s13 AS SELECT * FROM s11;
REFRESH MATERIALIZED VIEW s13;
CREATE UNIQUE INDEX ON s13 (a);
REFRESH MATERIALIZED VIEW CONCURRENTLY s13;
:shown;
\c -
SET work_mem = 4096 \; SELECT a INTO s14 FROM s11 \; CREATE TABLE s15 AS SELECT 1;
:shown;
\c -
DO $$ BEGIN CREATE TABLE s16 AS SELECT 1; CREATE TABLE s17 AS SELECT 2; END $$;
:shown;

-- Commands that run in transactions of their own.
\c -
CREATE INDEX CONCURRENTLY s11_a ON s11 (a);
:shown;
DROP INDEX CONCURRENTLY s11_a;
:shown;

-- DDL of an event trigger of somebody else.
CREATE FUNCTION follow() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  COMMENT ON TABLE s1 IS 'followed';
END $$;
CREATE EVENT TRIGGER a_follow ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION follow();
TRUNCATE pgcapture.ddl_logs;
\c -
CREATE TABLE s18 (); CREATE TABLE s19 ();
:shown;
DROP EVENT TRIGGER a_follow;

-- Event triggers that a session turns off otherwise.
\c -
SET session_replication_role = replica;
CREATE TABLE s20 ();
:shown;
RESET session_replication_role;

-- Quoted names, comments and a text of a megabyte are kept as they are.
CREATE TABLE "S;21" (/* a; */ a int, "b""c" text);
DO $$ BEGIN EXECUTE 'COMMENT ON TABLE s1 IS ' || quote_literal(repeat('0123456789', 100000)); END $$;
SELECT left(query, 40) AS query, length(query), tags, exact FROM pgcapture.ddl_logs ORDER BY id;
TRUNCATE pgcapture.ddl_logs;
-- One that ends in spaces and semicolons.
CREATE TABLE s22 ()  ; ;
:shown;

SET client_min_messages = warning;
DROP SCHEMA s10 CASCADE;
