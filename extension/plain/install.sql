-- The capture of DDL in plain SQL, for servers that refuse the extension: to be run in one transaction, by a role that may create event
-- triggers. Run again, it brings an older installation up to date. docs/extension.md has the differences from the extension.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pgcapture') THEN
    RAISE EXCEPTION 'the extension pgcapture is installed in this database'
      USING HINT = 'DROP EXTENSION pgcapture first; the extension captures more than this does.';
  END IF;
  -- The commands below are not to be captured by an installation that is there.
  DROP EVENT TRIGGER IF EXISTS pgcapture_ddl_command_start;
  DROP EVENT TRIGGER IF EXISTS pgcapture_sql_drop;
  DROP EVENT TRIGGER IF EXISTS pgcapture_ddl_command_end;
END $$;

CREATE SCHEMA IF NOT EXISTS pgcapture;
COMMENT ON SCHEMA pgcapture IS 'pgcapture 0.2, in SQL';

CREATE TABLE IF NOT EXISTS pgcapture.ddl_logs (
  id serial PRIMARY KEY,
  query text,
  tags text[],
  activity jsonb,
  search_path text,
  role text,
  objects jsonb,
  exact boolean NOT NULL DEFAULT false
);

-- DDL makes lastval() that of this sequence: it is to be a number, and not an error.
GRANT SELECT ON SEQUENCE pgcapture.ddl_logs_id_seq TO PUBLIC;

CREATE TABLE IF NOT EXISTS pgcapture.sources (
  id text PRIMARY KEY,
  commit pg_lsn,
  seq int,
  commit_ts timestamptz,
  mid bytea,
  apply_ts timestamptz DEFAULT current_timestamp
);

-- Whether an object that pg_event_trigger_ddl_commands() names is, or belongs to, a temporary relation.
CREATE OR REPLACE FUNCTION pgcapture.is_temporary(catalog oid, object oid, schema_name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(schema_name = 'pg_temp', false) OR coalesce((
    SELECT c.relpersistence = 't' FROM pg_class c WHERE c.oid = CASE catalog
      WHEN 'pg_class'::regclass THEN object
      WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = object)
      WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = object)
      WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = object)
      WHEN 'pg_constraint'::regclass THEN (SELECT conrelid FROM pg_constraint WHERE oid = object)
      WHEN 'pg_attrdef'::regclass THEN (SELECT adrelid FROM pg_attrdef WHERE oid = object)
      WHEN 'pg_statistic_ext'::regclass THEN (SELECT stxrelid FROM pg_statistic_ext WHERE oid = object)
    END), false)
$$;

-- The text of the command, as far as SQL can see it. context is what PL/pgSQL says about who called whom, without its first line:
-- empty for a command that the client sent itself. PL/pgSQL shows the commands of its functions there; functions in SQL show nothing.
-- exact: it is the one command, as far as can be told here. Otherwise it is the whole string of the client, to be split by the reader.
CREATE OR REPLACE FUNCTION pgcapture.command_text(context text, sent text, OUT query text, OUT exact boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF context = '' THEN
    query := sent;
  ELSIF starts_with(context, 'SQL statement "') THEN
    -- up to the first line that begins like the next caller
    query := substring(context FROM '^SQL statement "(.*?)"(?:\nSQL |\nPL/|$)');
  END IF;
  query := rtrim(btrim(query, E' \t\r\n'), E'; \t\r\n');
  -- A semicolon can be in a literal as well; the reader sees to that.
  exact := query IS NOT NULL AND strpos(query, ';') = 0;
  -- Nobody could tell which of several it is.
  IF context <> '' AND NOT exact THEN
    query := NULL;
  END IF;
END $$;

-- Which of the commands with this tag in the client's string it is, from 1: by that the reader finds it again. All of a string have one
-- statement_timestamp(). 0 for a nested command; nothing for what belongs to another one: the script of an extension, and the temporary
-- tables of REFRESH MATERIALIZED VIEW CONCURRENTLY.
CREATE OR REPLACE FUNCTION pgcapture.nth_command(event text, tag text, nested boolean) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  -- at: of which string; inside: a command with others of its own is being run; the rest: how many commands there were of each tag
  counts jsonb := coalesce(NULLIF(current_setting('pgcapture_sql.counts', true), ''), '{}');
  has_others boolean := tag IN ('CREATE EXTENSION', 'ALTER EXTENSION', 'REFRESH MATERIALIZED VIEW');
BEGIN
  IF counts->>'at' IS DISTINCT FROM statement_timestamp()::text THEN
    counts := jsonb_build_object('at', statement_timestamp()::text);
  END IF;
  IF counts ? 'inside' AND NOT has_others THEN
    RETURN NULL;
  END IF;
  IF event = 'ddl_command_start' THEN
    IF NOT nested THEN
      counts := counts || jsonb_build_object(tag, coalesce((counts->>tag)::int, 0) + 1);
    END IF;
    IF has_others THEN
      counts := counts || '{"inside": true}';
    END IF;
  ELSIF event = 'ddl_command_end' AND has_others THEN
    counts := counts - 'inside';
  END IF;
  PERFORM set_config('pgcapture_sql.counts', counts::text, true);
  -- The count of a command that commits in between (CONCURRENTLY) is gone by its end; it is alone in its string.
  RETURN CASE WHEN nested THEN 0 ELSE coalesce((counts->>tag)::int, 1) END;
END $$;
REVOKE ALL ON FUNCTION pgcapture.nth_command(text, text, boolean) FROM PUBLIC;

-- It runs with the rights of whoever installed it: those who run DDL need none. Before the search path is set, everything is qualified.
CREATE OR REPLACE FUNCTION pgcapture.log_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  path_before text := pg_catalog.current_setting('search_path');
  path text;
  stack text;
  nested boolean;
  nth int;
  command record;
  found jsonb;
  permanent int;
  temporaries int;
BEGIN
  GET DIAGNOSTICS stack = PG_CONTEXT;
  -- A command must not fail because it is captured.
  BEGIN
    path := pg_catalog.array_to_string(
      ARRAY(SELECT pg_catalog.quote_ident(s) FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) AS s), ', ');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    IF tg_event = 'ddl_command_start' THEN
      PERFORM set_config('pgcapture_sql.dropped', '', true);
    END IF;

    nested := strpos(stack, E'\n') > 0;
    nth := pgcapture.nth_command(tg_event, tg_tag, nested);

    IF nth IS NULL OR current_setting('transaction_read_only') = 'on'
      OR tg_tag ~ '^(CREATE|ALTER|DROP) (PUBLICATION|SUBSCRIPTION)$' OR tg_tag = 'REFRESH MATERIALIZED VIEW' THEN
      NULL;
    ELSIF tg_event = 'sql_drop' THEN
      -- ddl_command_end cannot ask for it.
      PERFORM set_config('pgcapture_sql.dropped', (
        SELECT jsonb_build_object(
          'permanent', count(*) FILTER (WHERE original AND NOT temporary),
          'temporaries', count(*) FILTER (WHERE original AND temporary),
          'cascade', coalesce(bool_or(normal AND NOT original AND NOT temporary), false),
          'names', string_agg(object_identity, ', ' ORDER BY object_identity) FILTER (WHERE original AND NOT temporary),
          'objects', jsonb_agg(jsonb_build_object('dropped', true, 'object_type', object_type, 'schema_name', schema_name,
            'object_identity', object_identity)) FILTER (WHERE NOT temporary))::text
        FROM (
          SELECT *, is_temporary OR coalesce(address_names[1] = 'pg_temp', false) AS temporary
          FROM pg_event_trigger_dropped_objects() WHERE original OR normal LIMIT 1000) d), true);
    ELSIF tg_event = 'ddl_command_end' OR tg_tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN
      SELECT * INTO command FROM pgcapture.command_text(
        coalesce(substring(stack FROM '\n(.*)$'), ''), current_query());

      found := NULLIF(current_setting('pgcapture_sql.dropped', true), '')::jsonb;
      permanent := coalesce((found->>'permanent')::int, 0);
      temporaries := coalesce((found->>'temporaries')::int, 0);
      -- A DROP of both kinds is written anew, with the permanent names.
      IF permanent > 0 AND temporaries > 0 THEN
        command.query := format('%s %s%s', tg_tag, found->>'names', CASE WHEN (found->>'cascade')::boolean THEN ' CASCADE' ELSE '' END);
        command.exact := true;
        nth := NULL;
      END IF;
      found := coalesce(NULLIF(found->'objects', 'null'), '[]');

      IF tg_event = 'ddl_command_start' THEN
        IF command.exact AND command.query ~* '^\s*create\s+((local|global)\s+)?temp|\minto\s+((local|global)\s+)?temp(orary)?\M' THEN
          temporaries := 1;
        END IF;
      ELSIF EXISTS (SELECT FROM pg_event_trigger_ddl_commands()
        WHERE in_extension OR (object_type = 'extension' AND object_identity = 'pgcapture'))
        -- of its DROPs the call stack says so, from 18 on
        OR stack ~ '
extension script file "' THEN
        temporaries := 1;
        permanent := 0;
      ELSIF tg_tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN
        -- written at ddl_command_start
        temporaries := 1;
      ELSE
        SELECT found || coalesce(jsonb_agg(jsonb_build_object('command_tag', command_tag, 'object_type', object_type,
            'schema_name', schema_name, 'object_identity', object_identity)) FILTER (WHERE NOT temporary), '[]'),
          permanent + count(*) FILTER (WHERE NOT temporary), temporaries + count(*) FILTER (WHERE temporary)
        INTO found, permanent, temporaries
        FROM (SELECT *, pgcapture.is_temporary(classid, objid, schema_name) AS temporary FROM pg_event_trigger_ddl_commands() LIMIT 1000) c;
      END IF;
      PERFORM set_config('pgcapture_sql.dropped', '', true);

      IF temporaries = 0 OR permanent > 0 THEN
        INSERT INTO pgcapture.ddl_logs (query, tags, activity, search_path, role, objects, exact)
        VALUES (command.query, ARRAY[CASE tg_tag WHEN 'SELECT INTO' THEN 'SELECT' ELSE tg_tag END],
          jsonb_build_object('datname', current_database(), 'usename', session_user, 'application_name', current_setting('application_name'),
            'client_addr', inet_client_addr(), 'backend_start', NULL, 'xact_start', transaction_timestamp(),
            'nth', NULLIF(nth, 0)),
          path, CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END, found, command.exact);
      END IF;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pgcapture: this % is not captured: %', tg_tag, sqlerrm USING ERRCODE = sqlstate;
    PERFORM pg_catalog.pg_logical_emit_message(true, 'pgcapture.ddl_lost', tg_tag);
  END;
  PERFORM pg_catalog.set_config('search_path', path_before, true);
END $$;

-- Old rows; the reader leaves the DELETEs of this table out. Rows that others are deleting are left to them.
CREATE OR REPLACE FUNCTION pgcapture.prune(keep interval DEFAULT '30 days') RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH gone AS (
    DELETE FROM pgcapture.ddl_logs WHERE id IN (
      SELECT id FROM pgcapture.ddl_logs
      WHERE activity->>'xact_start' < to_jsonb(now() - keep)#>>'{}' COLLATE "C" FOR UPDATE SKIP LOCKED)
    RETURNING 1)
  SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION pgcapture.prune(interval) FROM PUBLIC;

CREATE EVENT TRIGGER pgcapture_ddl_command_start ON ddl_command_start EXECUTE FUNCTION pgcapture.log_ddl();
CREATE EVENT TRIGGER pgcapture_sql_drop ON sql_drop EXECUTE FUNCTION pgcapture.log_ddl();
CREATE EVENT TRIGGER pgcapture_ddl_command_end ON ddl_command_end EXECUTE FUNCTION pgcapture.log_ddl();
-- The rows that a session writes with session_replication_role = replica are in the stream. So is its DDL.
ALTER EVENT TRIGGER pgcapture_ddl_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER pgcapture_sql_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER pgcapture_ddl_command_end ENABLE ALWAYS;
