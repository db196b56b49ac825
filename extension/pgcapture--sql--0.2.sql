-- CREATE EXTENSION pgcapture VERSION 'sql'; ALTER EXTENSION pgcapture UPDATE TO '0.2': takes over the tables of plain/install.sql.
\echo Use "ALTER EXTENSION pgcapture UPDATE" to load this file. \quit

DROP EVENT TRIGGER pgcapture_ddl_command_start;
DROP EVENT TRIGGER pgcapture_sql_drop;
DROP EVENT TRIGGER pgcapture_ddl_command_end;
DROP FUNCTION pgcapture.log_ddl();
DROP FUNCTION pgcapture.command_text(text, text);
DROP FUNCTION pgcapture.nth_command(text, text, boolean);
DROP FUNCTION pgcapture.is_temporary(oid, oid, text);
DROP FUNCTION pgcapture.prune(interval);

ALTER EXTENSION pgcapture ADD SCHEMA pgcapture;
ALTER EXTENSION pgcapture ADD TABLE pgcapture.ddl_logs;
ALTER EXTENSION pgcapture ADD SEQUENCE pgcapture.ddl_logs_id_seq;
ALTER EXTENSION pgcapture ADD TABLE pgcapture.sources;
REVOKE SELECT ON SEQUENCE pgcapture.ddl_logs_id_seq FROM PUBLIC;
ALTER TABLE pgcapture.ddl_logs REPLICA IDENTITY NOTHING;
COMMENT ON SCHEMA pgcapture IS NULL;
COMMENT ON TABLE pgcapture.ddl_logs IS 'DDL commands, for the change stream; pruned after pgcapture.ddl_log_keep';
COMMENT ON COLUMN pgcapture.ddl_logs.query IS 'the text of the command';
COMMENT ON COLUMN pgcapture.ddl_logs.tags IS 'the tag of each statement in query';
COMMENT ON COLUMN pgcapture.ddl_logs.activity IS 'the session that ran it';
COMMENT ON COLUMN pgcapture.ddl_logs.search_path IS 'the schemas that names were looked up in, for SET search_path';
COMMENT ON COLUMN pgcapture.ddl_logs.role IS 'the role that ran it';
COMMENT ON COLUMN pgcapture.ddl_logs.objects IS 'what it made, changed or dropped';
COMMENT ON COLUMN pgcapture.ddl_logs.exact IS 'query is this one command and nothing else';

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

-- The rows that a session writes with session_replication_role = replica are in the stream. So is its DDL.
ALTER EVENT TRIGGER pgcapture_ddl_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER pgcapture_sql_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER pgcapture_ddl_command_end ENABLE ALWAYS;
