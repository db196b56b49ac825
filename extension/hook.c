/*-------------------------------------------------------------------------
 *
 * hook.c
 *	  Which command is being run.
 *
 * The hook sees every utility command of a session from the moment on when the
 * library is loaded. Where it is not preloaded, that moment is the first call
 * of an event trigger, in the middle of a command that the hook has not seen:
 * that one is looked for in the portal, or in the string that SPI or a
 * function is running.
 *
 *-------------------------------------------------------------------------
 */
#include "pgcapture.h"

#include <limits.h>

#include "fmgr.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

bool		pgcapture_auto_replica_identity = false;
int			pgcapture_ddl_log_keep;

static ProcessUtility_hook_type next_hook = NULL;

/* The innermost command that the hook has seen. */
static Command *current = NULL;

/* The one that was being run when the library was loaded. */
static Command unseen;

static void
run_next(UTILITY_PARAMETERS)
{
	if (next_hook)
		next_hook(UTILITY_ARGUMENTS);
	else
		standard_ProcessUtility(UTILITY_ARGUMENTS);
}

static void
process_utility(UTILITY_PARAMETERS)
{
	Command		command;

	/* Parts of a command fire no event triggers of their own. */
	if (context == PROCESS_UTILITY_SUBCOMMAND)
	{
		run_next(UTILITY_ARGUMENTS);
		return;
	}

	command_begin(&command, pstmt->utilityStmt, queryString,
				  pstmt->stmt_location, pstmt->stmt_len);
	command.outer = current;
	current = &command;
	PG_TRY();
	{
		log_explained_select(pstmt->utilityStmt);
		run_next(UTILITY_ARGUMENTS);
		if (IsA(pstmt->utilityStmt, TruncateStmt))
			log_partition_truncate(pstmt->utilityStmt);
	}
	PG_FINALLY();
	{
		current = command.outer;
	}
	PG_END_TRY();
}

/*
 * The string that the innermost SPI call or SQL function is running, or NULL.
 * Neither tells; but when an error has a position in that string, its context
 * callback adds the string to the error. So: raise one, and catch it.
 */
static const char *
inner_source(void)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *error;

	PG_TRY();
	{
		ereport(ERROR,
				(errmsg_internal("which string is being run?"), errposition(1)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	return error->internalquery;
}

/*
 * Looks for the command in a string. It can be one that the parser refuses, as
 * an expression of PL/pgSQL with a function in C that runs commands: catching
 * the parser's errors is safe, because it holds nothing but memory.
 */
static void
find_in_source(Command *command, const char *source)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		command_from_source(command, source);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
}

/*
 * Fills in a command that the hook has not seen. At ddl_command_start its tree
 * is still as the parser made it, and can be compared. node is NULL when the
 * caller does not know it: then only a command of the client itself is found,
 * or nothing (false).
 */
static bool
find_unseen(Command *command, Node *node)
{
	Portal		portal = ActivePortal;
	ListCell   *cell;
	const char *source;

	if (portal != NULL)
	{
		foreach(cell, portal->stmts)
		{
			PlannedStmt *statement = lfirst_node(PlannedStmt, cell);
			Node	   *utility = statement->utilityStmt;

			if (utility == NULL || IsA(utility, DoStmt) || IsA(utility, CallStmt))
				continue;
			if (node == NULL || node == utility || equal(node, utility))
			{
				command_begin(command, node ? node : utility, portal->sourceText,
							  statement->stmt_location, statement->stmt_len);
				return true;
			}
		}
	}
	if (node == NULL)
		return false;

	command_begin(command, node, NULL, 0, 0);
	source = inner_source();
	if (source == NULL && portal != NULL)
		source = portal->sourceText;
	if (source != NULL)
		find_in_source(command, source);
	return true;
}

/* The command whose event trigger is being run; begins: the first of them. */
Command *
command_of_trigger(EventTriggerData *trigger, bool begins)
{
	Node	   *node = trigger->parsetree;
	MemoryContext context;

	/*
	 * Code that runs commands past the hook would show here as a command of
	 * another kind.
	 */
	if (current != NULL && CreateCommandTag(current->node) == trigger->tag)
	{
		/* It may be a copy of the hook's, and is the one that is run. */
		current->node = node;
		return current;
	}
	if (!begins && unseen.node == node)
		return &unseen;

	context = MemoryContextSwitchTo(PortalContext ? PortalContext
									: TopTransactionContext);
	find_unseen(&unseen, node);
	MemoryContextSwitchTo(context);
	return &unseen;
}

/*
 * The command that calls a function: for the trigger of version 0.1, which is
 * written in PL/pgSQL. NULL if that cannot be told.
 */
Command *
command_of_session(void)
{
	Command    *command;

	if (current != NULL)
		return current;
	command = palloc(sizeof(Command));
	return find_unseen(command, NULL) ? command : NULL;
}

void
_PG_init(void)
{
	DefineCustomBoolVariable("pgcapture.auto_replica_identity",
							 "Gives tables that are created without a key REPLICA IDENTITY FULL.",
							 NULL,
							 &pgcapture_auto_replica_identity,
							 false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pgcapture.ddl_log_keep",
							"How long rows of pgcapture.ddl_logs are kept.",
							"0 keeps them for ever.",
							&pgcapture_ddl_log_keep,
							30 * 24 * 60, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MIN, NULL, NULL, NULL);
	MarkGUCPrefixReserved("pgcapture");

	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
