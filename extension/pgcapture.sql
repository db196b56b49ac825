-- The capture of DDL in plain SQL, for servers where the extension's library cannot be installed. Made by `pgcapture install --sql`.
--
-- The same schema, tables and functions as the extension's (docs/contract.md, section 5). What differs, and why, is in docs/extension.md:
-- SQL sees the client's whole string, not the one command in it. So a row has the string, exact = false and, in `activity`, `nth`: which of
-- the commands with this tag in the string it is. Capture takes the one command out of it and sets exact. A command that a function or a DO
-- block runs has no text at all.

CREATE SCHEMA IF NOT EXISTS pgcapture;
COMMENT ON SCHEMA pgcapture IS 'pgcapture 0.2, plain SQL';

CREATE TABLE pgcapture.ddl_logs (
    id serial PRIMARY KEY,
    query text,
    tags text[],
    activity jsonb,
    search_path text,
    role text,
    objects jsonb,
    exact boolean DEFAULT true
);

CREATE TABLE IF NOT EXISTS pgcapture.sources (
    id text PRIMARY KEY,
    commit pg_lsn,
    seq int,
    commit_ts timestamptz,
    mid bytea,
    apply_ts timestamptz DEFAULT CURRENT_TIMESTAMP
);

CREATE FUNCTION pgcapture.current_query() RETURNS text LANGUAGE sql AS 'SELECT pg_catalog.current_query()';

-- Runs as its owner, because those who run DDL may not write into the log. Until search_path is a safe one, everything is written out: the
-- caller's could hold operators and functions of the caller's own.
CREATE FUNCTION pgcapture.log_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $log_ddl$
DECLARE
    caller_path pg_catalog.text := pg_catalog.current_setting('search_path');
    stack pg_catalog.text;
BEGIN
    GET DIAGNOSTICS stack = PG_CONTEXT;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pgcapture.log_ddl_of(TG_EVENT, TG_TAG, caller_path, stack);
    PERFORM pg_catalog.set_config('search_path', caller_path, true);
END
$log_ddl$;

CREATE FUNCTION pgcapture.log_ddl_of(event text, tag text, caller_path text, stack text) RETURNS void LANGUAGE plpgsql AS $log_ddl_of$
DECLARE
    -- A line of the stack for each function that is running; the first is the trigger's own.
    nested boolean := strpos(stack, E'\n') > 0;
    logged_at text := CASE WHEN tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN 'ddl_command_start'  -- before the rows that it makes
        WHEN tag LIKE 'DROP %' THEN 'sql_drop'  -- where it is known what is dropped
        ELSE 'ddl_command_end' END;
    text_of_it text := CASE WHEN nested THEN NULL ELSE current_query() END;
    is_exact boolean := false;
    nth int;
    objects jsonb;
    temporary boolean;
    permanent boolean;
    caller name := CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END;
BEGIN
    IF NOT nested THEN
        nth := pgcapture.nth_ddl(event, tag);
        IF nth IS NULL THEN
            RETURN;
        END IF;
    END IF;
    IF event <> logged_at OR tag LIKE '% PUBLICATION' OR tag LIKE '% SUBSCRIPTION' OR tag IN ('REFRESH MATERIALIZED VIEW', 'REINDEX') THEN
        RETURN;
    END IF;

    IF event = 'ddl_command_end' THEN
        SELECT jsonb_agg(jsonb_build_object('tag', c.command_tag, 'type', c.object_type, 'schema', c.schema_name, 'identity', c.object_identity)),
            bool_or(c.schema_name LIKE 'pg_temp%'), bool_or(c.schema_name IS NULL OR c.schema_name NOT LIKE 'pg_temp%')
        INTO objects, temporary, permanent FROM pg_event_trigger_ddl_commands() c;
    ELSIF event = 'sql_drop' THEN
        SELECT jsonb_agg(jsonb_build_object('type', o.object_type, 'schema', o.schema_name, 'identity', o.object_identity))
                FILTER (WHERE o.original AND NOT o.is_temporary),
            bool_or(o.is_temporary) FILTER (WHERE o.original), bool_or(NOT o.is_temporary) FILTER (WHERE o.original)
        INTO objects, temporary, permanent FROM pg_event_trigger_dropped_objects() o;
        IF temporary AND permanent THEN
            -- Only what others can see is dropped there, too.
            SELECT tag || ' ' || string_agg(o.object_identity, ', ') FILTER (WHERE o.original AND NOT o.is_temporary)
                || CASE WHEN bool_or(o.normal AND NOT o.original AND NOT o.is_temporary) THEN ' CASCADE' ELSE '' END
            INTO text_of_it FROM pg_event_trigger_dropped_objects() o;
            is_exact := true;
        END IF;
    END IF;
    IF temporary AND NOT permanent THEN
        RETURN;
    END IF;

    INSERT INTO pgcapture.ddl_logs (query, tags, activity, search_path, role, objects, exact)
    SELECT text_of_it, ARRAY[tag],
        jsonb_strip_nulls(jsonb_build_object('datname', a.datname, 'usename', a.usename, 'application_name', a.application_name,
            'client_addr', a.client_addr, 'backend_start', a.backend_start, 'xact_start', a.xact_start,
            'nth', CASE WHEN NOT is_exact THEN nth END)),
        caller_path, caller, objects, is_exact
    FROM pg_stat_activity a WHERE a.pid = pg_backend_pid();

    -- Old rows have been captured long ago; capture does not pass their removal on.
    IF random() < 0.01 THEN
        DELETE FROM pgcapture.ddl_logs WHERE (activity->>'xact_start')::timestamptz < now() - interval '30 days';
    END IF;
END
$log_ddl_of$;

-- Which of the commands with this tag in the client's string it is, from 1; all of a string have one statement_timestamp(). Nothing for what
-- the script of an extension does.
CREATE FUNCTION pgcapture.nth_ddl(event text, tag text) RETURNS int LANGUAGE plpgsql AS $nth_ddl$
DECLARE
    -- at: of which string; inside: an extension is being made or changed; the rest: how many commands there were of each tag.
    counts jsonb := coalesce(nullif(current_setting('pgcapture.counts', true), ''), '{}');
    of_extension boolean := tag IN ('CREATE EXTENSION', 'ALTER EXTENSION');
BEGIN
    IF counts->>'at' IS DISTINCT FROM statement_timestamp()::text THEN
        counts := jsonb_build_object('at', statement_timestamp()::text);
    END IF;
    IF counts ? 'inside' AND NOT of_extension THEN
        RETURN NULL;
    END IF;
    IF event = 'ddl_command_start' THEN
        counts := counts || jsonb_build_object(tag, coalesce((counts->>tag)::int, 0) + 1);
    END IF;
    IF of_extension THEN
        counts := CASE event WHEN 'ddl_command_start' THEN counts || '{"inside": true}' WHEN 'ddl_command_end' THEN counts - 'inside' ELSE counts END;
    END IF;
    PERFORM set_config('pgcapture.counts', counts::text, true);
    -- The count of a command that commits in between (CONCURRENTLY) is gone by its end; it is alone in its string.
    RETURN coalesce((counts->>tag)::int, 1);
END
$nth_ddl$;

REVOKE ALL ON FUNCTION pgcapture.log_ddl_of(text, text, text, text), pgcapture.nth_ddl(text, text) FROM PUBLIC;

CREATE EVENT TRIGGER pgcapture_ddl_command_start ON ddl_command_start EXECUTE FUNCTION pgcapture.log_ddl();
CREATE EVENT TRIGGER pgcapture_sql_drop ON sql_drop EXECUTE FUNCTION pgcapture.log_ddl();
CREATE EVENT TRIGGER pgcapture_ddl_command_end ON ddl_command_end EXECUTE FUNCTION pgcapture.log_ddl();
-- The rows that a session with session_replication_role = replica writes are in the stream; so is its DDL.
ALTER EVENT TRIGGER pgcapture_ddl_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER pgcapture_sql_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER pgcapture_ddl_command_end ENABLE ALWAYS;
