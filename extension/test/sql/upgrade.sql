-- From 0.1 to 0.2: the same as a new 0.2, and the rows that were there stay.
SET client_min_messages = warning;
DROP EXTENSION pgcapture;
RESET client_min_messages;
CREATE EXTENSION pgcapture;
CREATE TEMP TABLE made AS
SELECT classid::regclass AS class, pg_describe_object(classid, objid, objsubid) AS object
FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgcapture');
CREATE TEMP TABLE made_columns AS
SELECT attrelid::regclass::text AS relation, attname, format_type(atttypid, atttypmod) AS type, attnotnull,
  pg_get_expr(adbin, adrelid) AS "default", col_description(attrelid, attnum) AS comment, relreplident
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'pgcapture'::regnamespace AND attnum > 0;
CREATE TEMP TABLE made_functions AS
SELECT p.oid::regprocedure::text AS function, prosrc, proacl::text, proisstrict, pg_get_function_arguments(p.oid) AS arguments, l.lanname
FROM pg_proc p JOIN pg_language l ON l.oid = prolang WHERE pronamespace = 'pgcapture'::regnamespace;
CREATE TEMP TABLE made_triggers AS
SELECT evtname, evtevent, evtenabled, evttags, evtfoid::regproc::text AS function FROM pg_event_trigger;

DROP EXTENSION pgcapture;
CREATE EXTENSION pgcapture VERSION '0.1';
CREATE TABLE u1 (a int);
ALTER EXTENSION pgcapture UPDATE TO '0.2';
CREATE TABLE u2 (a int);
SELECT query, tags, search_path, role, exact, jsonb_array_length(objects) AS objects FROM pgcapture.ddl_logs ORDER BY id;

(TABLE made EXCEPT
 SELECT classid::regclass, pg_describe_object(classid, objid, objsubid)
 FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgcapture'));
SELECT (SELECT count(*) FROM made) = count(*) AS same FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgcapture');
(TABLE made_columns EXCEPT
 SELECT attrelid::regclass::text AS relation, attname, format_type(atttypid, atttypmod) AS type, attnotnull,
   pg_get_expr(adbin, adrelid) AS "default", col_description(attrelid, attnum) AS comment, relreplident
 FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE relnamespace = 'pgcapture'::regnamespace AND attnum > 0);
(TABLE made_functions EXCEPT
 SELECT p.oid::regprocedure::text, prosrc, proacl::text, proisstrict, pg_get_function_arguments(p.oid), l.lanname
 FROM pg_proc p JOIN pg_language l ON l.oid = prolang WHERE pronamespace = 'pgcapture'::regnamespace);
(TABLE made_triggers EXCEPT SELECT evtname, evtevent, evtenabled, evttags, evtfoid::regproc::text FROM pg_event_trigger);
-- Removal is complete, and leaves everything else alone.
DROP EXTENSION pgcapture;
SELECT count(*) FROM pg_event_trigger;
SELECT to_regnamespace('pgcapture') IS NULL AS gone;
DROP TABLE u1, u2;
