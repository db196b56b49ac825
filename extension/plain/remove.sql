-- Removes what plain/install.sql made, and the log with it. The position of a sink, in pgcapture.sources, stays if there is one.
DO $$
BEGIN
  DROP EVENT TRIGGER IF EXISTS pgcapture_ddl_command_start;
  DROP EVENT TRIGGER IF EXISTS pgcapture_sql_drop;
  DROP EVENT TRIGGER IF EXISTS pgcapture_ddl_command_end;
  DROP FUNCTION IF EXISTS pgcapture.log_ddl();
  DROP FUNCTION IF EXISTS pgcapture.command_text(text, text);
  DROP FUNCTION IF EXISTS pgcapture.nth_command(text, text, boolean);
  DROP FUNCTION IF EXISTS pgcapture.is_temporary(oid, oid, text);
  DROP FUNCTION IF EXISTS pgcapture.prune(interval);
  DROP TABLE IF EXISTS pgcapture.ddl_logs;
  IF to_regclass('pgcapture.sources') IS NULL THEN
    DROP SCHEMA IF EXISTS pgcapture;
  ELSIF NOT EXISTS (SELECT FROM pgcapture.sources) THEN
    DROP SCHEMA pgcapture CASCADE;
  END IF;
END $$;
