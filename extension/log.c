/*-------------------------------------------------------------------------
 *
 * log.c
 *	  The event triggers: which commands are logged, and when.
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

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(pgcapture_log_ddl);
PG_FUNCTION_INFO_V1(pgl_ddl_deploy_current_query);
PG_FUNCTION_INFO_V1(sql_command_tags);

/*
 * Runs a step in a subtransaction. If it fails, its effects are undone, there is
 * a warning, and the answer is false. Being told to stop is no failure of the
 * step.
 */
bool
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
