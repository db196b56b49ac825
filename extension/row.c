/*-------------------------------------------------------------------------
 *
 * row.c
 *	  The row of a command.
 *
 * It is written as the owner of the table: whoever runs the command needs no
 * right on it. The queries run with the search path of whoever runs the
 * command: every operator and function in them is qualified.
 *
 *-------------------------------------------------------------------------
 */
#include "pgcapture.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

/* What a reader of the stream gets instead of a row that could not be written. */
#define LOST_PREFIX "pgcapture.ddl_lost"

static const char *const log_columns[] =
{"id", "query", "tags", "activity", "search_path", "role", "objects", "exact"};

static Oid
our_relation(const char *name)
{
	Oid			schema = get_namespace_oid("pgcapture", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/* The table, or InvalidOid. */
Oid
log_table(void)
{
	return our_relation("ddl_logs");
}

/*
 * The schemas in which names were looked up, as SET search_path takes them.
 * fetch_search_path() would make the temporary schema if it comes first in the
 * path, or fail to. This function leaves it out, as it should be left out here,
 * and lists pg_catalog also where it is first without being named.
 */
char *
effective_search_path(void)
{
	StringInfoData path;
	Oid			schemas[64];
	int			number = Min(fetch_search_path_array(schemas, lengthof(schemas)),
							 lengthof(schemas));

	initStringInfo(&path);
	for (int i = 0; i < number; i++)
	{
		const char *name = get_namespace_name(schemas[i]);

		if (name && !(i == 0 && schemas[i] == PG_CATALOG_NAMESPACE))
			appendStringInfo(&path, "%s%s", path.len > 0 ? ", " : "",
							 quote_identifier(name));
	}
	return path.data;
}

static void
add_time(StringInfo json, const char *key, TimestampTz time)
{
	char		buffer[MAXDATELEN + 1];

	if (time == 0)
		add_member(json, key, NULL);
	else
		add_member(json, key, JsonEncodeDateTime(buffer, TimestampTzGetDatum(time),
												 TIMESTAMPTZOID, NULL));
}

/*
 * The session, as pg_stat_activity shows it. That view itself would be frozen
 * by a look at it until the end of the transaction, for the client as well.
 */
static char *
session_activity(void)
{
	LOCAL_FCINFO(call, 0);
	StringInfoData json;
	Datum		address;

	/* libpq-be.h, which has MyProcPort, needs headers of Kerberos. */
	InitFunctionCallInfoData(*call, NULL, 0, InvalidOid, NULL, NULL);
	address = inet_client_addr(call);

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	add_member(&json, "datname", get_database_name(MyDatabaseId));
	add_member(&json, "usename",
			   GetUserNameFromId(OidIsValid(GetAuthenticatedUserId()) ? GetAuthenticatedUserId()
								 : GetSessionUserId(), true));
	add_member(&json, "application_name", application_name ? application_name : "");
	add_member(&json, "client_addr",
			   call->isnull ? NULL : DatumGetCString(DirectFunctionCall1(inet_out, address)));
	add_time(&json, "backend_start", MyStartTimestamp);
	add_time(&json, "xact_start", GetCurrentTransactionStartTimestamp());
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* Whether nobody has added to the table what an INSERT of ours could fail at. */
static bool
is_as_made(Relation log)
{
	TupleDesc	desc = RelationGetDescr(log);
	int			columns = 0;
	List	   *indexes = RelationGetIndexList(log);
	int			indexes_number = list_length(indexes);

	list_free(indexes);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			columns++;
	}
	for (int i = 0; i < lengthof(log_columns); i++)
	{
		if (get_attnum(RelationGetRelid(log), log_columns[i]) == InvalidAttrNumber)
			return false;
	}
	return log->rd_rel->relkind == RELKIND_RELATION &&
		columns == lengthof(log_columns) &&
		indexes_number == 1 &&
		OidIsValid(our_relation("ddl_logs_id_seq")) &&
		log->rd_rel->relchecks == 0 &&
		log->trigdesc == NULL &&
		log->rd_rules == NULL &&
		!log->rd_rel->relrowsecurity;
}

/*
 * The next number of a row. nextval() would also change what lastval() tells
 * the client, who may not even read the sequence. setval() does not; the lock,
 * which nobody else knows, is released at once.
 */
static int32
next_id(Oid sequence)
{
	LOCAL_FCINFO(call, 1);
	Datum		last;
	int64		next;

	InitFunctionCallInfoData(*call, NULL, 1, InvalidOid, NULL, NULL);
	call->args[0].value = ObjectIdGetDatum(sequence);
	call->args[0].isnull = false;
	LockDatabaseObject(RelationRelationId, sequence, 0, ExclusiveLock);
	last = pg_sequence_last_value(call);
	next = call->isnull ? 1 : DatumGetInt64(last) + 1;
	if (next > PG_INT32_MAX)
		next = 1;
	DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), Int64GetDatum(next));
	UnlockDatabaseObject(RelationRelationId, sequence, 0, ExclusiveLock);
	return (int32) next;
}

static void
insert_row(Command *command)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT4OID, TEXTOID, TEXTARRAYOID, JSONBOID,
		TEXTOID, TEXTOID, JSONBOID, BOOLOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];
	Datum		tag = CStringGetTextDatum(command_tag(command));
	char	   *text = command_text(command);
	StringInfoData objects;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int32GetDatum(next_id(our_relation("ddl_logs_id_seq")));
	if (text != NULL)
		values[1] = CStringGetTextDatum(text);
	else
		nulls[1] = 'n';
	values[2] = PointerGetDatum(construct_array(&tag, 1, TEXTOID, -1, false, TYPALIGN_INT));
	values[3] = DirectFunctionCall1(jsonb_in, CStringGetDatum(session_activity()));
	values[4] = CStringGetTextDatum(command->search_path);
	/* a role can be dropped while it is connected */
	if (valid_or_null(command->role) != NULL)
		values[5] = CStringGetTextDatum(command->role);
	else
		nulls[5] = 'n';
	initStringInfo(&objects);
	appendStringInfo(&objects, "[%s", command->objects ? command->objects->data : "");
	if (command->objects_number > OBJECTS_MAX)
		appendStringInfo(&objects, ", {\"more\": %d}", command->objects_number - OBJECTS_MAX);
	appendStringInfoChar(&objects, ']');
	values[6] = DirectFunctionCall1(jsonb_in, CStringGetDatum(objects.data));
	values[7] = BoolGetDatum(command->exact);

	SPI_connect();
	if (plan == NULL)
	{
		SPIPlanPtr	new_plan = SPI_prepare("INSERT INTO pgcapture.ddl_logs"
										   " (id, query, tags, activity, search_path, role, objects, exact)"
										   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
										   lengthof(types), types);

		if (new_plan == NULL || SPI_keepplan(new_plan) != 0)
			elog(ERROR, "cannot prepare the insertion into pgcapture.ddl_logs");
		plan = new_plan;
	}
	if (SPI_execute_plan(plan, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "cannot insert into pgcapture.ddl_logs");
	SPI_finish();
}

static void
report_loss(Command *command)
{
	const char *tag = command_tag(command);

	log_message(LOST_PREFIX, tag, strlen(tag));
	ereport(WARNING,
			(errmsg("pgcapture: this %s is not captured", tag),
			 errhint("See whether pgcapture.ddl_logs is as the extension made it.")));
}

/* Writes the row of a command. */
void
log_command(Command *command)
{
	Oid			table = log_table();
	Relation	log = OidIsValid(table) ? try_relation_open(table, RowExclusiveLock) : NULL;
	Oid			user;
	int			security;

	command->logged = true;
	if (log == NULL)
	{
		report_loss(command);
		return;
	}
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(log->rd_rel->relowner, security | SECURITY_LOCAL_USERID_CHANGE);
	if (is_as_made(log))
	{
		insert_row(command);
		prune_now_and_then(log);
	}
	else if (!guarded(insert_row, command))
		report_loss(command);
	SetUserIdAndSecContext(user, security);
	relation_close(log, NoLock);
}
