-- CREATE TABLE AS and SELECT INTO whose text only their session can run are logged as the definition of the table.
\set shown 'SELECT query, tags, exact FROM pgcapture.ddl_logs ORDER BY id; TRUNCATE pgcapture.ddl_logs'
CREATE SCHEMA sel;
CREATE TYPE sel.mood AS ENUM ('good');
CREATE TABLE permanent (a int, b varchar(10));
TRUNCATE pgcapture.ddl_logs;
\c -
-- Temporary relations.
CREATE TEMP TABLE source AS SELECT 1 AS a, 'x'::varchar(10) AS b, 1.5::numeric(6, 2) AS "C c", 'y' COLLATE "C" AS d, '{good}'::sel.mood[] AS e;
CREATE TABLE l1 AS SELECT * FROM source;
SELECT a, b INTO sel.l2 FROM source;
CREATE UNLOGGED TABLE l3 (x, "Y") AS SELECT a, b, 1 AS c FROM permanent WHERE EXISTS (SELECT FROM source) ORDER BY a + 1;
CREATE TABLE IF NOT EXISTS l4 AS WITH w AS (SELECT a FROM source) SELECT w.a FROM w JOIN permanent USING (a);
CREATE TABLE l5 USING heap AS TABLE source WITH NO DATA;
:shown;
-- Variables of a function, and its parameters.
CREATE FUNCTION make(n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  label text := 'label';
BEGIN
  CREATE TABLE l6 AS SELECT n AS number, label AS label, m FROM generate_series(1, 3) m;
  CREATE TABLE l7 AS SELECT m FROM generate_series(1, 3) m;
END $$;
TRUNCATE pgcapture.ddl_logs;
SELECT make(5);
:shown;
\c -
SELECT make(5) WHERE false;
DROP TABLE l6, l7;
TRUNCATE pgcapture.ddl_logs;
\c -
SELECT make(5);
:shown;
-- Prepared statements.
PREPARE p (int) AS SELECT $1 AS a, now() AS b;
CREATE TABLE l8 AS EXECUTE p(1);
CREATE TABLE l9 AS EXECUTE missing(1);
:shown;
-- EXPLAIN ANALYZE makes the table as well.
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT json) CREATE TABLE l15 AS SELECT a, 2 AS b FROM permanent \g /dev/null
EXPLAIN (ANALYZE) CREATE TEMP TABLE l16 AS SELECT a FROM permanent \g /dev/null
EXPLAIN (ANALYZE off) CREATE TABLE l17 AS SELECT a FROM permanent \g /dev/null
SELECT count(*) FROM l15;
:shown;
-- What anybody can run stays as it is; what is created is what was logged.
CREATE TABLE l10 AS SELECT * FROM permanent;
:shown;
SELECT attrelid::regclass AS "table", attname, format_type(atttypid, atttypmod) AS type, collname
FROM pg_attribute LEFT JOIN pg_collation c ON c.oid = attcollation
WHERE attrelid IN ('l1'::regclass, 'l3'::regclass, 'l6'::regclass, 'l8'::regclass) AND attnum > 0 ORDER BY attrelid, attnum;
-- Several in one function, whichever is the first command of the session.
CREATE FUNCTION make_sql() RETURNS void LANGUAGE sql AS
  'CREATE TABLE l11 AS SELECT 1 AS a; CREATE TABLE l12 AS SELECT 2 AS a; SELECT 3 AS a INTO l13; SELECT 4 AS a INTO l14';
TRUNCATE pgcapture.ddl_logs;
\c -
SELECT make_sql();
:shown;
DROP TABLE l1, l3, l4, l5, l6, l7, l8, l10, l15, l11, l12, l13, l14, permanent;
DROP FUNCTION make(int), make_sql();
SET client_min_messages = warning;
DROP SCHEMA sel CASCADE;
TRUNCATE pgcapture.ddl_logs;
