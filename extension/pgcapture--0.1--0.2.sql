\echo Use "ALTER EXTENSION pgcapture UPDATE" to load this file. \quit

-- The commands below are about the log itself, and the triggers of 0.1 would look for columns and functions that are being replaced.
DROP EVENT TRIGGER pgcapture_ddl_command_start;
DROP EVENT TRIGGER pgcapture_ddl_command_end;

ALTER TABLE pgcapture.ddl_logs
  ADD COLUMN search_path text,
  ADD COLUMN role text,
  ADD COLUMN objects jsonb,
  ADD COLUMN exact boolean NOT NULL DEFAULT false,
  REPLICA IDENTITY NOTHING;

COMMENT ON TABLE pgcapture.ddl_logs IS 'DDL commands, for the change stream; pruned after pgcapture.ddl_log_keep';
COMMENT ON COLUMN pgcapture.ddl_logs.query IS 'the text of the command';
COMMENT ON COLUMN pgcapture.ddl_logs.tags IS 'the tag of each statement in query';
COMMENT ON COLUMN pgcapture.ddl_logs.activity IS 'the session that ran it';
COMMENT ON COLUMN pgcapture.ddl_logs.search_path IS 'the schemas that names were looked up in, for SET search_path';
COMMENT ON COLUMN pgcapture.ddl_logs.role IS 'the role that ran it';
COMMENT ON COLUMN pgcapture.ddl_logs.objects IS 'what it made, changed or dropped';
COMMENT ON COLUMN pgcapture.ddl_logs.exact IS 'query is this one command and nothing else';

-- Their arguments have other names, or none, in some releases of 0.1.
DROP FUNCTION pgcapture.log_ddl();
DROP FUNCTION pgcapture.current_query();
DROP FUNCTION pgcapture.sql_command_tags(text);

CREATE FUNCTION pgcapture.current_query() RETURNS text
  LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pgl_ddl_deploy_current_query';

CREATE FUNCTION pgcapture.sql_command_tags(query text) RETURNS text[]
  LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'sql_command_tags';

CREATE FUNCTION pgcapture.log_ddl() RETURNS event_trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'pgcapture_log_ddl';

CREATE FUNCTION pgcapture.prune(keep interval DEFAULT NULL) RETURNS bigint
  LANGUAGE c AS 'MODULE_PATHNAME', 'pgcapture_prune';
REVOKE ALL ON FUNCTION pgcapture.prune(interval) FROM PUBLIC;
COMMENT ON FUNCTION pgcapture.prune(interval) IS 'deletes rows of pgcapture.ddl_logs older than keep, by default pgcapture.ddl_log_keep';

CREATE EVENT TRIGGER pgcapture_ddl_command_start ON ddl_command_start EXECUTE FUNCTION pgcapture.log_ddl();
CREATE EVENT TRIGGER pgcapture_sql_drop ON sql_drop EXECUTE FUNCTION pgcapture.log_ddl();
CREATE EVENT TRIGGER pgcapture_ddl_command_end ON ddl_command_end EXECUTE FUNCTION pgcapture.log_ddl();

ALTER EVENT TRIGGER pgcapture_ddl_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER pgcapture_sql_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER pgcapture_ddl_command_end ENABLE ALWAYS;
