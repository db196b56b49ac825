-- Temporary relations leave no trace.
\set shown 'SELECT query, tags, exact FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
CREATE TABLE kept (a int PRIMARY KEY, b text);
CREATE SEQUENCE kept_seq;
CREATE ROLE pgcapture_reader;
TRUNCATE pgcapture.ddl_logs;

\c -
CREATE TEMP TABLE t1 (a serial PRIMARY KEY, b text CHECK (b <> ''));
CREATE TEMP TABLE IF NOT EXISTS t1 (a int);
CREATE TEMPORARY TABLE t2 AS SELECT 1 AS a;
SELECT 1 AS a INTO TEMP t3;
CREATE TABLE pg_temp.t4 (a int);
CREATE TEMP VIEW v1 AS SELECT * FROM t1;
CREATE VIEW v2 AS SELECT * FROM t1;
CREATE TEMP SEQUENCE q1;
CREATE TEMP SEQUENCE IF NOT EXISTS q1;
CREATE INDEX i1 ON t1 (b);
CREATE INDEX IF NOT EXISTS i1 ON t1 (b);
CREATE STATISTICS st1 ON a, b FROM t1;
ALTER STATISTICS st1 RENAME TO st2;
DROP STATISTICS st2;
CREATE TYPE pg_temp.c1 AS (a int);
CREATE FUNCTION pg_temp.f1() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER TABLE t1 ADD COLUMN c int DEFAULT 1;
ALTER TABLE t1 RENAME COLUMN c TO d;
ALTER TABLE t1 RENAME TO t1b;
ALTER TABLE t1b RENAME CONSTRAINT t1_pkey TO t1b_pkey;
ALTER INDEX i1 RENAME TO i2;
ALTER INDEX i2 SET (fillfactor = 50);
ALTER SEQUENCE q1 INCREMENT 2;
ALTER VIEW v1 RENAME TO v1b;
ALTER VIEW v1b ALTER COLUMN a SET DEFAULT 1;
COMMENT ON TABLE t1b IS 'x';
COMMENT ON COLUMN t1b.a IS 'x';
COMMENT ON INDEX i2 IS 'x';
COMMENT ON VIEW v1b IS 'x';
COMMENT ON CONSTRAINT t1b_pkey ON t1b IS 'x';
GRANT SELECT ON t1b TO pgcapture_reader;
GRANT SELECT (a) ON t1b, t2 TO pgcapture_reader;
REVOKE SELECT ON t1b FROM pgcapture_reader;
GRANT USAGE ON SEQUENCE q1 TO pgcapture_reader;
CREATE FUNCTION pg_temp.trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr1 BEFORE INSERT ON t1b FOR EACH ROW EXECUTE FUNCTION pg_temp.trigger();
ALTER TRIGGER tr1 ON t1b RENAME TO tr2;
COMMENT ON TRIGGER tr2 ON t1b IS 'x';
DROP TRIGGER tr2 ON t1b;
CREATE RULE r1 AS ON DELETE TO t1b DO ALSO NOTHING;
DROP RULE r1 ON t1b;
ALTER TABLE t1b ENABLE ROW LEVEL SECURITY;
CREATE POLICY p1 ON t1b USING (true);
ALTER POLICY p1 ON t1b USING (false);
DROP POLICY p1 ON t1b;
DROP VIEW v1b, v2;
DROP INDEX i2;
DROP SEQUENCE q1;
DROP TYPE pg_temp.c1;
DROP FUNCTION pg_temp.f1();
DROP TABLE t1b, t2, t3, pg_temp.t4;
CREATE TEMP TABLE on_commit (a int) ON COMMIT DROP;
:shown;

-- As the first command of a session.
\c -
CREATE TEMP TABLE first (a int);
:shown;
\c -
DO $$ BEGIN CREATE TEMP TABLE first (a int); CREATE TABLE second (a int); DROP TABLE first; END $$;
:shown;
\c -
SELECT 1 AS a INTO TEMP first;
:shown;

-- A permanent relation with the name of a temporary one.
CREATE TEMP TABLE kept (a int);
ALTER TABLE kept ADD b int;
COMMENT ON TABLE kept IS 'the temporary one';
COMMENT ON TABLE public.kept IS 'the permanent one';
DROP TABLE kept;
:shown;
CREATE TEMP TABLE kept (a int);
DROP TABLE kept, public.kept;
:shown;
CREATE TABLE kept (a int);
CREATE TEMP TABLE kept (a int);
SET search_path = public, pg_temp;
ALTER TABLE kept ADD b int;
DROP TABLE kept, pg_temp.kept;
:shown;
SET search_path = pg_temp, public;
CREATE TABLE in_path (a int);
CREATE TABLE in_path2 AS SELECT 1 AS a;
CREATE SEQUENCE in_path3;
DROP TABLE in_path, in_path2;
RESET search_path;
:shown;

-- Commands on both keep the permanent names.
CREATE TABLE k1 (a int); CREATE TABLE "K 2" (a int); CREATE TABLE k3 (a int);
CREATE VIEW kv1 AS SELECT 1 AS a; CREATE SEQUENCE ks1; CREATE INDEX ki1 ON k1 (a);
CREATE TEMP TABLE t1 (a int); CREATE TEMP TABLE t2 (a int);
CREATE TEMP VIEW tv1 AS SELECT 1 AS a; CREATE TEMP SEQUENCE ts1; CREATE INDEX ti1 ON t1 (a);
TRUNCATE pgcapture.ddl_logs;
GRANT SELECT, INSERT (a) ON k1, t1, /* , t2 */ "K 2", public.k3, pg_temp.t2 TO pgcapture_reader WITH GRANT OPTION;
GRANT ALL ON TABLE t1, k1 TO pgcapture_reader;
REVOKE ALL PRIVILEGES ON k1 , t1 FROM pgcapture_reader CASCADE;
DROP INDEX ti1, ki1;
DROP VIEW kv1, tv1;
DROP SEQUENCE IF EXISTS ts1, ks1 RESTRICT;
DROP TABLE IF EXISTS t1, k1, -- a comment, with a name: t2
  "K 2", missing, pg_temp.t2, public . k3 CASCADE;
:shown;
DROP TABLE IF EXISTS missing;
ALTER TABLE IF EXISTS missing ADD a int;
DROP VIEW IF EXISTS missing, no_schema.missing;
DROP FUNCTION IF EXISTS missing(int);
DROP TRIGGER IF EXISTS missing ON missing;
:shown;
CREATE TEMP TABLE t5 (a int);
DISCARD TEMP;
:shown;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM pgcapture_reader;
DROP ROLE pgcapture_reader;
