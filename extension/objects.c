/*-------------------------------------------------------------------------
 *
 * objects.c
 *	  What a command has made, changed or dropped, as PostgreSQL tells its
 *	  event triggers: members of a JSON array.
 *
 * The queries run with the search path of whoever runs the command, as the
 * owner of the log: every operator and function is qualified.
 *
 *-------------------------------------------------------------------------
 */
#include "pgcapture.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Objects of these kinds belong to a relation, and are as temporary as it is. */
static const struct
{
	Oid			catalog;
	AttrNumber	relation;
}			parts_of_relations[] =
{
	{TriggerRelationId, Anum_pg_trigger_tgrelid},
	{RewriteRelationId, Anum_pg_rewrite_ev_class},
	{PolicyRelationId, Anum_pg_policy_polrelid},
	{ConstraintRelationId, Anum_pg_constraint_conrelid},
	{AttrDefaultRelationId, Anum_pg_attrdef_adrelid},
	{StatisticExtRelationId, Anum_pg_statistic_ext_stxrelid},
};

/*
 * Names of roles and databases are shared by all databases of the server, and
 * can be in the encoding of another one.
 */
const char *
valid_or_null(const char *text)
{
	return text && pg_verifymbstr(text, strlen(text), true) ? text : NULL;
}

/* Adds "key": value with the quoting of JSON; NULL becomes null. */
void
add_member(StringInfo json, const char *key, const char *value)
{
	value = valid_or_null(value);
	if (json->len > 0 && json->data[json->len - 1] != '{')
		appendStringInfoString(json, ", ");
	escape_json(json, key);
	appendStringInfoString(json, ": ");
	if (value)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

static Oid
attribute_of_object(Oid catalog_oid, Oid object, AttrNumber attribute)
{
	Relation	catalog = table_open(catalog_oid, AccessShareLock);
	HeapTuple	tuple = get_catalog_object_by_oid(catalog,
												  get_object_attnum_oid(catalog_oid),
												  object);
	Oid			value = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, attribute,
										 RelationGetDescr(catalog), &isnull);

		if (!isnull)
			value = DatumGetObjectId(datum);
	}
	table_close(catalog, AccessShareLock);
	return value;
}

static bool
is_temporary_object(Oid catalog, Oid object)
{
	AttrNumber	attribute;

	if (catalog == RelationRelationId)
		return get_rel_persistence(object) == RELPERSISTENCE_TEMP;
	for (int i = 0; i < lengthof(parts_of_relations); i++)
	{
		if (catalog == parts_of_relations[i].catalog)
		{
			Oid			relation = attribute_of_object(catalog, object,
													   parts_of_relations[i].relation);

			/* a constraint can be that of a domain */
			if (OidIsValid(relation))
				return get_rel_persistence(relation) == RELPERSISTENCE_TEMP;
		}
	}
	if (!is_objectclass_supported(catalog))
		return false;
	attribute = get_object_attnum_namespace(catalog);
	return attribute != InvalidAttrNumber &&
		isAnyTempNamespace(attribute_of_object(catalog, object, attribute));
}

/* Adds an object; what it is comes from a row of one of the queries below. */
static void
add_object(Command *command, const char *tag, const char *type,
		   const char *schema, const char *identity)
{
	StringInfo	json;

	if (++command->objects_number > OBJECTS_MAX)
		return;
	if (command->objects == NULL)
	{
		MemoryContext context = MemoryContextSwitchTo(command->context);

		command->objects = makeStringInfo();
		MemoryContextSwitchTo(context);
	}
	json = command->objects;
	if (json->len > 0)
		appendStringInfoString(json, ", ");
	appendStringInfoChar(json, '{');
	if (tag)
		add_member(json, "command_tag", tag);
	add_member(json, "object_type", type);
	add_member(json, "schema_name", schema);
	add_member(json, "object_identity", identity);
	if (tag == NULL)
		appendStringInfoString(json, ", \"dropped\": true");
	appendStringInfoChar(json, '}');
}

/* Runs a query whose plan is kept. Between SPI_connect and SPI_finish. */
static void
run_kept(SPIPlanPtr *plan, const char *query)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	new_plan = SPI_prepare(query, 0, NULL);

		if (new_plan == NULL || SPI_keepplan(new_plan) != 0)
			elog(ERROR, "cannot prepare: %s", query);
		*plan = new_plan;
	}
	/* After CREATE INDEX CONCURRENTLY there is no snapshot yet: take one. */
	if (SPI_execute_plan(*plan, NULL, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "cannot run: %s", query);
}

/* At ddl_command_end. */
void
read_commands(Command *command)
{
	static SPIPlanPtr plan = NULL;

	SPI_connect();
	run_kept(&plan,
			 "SELECT classid, objid, command_tag, object_type, schema_name, object_identity"
			 " FROM pg_catalog.pg_event_trigger_ddl_commands()");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Oid			catalog;
		Oid			object;
		const char *tag = SPI_getvalue(row, desc, 3);

		/* GRANT does not tell which object; its names do. */
		catalog = DatumGetObjectId(SPI_getbinval(row, desc, 1, &isnull));
		if (!isnull)
		{
			object = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
			if (is_temporary_object(catalog, object))
			{
				command->temporaries++;
				continue;
			}
			command->permanent++;
			if (catalog == RelationRelationId &&
				(strcmp(tag, "CREATE TABLE") == 0 ||
				 strcmp(tag, "CREATE TABLE AS") == 0 ||
				 strcmp(tag, "SELECT INTO") == 0))
			{
				MemoryContext context = MemoryContextSwitchTo(command->context);

				command->tables = list_append_unique_oid(command->tables, object);
				MemoryContextSwitchTo(context);
			}
		}
		add_object(command, tag, SPI_getvalue(row, desc, 4),
				   SPI_getvalue(row, desc, 5), SPI_getvalue(row, desc, 6));
	}
	SPI_finish();
}

/*
 * At sql_drop. Objects that went because they were part of another, as the
 * indexes of a table, are left out.
 */
void
read_dropped(Command *command)
{
	static SPIPlanPtr plan = NULL;

	SPI_connect();
	run_kept(&plan,
			 "SELECT original, is_temporary, object_type, schema_name, object_identity"
			 " FROM pg_catalog.pg_event_trigger_dropped_objects()"
			 " WHERE original OR normal");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		bool		original = DatumGetBool(SPI_getbinval(row, desc, 1, &isnull));

		if (DatumGetBool(SPI_getbinval(row, desc, 2, &isnull)))
		{
			if (original)
				command->temporaries++;
			continue;
		}
		if (original)
			command->permanent++;
		add_object(command, NULL, SPI_getvalue(row, desc, 3),
				   SPI_getvalue(row, desc, 4), SPI_getvalue(row, desc, 5));
	}
	SPI_finish();
}

/*
 * At ddl_command_start of CREATE TABLE AS and SELECT INTO, whose row has to be
 * written before the rows of the table: what is going to be made.
 */
void
add_table_of_select(Command *command)
{
	CreateTableAsStmt *create = (CreateTableAsStmt *) command->node;
	RangeVar   *relation = create->into->rel;
	Oid			schema = InvalidOid;
	const char *schema_name;

	if (relation->schemaname)
		schema = get_namespace_oid(relation->schemaname, true);
	else
	{
		List	   *path = fetch_search_path(false);

		if (path != NIL)
			schema = linitial_oid(path);
	}
	/* without a schema it is going to fail, and with the table nothing happens */
	if (!OidIsValid(schema) ||
		(create->if_not_exists && OidIsValid(get_relname_relid(relation->relname, schema))))
		return;
	schema_name = get_namespace_name(schema);
	add_object(command,
			   create->is_select_into ? "SELECT INTO" : "CREATE TABLE AS", "table",
			   schema_name, quote_qualified_identifier(schema_name, relation->relname));
}

/* Whether it was about temporary relations only, which leave no trace. */
bool
is_temporary(Command *command)
{
	if (command->names != NIL)
		return bms_num_members(command->temporary) == list_length(command->names);
	return (command->temporaries > 0 && command->permanent == 0) ||
		names_temporary_relation(command->node);
}
