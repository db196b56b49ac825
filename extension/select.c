/*-------------------------------------------------------------------------
 *
 * select.c
 *	  CREATE TABLE AS and SELECT INTO that nobody else can run.
 *
 * Their text can depend on what only this session has: temporary relations,
 * parameters (also the variables of a PL/pgSQL function), prepared statements.
 * What can be run elsewhere is the definition of the table; its rows are in
 * the stream anyway. EXPLAIN ANALYZE, which runs them too, is logged so as well.
 *
 *-------------------------------------------------------------------------
 */
#include "pgcapture.h"

#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/prepare.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

static bool
needs_session(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return ((Param *) node)->paramkind == PARAM_EXTERN;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		return entry->rtekind == RTE_RELATION &&
			get_rel_persistence(entry->relid) == RELPERSISTENCE_TEMP;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, needs_session, context,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, needs_session, context);
}

/*
 * The columns of the query, or NIL when anybody can run it, unless they are
 * wanted in any case.
 */
static List *
columns_of_select(CreateTableAsStmt *create, bool always)
{
	Query	   *query;

	if (!IsA(create->query, Query))
		return NIL;
	query = (Query *) create->query;
	if (query->commandType == CMD_UTILITY)
	{
		PreparedStatement *prepared;

		if (!IsA(query->utilityStmt, ExecuteStmt))
			return NIL;
		/* without such a statement the command is going to fail */
		prepared = FetchPreparedStatement(((ExecuteStmt *) query->utilityStmt)->name, false);
		return prepared ? FetchPreparedStatementTargetList(prepared) : NIL;
	}
	return always || needs_session((Node *) query, NULL) ? query->targetList : NIL;
}

/* NULL when the command can be run elsewhere as it stands, and always is false. */
char *
definition_of_select(Node *node, bool always)
{
	CreateTableAsStmt *create = (CreateTableAsStmt *) node;
	IntoClause *into = create->into;
	List	   *columns = columns_of_select(create, always);
	StringInfoData text;
	ListCell   *cell;
	int			number = 0;

	if (columns == NIL)
		return NULL;
	initStringInfo(&text);
	appendStringInfo(&text, "CREATE %sTABLE %s%s (",
					 into->rel->relpersistence == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "",
					 create->if_not_exists ? "IF NOT EXISTS " : "",
					 quote_qualified_identifier(into->rel->schemaname, into->rel->relname));
	foreach(cell, columns)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		Oid			type = exprType((Node *) entry->expr);
		Oid			collation = exprCollation((Node *) entry->expr);
		const char *name = entry->resname;

		if (entry->resjunk)
			continue;
		if (number < list_length(into->colNames))
			name = strVal(list_nth(into->colNames, number));
		appendStringInfo(&text, "%s%s %s", number++ > 0 ? ", " : "", quote_identifier(name),
						 format_type_extended(type, exprTypmod((Node *) entry->expr),
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		if (OidIsValid(collation) && collation != get_typcollation(type))
			appendStringInfo(&text, " COLLATE %s", generate_collation_name(collation));
	}
	appendStringInfoChar(&text, ')');
	if (into->accessMethod)
		appendStringInfo(&text, " USING %s", quote_identifier(into->accessMethod));
	if (into->tableSpaceName)
		appendStringInfo(&text, " TABLESPACE %s", quote_identifier(into->tableSpaceName));
	return text.data;
}

/* The CREATE TABLE AS that an EXPLAIN ANALYZE runs, or NULL. */
Node *
explained_select(Node *node)
{
	ExplainStmt *explain = (ExplainStmt *) node;
	Node	   *statement;
	bool		analyze = false;
	ListCell   *cell;

	if (!IsA(node, ExplainStmt) || !IsA(explain->query, Query))
		return NULL;
	statement = ((Query *) explain->query)->utilityStmt;
	if (statement == NULL || !IsA(statement, CreateTableAsStmt) ||
		CREATES_MATVIEW((CreateTableAsStmt *) statement))
		return NULL;
	foreach(cell, explain->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "analyze") == 0)
			analyze = defGetBoolean(option);
	}
	return analyze ? statement : NULL;
}
