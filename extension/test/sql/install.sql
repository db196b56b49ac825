-- What CREATE EXTENSION makes, and that it says nothing in the stream about itself.
CREATE EXTENSION pgcapture;
SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull, pg_get_expr(adbin, adrelid) AS "default"
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = 'pgcapture.ddl_logs'::regclass AND attnum > 0 ORDER BY attnum;
SELECT relreplident FROM pg_class WHERE oid = 'pgcapture.ddl_logs'::regclass;
SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull, pg_get_expr(adbin, adrelid) AS "default"
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = 'pgcapture.sources'::regclass AND attnum > 0 ORDER BY attnum;
SELECT evtname, evtevent, evtenabled, evttags FROM pg_event_trigger ORDER BY evtname;
SELECT proname, pg_get_function_arguments(oid) AS arguments, format_type(prorettype, NULL) AS returns, prosrc, proacl IS NULL AS "public"
FROM pg_proc WHERE pronamespace = 'pgcapture'::regnamespace ORDER BY proname;
CREATE EXTENSION IF NOT EXISTS pgcapture;
ALTER EXTENSION pgcapture UPDATE;
SELECT count(*) FROM pgcapture.ddl_logs;
-- Outside of a DDL command there is none.
SELECT pgcapture.current_query();
SELECT pgcapture.sql_command_tags('CREATE TABLE a (); SELECT 1; SELECT 1 INTO b; ; DROP VIEW c');
SELECT pgcapture.sql_command_tags('');
SELECT pgcapture.log_ddl();
SHOW pgcapture.auto_replica_identity;
SHOW pgcapture.ddl_log_keep;
