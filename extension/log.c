/*-------------------------------------------------------------------------
 *
 * log.c
 *	  The event triggers, and the rows that they write.
 *
 * A command must not fail because it is captured. What is read for a row is
 * read in a subtransaction, which takes no transaction id and can fail. The
 * row itself is written in one only when somebody has changed the table: else
 * nothing can go wrong that would not stop the command as well, and a
 * migration of a thousand commands does not become one of a thousand
 * subtransactions. A row that cannot be written is reported as a warning, and
 * as a logical message in the stream.
 *
 *-------------------------------------------------------------------------
 */
#include "pgcapture.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "replication/message.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pgcapture_log_ddl);
PG_FUNCTION_INFO_V1(pgcapture_prune);
PG_FUNCTION_INFO_V1(pgl_ddl_deploy_current_query);
PG_FUNCTION_INFO_V1(sql_command_tags);

/* What a reader of the stream gets instead of a row that could not be written. */
#define LOST_PREFIX "pgcapture.ddl_lost"

/* Every so many rows some old ones are deleted: few enough not to be noticed. */
#define PRUNE_EVERY 64
#define PRUNE_BATCH 256

static const char *const log_columns[] =
{"id", "query", "tags", "activity", "search_path", "role", "objects", "exact"};

static Oid
our_relation(const char *name)
{
	Oid			schema = get_namespace_oid("pgcapture", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

static Oid
log_table(void)
{
	return our_relation("ddl_logs");
}

/*
 * Runs a step in a subtransaction. If it fails, its effects are undone, there is
 * a warning, and the answer is false. Being told to stop is no failure of the
 * step.
 */
static bool
guarded(void (*step) (Command *), Command *command)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step(command);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error == NULL)
		return true;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("pgcapture: %s", error->message)));
	FreeErrorData(error);
	return false;
}

/* Commands that a copy of the database has no use for, and ours on ourselves. */
static bool
is_ignored(CommandTag tag, Node *node)
{
	const char *extension = NULL;

	switch (tag)
	{
		case CMDTAG_CREATE_PUBLICATION:
		case CMDTAG_ALTER_PUBLICATION:
		case CMDTAG_DROP_PUBLICATION:
		case CMDTAG_CREATE_SUBSCRIPTION:
		case CMDTAG_ALTER_SUBSCRIPTION:
		case CMDTAG_DROP_SUBSCRIPTION:
		case CMDTAG_REFRESH_MATERIALIZED_VIEW:
			return true;
		default:
			break;
	}
	switch (nodeTag(node))
	{
		case T_CommentStmt:
			return ((CommentStmt *) node)->objtype == OBJECT_PUBLICATION ||
				((CommentStmt *) node)->objtype == OBJECT_SUBSCRIPTION;
		case T_SecLabelStmt:
			return ((SecLabelStmt *) node)->objtype == OBJECT_PUBLICATION ||
				((SecLabelStmt *) node)->objtype == OBJECT_SUBSCRIPTION;
		case T_CreateExtensionStmt:
			extension = ((CreateExtensionStmt *) node)->extname;
			break;
		case T_AlterExtensionStmt:
			extension = ((AlterExtensionStmt *) node)->extname;
			break;
		default:
			break;
	}
	return extension != NULL && strcmp(extension, "pgcapture") == 0;
}

/*
 * The schemas in which names were looked up, as SET search_path takes them.
 * fetch_search_path() would make the temporary schema if it comes first in the
 * path, or fail to. This function leaves it out, as it should be left out here,
 * and lists pg_catalog also where it is first without being named.
 */
static char *
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
	static Oid	types[] = {INT4OID, TEXTOID, TEXTARRAYOID, JSONBOID, TEXTOID, TEXTOID, JSONBOID, BOOLOID};
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
	if (command->role != NULL)
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

/*
 * Deletes up to `limit` rows that are older than `keep` minutes, and returns
 * how many.
 *
 * The deletes are not decoded. The table has REPLICA IDENTITY NOTHING, so that
 * their WAL records hold no key, and every output plugin passes over a DELETE
 * without one. The DELETE command itself would be refused for such a table once
 * it is published: the rows are deleted below it, without waiting for anybody.
 *
 * xact_start is in the time zone of its session: a day's difference does not matter.
 */
static int
prune(Relation log, int64 keep, int limit)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT4OID, TEXTOID};
	TimestampTz oldest = GetCurrentTimestamp() - keep * INT64CONST(60000000);
	char		buffer[MAXDATELEN + 1];
	Datum		values[2];
	int			deleted = 0;

	/*
	 * A transaction with one snapshot would have to fail at rows that others
	 * deleted; and what refers to the rows by foreign keys is not ours to break.
	 */
	if (IsolationUsesXactSnapshot() || XactReadOnly ||
		log->rd_rel->relreplident != REPLICA_IDENTITY_NOTHING ||
		log->trigdesc != NULL)
		return 0;

	JsonEncodeDateTime(buffer, TimestampTzGetDatum(oldest), TIMESTAMPTZOID, NULL);
	values[0] = Int32GetDatum(limit);
	values[1] = CStringGetTextDatum(buffer);

	SPI_connect();
	if (plan == NULL)
	{
		SPIPlanPtr	new_plan = SPI_prepare("SELECT ctid FROM (SELECT ctid, activity FROM pgcapture.ddl_logs"
										   " ORDER BY id LIMIT $1) AS first"
										   " WHERE (activity OPERATOR(pg_catalog.->>) 'xact_start') COLLATE \"C\""
										   " OPERATOR(pg_catalog.<) $2",
										   lengthof(types), types);

		if (new_plan == NULL || SPI_keepplan(new_plan) != 0)
			elog(ERROR, "cannot prepare the pruning of pgcapture.ddl_logs");
		plan = new_plan;
	}
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "cannot read pgcapture.ddl_logs");
	PushActiveSnapshot(GetTransactionSnapshot());
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		row = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		TM_FailureData failure;

		if (table_tuple_delete(log, (ItemPointer) DatumGetPointer(row),
							   GetCurrentCommandId(true), GetActiveSnapshot(),
							   InvalidSnapshot, false, &failure, false) == TM_Ok)
			deleted++;
	}
	PopActiveSnapshot();
	SPI_finish();
	return deleted;
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

/*
 * Writes the row of a command, as the owner of the table: whoever runs the
 * command needs no right on it.
 */
static void
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
		if (pgcapture_ddl_log_keep > 0 && GetCurrentTimestamp() % PRUNE_EVERY == 0)
			prune(log, pgcapture_ddl_log_keep, PRUNE_BATCH);
	}
	else if (!guarded(insert_row, command))
		report_loss(command);
	SetUserIdAndSecContext(user, security);
	relation_close(log, NoLock);
}

/* Reads what the command is about, with the rights of the log's owner. */
static void
read_as_owner(void (*step) (Command *), Command *command)
{
	Oid			user;
	int			security;
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(log_table()));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE);
	if (!guarded(step, command))
	{
		command->objects = NULL;
		command->objects_number = 0;
	}
	SetUserIdAndSecContext(user, security);
}

/* Gives the tables that a command made REPLICA IDENTITY FULL if they have no key. */
static void
give_identities(Command *command)
{
	ListCell   *cell;

	foreach(cell, command->tables)
	{
		Relation	table = try_relation_open(lfirst_oid(cell), AccessShareLock);
		char	   *statement;
		Oid			owner;
		Oid			user;
		int			security;
		bool		needed;

		if (table == NULL)
			continue;
		needed = (table->rd_rel->relkind == RELKIND_RELATION ||
				  table->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) &&
			table->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT &&
			table->rd_rel->relreplident == REPLICA_IDENTITY_DEFAULT &&
			!OidIsValid(RelationGetReplicaIndex(table));
		owner = table->rd_rel->relowner;
		statement = psprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL",
							 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)),
														RelationGetRelationName(table)));
		relation_close(table, AccessShareLock);
		if (!needed)
			continue;

		/* It is a command of its own: its event triggers log it. */
		GetUserIdAndSecContext(&user, &security);
		SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE);
		SPI_connect();
		if (SPI_execute(statement, false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "cannot run: %s", statement);
		SPI_finish();
		SetUserIdAndSecContext(user, security);
	}
}

/*
 * ddl_command_start. A table that is filled as it is made has to be in the
 * stream before its rows.
 */
static void
begin_command(Command *command)
{
	MemoryContext context = MemoryContextSwitchTo(command->context);

	command->search_path = effective_search_path();
	command->role = GetUserNameFromId(GetUserId(), true);
	if (IsA(command->node, CreateTableAsStmt) &&
		!CREATES_MATVIEW((CreateTableAsStmt *) command->node) &&
		!names_temporary_relation(command->node))
	{
		if (command->definition == NULL)
			command->definition = definition_of_select(command->node, false);
		add_table_of_select(command);
		log_command(command);
	}
	MemoryContextSwitchTo(context);
}

/*
 * EXPLAIN ANALYZE CREATE TABLE AS makes the table, and no event trigger is told.
 */
void
log_explained_select(Node *node)
{
	Node	   *select = explained_select(node);
	Oid			table;
	Command		command;

	if (select == NULL || creating_extension || XactReadOnly)
		return;
	/* Version 0.1 does not know it. */
	table = log_table();
	if (!OidIsValid(table) || get_attnum(table, "exact") == InvalidAttrNumber)
		return;
	command_begin(&command, select, NULL, 0, 0);
	command.definition = definition_of_select(select, true);
	command.exact = command.definition != NULL;
	begin_command(&command);
}

/* ddl_command_end */
static void
end_command(Command *command)
{
	/* The trigger of the start was disabled. */
	if (command->search_path == NULL)
		begin_command(command);
	if (!command->logged || pgcapture_auto_replica_identity)
		read_as_owner(read_commands, command);
	if (!command->logged && !is_temporary(command))
		log_command(command);
	if (pgcapture_auto_replica_identity && command->tables != NIL)
		give_identities(command);
}

/* pgcapture.log_ddl() */
Datum
pgcapture_log_ddl(PG_FUNCTION_ARGS)
{
	EventTriggerData *trigger = (EventTriggerData *) fcinfo->context;
	Command    *command;
	bool		begins;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("pgcapture.log_ddl() is a function for event triggers")));

	/* The replica gets what an extension's script does from its own CREATE EXTENSION. */
	if (creating_extension || is_ignored(trigger->tag, trigger->parsetree))
		PG_RETURN_NULL();
	/* REINDEX can run where nothing may be written. */
	if (XactReadOnly)
		PG_RETURN_NULL();

	begins = strcmp(trigger->event, "ddl_command_start") == 0;
	command = command_of_trigger(trigger, begins);
	if (begins)
		begin_command(command);
	else if (strcmp(trigger->event, "sql_drop") == 0)
		read_as_owner(read_dropped, command);
	else
		end_command(command);
	PG_RETURN_NULL();
}

/* pgcapture.prune(keep interval): all at once, without a limit. */
Datum
pgcapture_prune(PG_FUNCTION_ARGS)
{
	int64		keep = pgcapture_ddl_log_keep;
	Relation	log = table_openrv(makeRangeVar("pgcapture", "ddl_logs", -1), RowExclusiveLock);
	Oid			user;
	int			security;
	int64		total = 0;
	int			deleted;

	if (!PG_ARGISNULL(0))
	{
		Interval   *interval = PG_GETARG_INTERVAL_P(0);

		keep = interval->time / INT64CONST(60000000) +
			INT64CONST(1440) * (interval->day + INT64CONST(30) * interval->month);
	}
	if (log->rd_rel->relreplident != REPLICA_IDENTITY_NOTHING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the deletes would be in the stream"),
				 errhint("ALTER TABLE pgcapture.ddl_logs REPLICA IDENTITY NOTHING")));

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(log->rd_rel->relowner, security | SECURITY_LOCAL_USERID_CHANGE);
	do
	{
		CHECK_FOR_INTERRUPTS();
		deleted = prune(log, keep, PRUNE_BATCH);
		CommandCounterIncrement();
		total += deleted;
	} while (deleted == PRUNE_BATCH);
	SetUserIdAndSecContext(user, security);
	table_close(log, NoLock);
	PG_RETURN_INT64(total);
}

/*
 * pgcapture.current_query(): the text of the command that is being run, NULL if
 * it is not to be logged. The trigger of version 0.1 is written around it.
 */
Datum
pgl_ddl_deploy_current_query(PG_FUNCTION_ARGS)
{
	Command    *command = creating_extension ? NULL : command_of_session();
	char	   *text;

	if (command == NULL)
		PG_RETURN_NULL();
	guarded(read_commands, command);
	if (is_temporary(command) ||
		is_ignored(CreateCommandTag(command->node), command->node))
		PG_RETURN_NULL();
	text = command_text(command);
	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/* pgcapture.sql_command_tags(text): the parser's tag of each statement. */
Datum
sql_command_tags(PG_FUNCTION_ARGS)
{
	List	   *statements = pg_parse_query(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Datum	   *tags = palloc(sizeof(Datum) * Max(list_length(statements), 1));
	int			number = 0;
	ListCell   *cell;

	foreach(cell, statements)
	{
		CommandTag	tag = CreateCommandTag(lfirst_node(RawStmt, cell)->stmt);

		tags[number++] = CStringGetTextDatum(GetCommandTagName(tag));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(tags, number, TEXTOID, -1, false, TYPALIGN_INT));
}
