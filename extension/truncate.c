/*-------------------------------------------------------------------------
 *
 * truncate.c
 *	  TRUNCATE of a single partition.
 *
 * A publication made with publish_via_partition_root shows the rows of a
 * partition as rows of the partitioned table, and leaves out a TRUNCATE of the
 * partition, because there is no way to say it in those terms. A logical
 * message in the transaction says it in the partition's own.
 *
 *-------------------------------------------------------------------------
 */
#include "pgcapture.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "libpq/pqformat.h"
#include "nodes/parsenodes.h"
#include "replication/message.h"
#include "utils/lsyscache.h"

#define TRUNCATE_PREFIX "pgcapture.truncate"

/* The publications that show the relation as one of those it is a part of. */
static const char *const publications_query =
"SELECT p.pubname FROM pg_catalog.pg_publication p"
" WHERE p.pubviaroot AND p.pubtruncate AND EXISTS ("
"SELECT FROM pg_catalog.pg_partition_ancestors($1) a"
" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.relid::pg_catalog.oid"
" WHERE c.oid OPERATOR(pg_catalog.<>) $1::pg_catalog.oid AND (p.puballtables"
" OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel r"
" WHERE r.prpubid OPERATOR(pg_catalog.=) p.oid AND r.prrelid OPERATOR(pg_catalog.=) c.oid)"
PUBLISHES_SCHEMA "))"
" ORDER BY p.pubname";

/*
 * The message is made of the name of the publication, and then of what
 * pgoutput's Truncate has, with names instead of OIDs: the number of relations
 * (int32), a byte of options (1: CASCADE, 2: RESTART IDENTITY), and for each
 * relation its schema and its name. Names end in a zero byte.
 */
static void
log_truncate(const char *publication, Oid relation, TruncateStmt *truncate)
{
	StringInfoData message;

	pq_begintypsend(&message);
	/* no length word, as a value on its way to a client would have it */
	message.len = 0;
	pq_sendstring(&message, publication);
	pq_sendint32(&message, 1);
	pq_sendbyte(&message, (truncate->behavior == DROP_CASCADE ? 1 : 0) |
				(truncate->restart_seqs ? 2 : 0));
	pq_sendstring(&message, get_namespace_name(get_rel_namespace(relation)));
	pq_sendstring(&message, get_rel_name(relation));
	log_message(TRUNCATE_PREFIX, message.data, message.len);
	pfree(message.data);
}

static void
log_relation(TruncateStmt *truncate, Oid relation)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {REGCLASSOID};
	Datum		values[] = {ObjectIdGetDatum(relation)};

	SPI_connect();
	if (plan == NULL)
	{
		SPIPlanPtr	new_plan = SPI_prepare(publications_query, 1, types);

		if (new_plan == NULL || SPI_keepplan(new_plan) != 0)
			elog(ERROR, "cannot prepare: %s", publications_query);
		plan = new_plan;
	}
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "cannot run: %s", publications_query);
	for (uint64 i = 0; i < SPI_processed; i++)
		log_truncate(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
					 relation, truncate);
	SPI_finish();
}

/* After a TRUNCATE, in its transaction. */
void
log_partition_truncate(Node *node)
{
	TruncateStmt *truncate = (TruncateStmt *) node;
	ListCell   *cell;

	/* Where the extension is not installed, nobody reads the message. */
	if (!XLogLogicalInfoActive() || !OidIsValid(get_namespace_oid("pgcapture", true)))
		return;
	foreach(cell, truncate->relations)
	{
		Oid			relation = RangeVarGetRelid(lfirst_node(RangeVar, cell), NoLock, true);

		if (OidIsValid(relation) && get_rel_relispartition(relation) &&
			get_rel_persistence(relation) == RELPERSISTENCE_PERMANENT)
			log_relation(truncate, relation);
	}
}
