/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  The text of a command: that one statement of its string, and of a DROP
 *	  or GRANT only what is about permanent relations.
 *
 * Nothing here may fail where the command itself would not: names are looked
 * up without privileges and without complaint.
 *
 *-------------------------------------------------------------------------
 */
#include "pgcapture.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic_ext.h"
#include "common/keywords.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/scanner.h"
#include "parser/scansup.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Larger ones are not kept: a row of a gigabyte could not be decoded. */
#define TEXT_MAX (256 * 1024 * 1024)

static bool
is_temporary_name(List *name)
{
	Oid			temporary = LookupNamespaceNoError("pg_temp");
	const char *relation = strVal(llast(name));
	List	   *path;
	ListCell   *cell;

	/* The session has no temporary relations. */
	if (!OidIsValid(temporary))
		return false;

	if (list_length(name) > 1)
	{
		const char *schema = strVal(list_nth(name, list_length(name) - 2));

		return LookupNamespaceNoError(schema) == temporary &&
			OidIsValid(get_relname_relid(relation, temporary));
	}

	/* The first of that name in the path is meant. */
	path = fetch_search_path(true);
	foreach(cell, path)
	{
		if (OidIsValid(get_relname_relid(relation, lfirst_oid(cell))))
			return lfirst_oid(cell) == temporary;
	}
	return false;
}

/* Statistics lie in an ordinary schema also when they are about a temporary table. */
static bool
is_temporary_statistics(List *name)
{
	Oid			statistics = get_statistics_object_oid(name, true);
	HeapTuple	tuple;
	bool		temporary;

	if (!OidIsValid(statistics))
		return false;
	tuple = SearchSysCache1(STATEXTOID, ObjectIdGetDatum(statistics));
	if (!HeapTupleIsValid(tuple))
		return false;
	temporary = get_rel_persistence(((Form_pg_statistic_ext) GETSTRUCT(tuple))->stxrelid)
		== RELPERSISTENCE_TEMP;
	ReleaseSysCache(tuple);
	return temporary;
}

static List *
name_of_range(const RangeVar *relation)
{
	List	   *name = NIL;

	if (relation->catalogname)
		name = lappend(name, makeString(relation->catalogname));
	if (relation->schemaname)
		name = lappend(name, makeString(relation->schemaname));
	return lappend(name, makeString(relation->relname));
}

/*
 * Notes the relations that a DROP or GRANT names, and which of them are
 * temporary: only before the command is run can that be seen.
 */
static void
note_names(Command *command)
{
	ListCell   *cell;
	bool		statistics = false;
	int			i = 0;

	if (IsA(command->node, DropStmt))
	{
		DropStmt   *drop = (DropStmt *) command->node;

		switch (drop->removeType)
		{
			case OBJECT_TABLE:
			case OBJECT_VIEW:
			case OBJECT_INDEX:
			case OBJECT_SEQUENCE:
				command->names = drop->objects;
				break;
			case OBJECT_STATISTIC_EXT:
				command->names = drop->objects;
				statistics = true;
				break;
			case OBJECT_TRIGGER:
			case OBJECT_RULE:
			case OBJECT_POLICY:
				/* one of them, and its own name is the last part */
				foreach(cell, drop->objects)
				{
					List	   *name = list_copy(lfirst_node(List, cell));

					command->names = lappend(command->names,
											 list_truncate(name, list_length(name) - 1));
				}
				break;
			default:
				break;
		}
	}
	else if (IsA(command->node, GrantStmt))
	{
		GrantStmt  *grant = (GrantStmt *) command->node;

		if (grant->targtype == ACL_TARGET_OBJECT &&
			(grant->objtype == OBJECT_TABLE || grant->objtype == OBJECT_SEQUENCE))
		{
			foreach(cell, grant->objects)
				command->names = lappend(command->names,
										 name_of_range(lfirst_node(RangeVar, cell)));
		}
	}

	foreach(cell, command->names)
	{
		List	   *name = lfirst_node(List, cell);

		if (statistics ? is_temporary_statistics(name) : is_temporary_name(name))
			command->temporary = bms_add_member(command->temporary, i);
		i++;
	}
}

/*
 * Begins a command; source is NULL when it is not known yet. What is needed
 * later is allocated in the current memory context.
 */
void
command_begin(Command *command, Node *node, const char *source,
			  int location, int length)
{
	memset(command, 0, sizeof(Command));
	command->context = CurrentMemoryContext;
	command->node = node;
	command->source = source;
	command->location = Max(location, 0);
	command->length = length;
	command->exact = source != NULL;
	note_names(command);
}

/*
 * Whether it makes or alters a relation that is temporary. Event triggers are
 * told of it unless there was nothing to do.
 */
bool
names_temporary_relation(Node *node)
{
	RangeVar   *relation = NULL;
	List	   *path;

	switch (nodeTag(node))
	{
		case T_CreateStmt:
			relation = ((CreateStmt *) node)->relation;
			break;
		case T_CreateTableAsStmt:
			relation = ((CreateTableAsStmt *) node)->into->rel;
			break;
		case T_CreateSeqStmt:
			relation = ((CreateSeqStmt *) node)->sequence;
			break;
		case T_IndexStmt:
			return is_temporary_name(name_of_range(((IndexStmt *) node)->relation));
		case T_AlterTableStmt:
			/* REFRESH MATERIALIZED VIEW CONCURRENTLY does it, unseen by event triggers */
			return is_temporary_name(name_of_range(((AlterTableStmt *) node)->relation));
		default:
			return false;
	}

	if (relation->relpersistence == RELPERSISTENCE_TEMP)
		return true;
	if (relation->schemaname)
		return isTempNamespace(LookupNamespaceNoError(relation->schemaname));
	/* Made in the first schema of the path, which can be the temporary one. */
	path = fetch_search_path(false);
	return path != NIL && isTempNamespace(linitial_oid(path));
}

/*
 * Whether a statement of the parser's became this command. Analysis changes
 * CREATE TABLE AS, and makes it out of SELECT INTO; what they make stays.
 */
static bool
becomes(Node *raw, Node *node)
{
	if (IsA(node, CreateTableAsStmt))
	{
		RangeVar   *relation = ((CreateTableAsStmt *) node)->into->rel;

		if (IsA(raw, CreateTableAsStmt))
			return equal(((CreateTableAsStmt *) raw)->into->rel, relation);
		return IsA(raw, SelectStmt) && ((SelectStmt *) raw)->intoClause != NULL &&
			equal(((SelectStmt *) raw)->intoClause->rel, relation);
	}
	return equal(raw, node);
}

/*
 * Looks for the command in a string that is known to be run. If it cannot be
 * told which of several statements it is, the text is the whole string.
 */
void
command_from_source(Command *command, const char *source)
{
	List	   *statements = pg_parse_query(source);
	ListCell   *cell;

	command->source = pstrdup(source);
	foreach(cell, statements)
	{
		RawStmt    *raw = lfirst_node(RawStmt, cell);

		if (list_length(statements) == 1 || becomes(raw->stmt, command->node))
		{
			command->location = Max(raw->stmt_location, 0);
			command->length = raw->stmt_len;
			command->exact = true;
			return;
		}
	}
}

/*
 * The text with the names of temporary relations cut out of its list of names.
 * text begins at begin of the command's source. Where the list lies is told by
 * the number of its tokens.
 */
static char *
permanent_names_only(Command *command, const char *text, int begin)
{
	StringInfoData result;
	core_yyscan_t scanner;
	core_yy_extra_type extra;
	core_YYSTYPE value;
	YYLTYPE		at = 0;
	int			skip = 0;
	int			first = 0;
	int			token;
	int			i = 0;
	ListCell   *cell;

	/* An escape clause after a name is made of further tokens. */
	if (strstr(text, "U&\"") || strstr(text, "u&\""))
		return pstrdup(text);

	if (IsA(command->node, DropStmt))
	{
		DropStmt   *drop = (DropStmt *) command->node;

		/* DROP kind [CONCURRENTLY] [IF EXISTS] */
		skip = 2 + (drop->concurrent ? 1 : 0) + (drop->missing_ok ? 2 : 0);
	}
	else
		first = linitial_node(RangeVar, ((GrantStmt *) command->node)->objects)->location - begin;

	scanner = scanner_init(text, &extra, &ScanKeywords, ScanKeywordTokens);
	do
		token = core_yylex(&value, &at, scanner);
	while (token != 0 && (skip-- > 0 || at < first));

	initStringInfo(&result);
	appendBinaryStringInfo(&result, text, at);
	first = 0;
	foreach(cell, command->names)
	{
		List	   *name = lfirst_node(List, cell);
		int			rest;

		/* names and the dots between them; then the comma, or what follows */
		for (rest = 2 * list_length(name) - 1; token != 0 && rest > 0; rest--)
			token = core_yylex(&value, &at, scanner);
		if (lnext(command->names, cell) != NULL && token != 0)
			token = core_yylex(&value, &at, scanner);

		if (!bms_is_member(i++, command->temporary))
			appendStringInfo(&result, "%s%s", first++ ? ", " : "",
							 NameListToQuotedString(name));
	}
	if (token != 0)
		appendStringInfo(&result, " %s", text + at);
	scanner_finish(scanner);
	return result.data;
}

/* NULL when it is not known, or too large to be kept. */
char *
command_text(Command *command)
{
	const char *begin;
	const char *end;
	char	   *text;

	if (command->definition != NULL)
		return command->definition;
	if (command->source == NULL)
		return NULL;
	begin = command->source + command->location;
	end = begin + (command->length > 0 ? command->length : strlen(begin));
	while (begin < end && scanner_isspace(*begin))
		begin++;
	while (end > begin && (scanner_isspace(end[-1]) || end[-1] == ';'))
		end--;
	if (end - begin > TEXT_MAX)
	{
		command->exact = false;
		return NULL;
	}
	text = pnstrdup(begin, end - begin);
	if (!bms_is_empty(command->temporary) && command->exact)
		text = permanent_names_only(command, text, begin - command->source);
	return text;
}

/* The parser's: SELECT INTO becomes CREATE TABLE AS only after it. */
const char *
command_tag(Command *command)
{
	CommandTag	tag = CreateCommandTag(command->node);

	if (command->definition != NULL)
		return GetCommandTagName(CMDTAG_CREATE_TABLE);
	return GetCommandTagName(tag == CMDTAG_SELECT_INTO ? CMDTAG_SELECT : tag);
}
