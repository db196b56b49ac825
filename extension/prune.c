/*-------------------------------------------------------------------------
 *
 * prune.c
 *	  Old rows leave, without a DELETE in the stream.
 *
 * The table has REPLICA IDENTITY NOTHING, so that the WAL records of its
 * deletes hold no key, and every output plugin passes over a DELETE without
 * one. The DELETE command itself would be refused for such a table once it is
 * published: the rows are deleted below it, without waiting for anybody.
 *
 *-------------------------------------------------------------------------
 */
#include "pgcapture.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pgcapture_prune);

/* Every so many rows some old ones are deleted: few enough not to be noticed. */
#define PRUNE_EVERY 64
#define PRUNE_BATCH 256

/*
 * Deletes up to `limit` rows that are older than `keep` minutes, and returns
 * how many.
 *
 * Their time is text, in the time zone of its session: a day's difference does
 * not matter, and a cast of what others have written could fail.
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
		SPIPlanPtr	new_plan = SPI_prepare("SELECT ctid FROM (SELECT ctid, activity"
										   " FROM pgcapture.ddl_logs ORDER BY id LIMIT $1) AS first"
										   " WHERE (activity OPERATOR(pg_catalog.->>) 'xact_start')"
										   " COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.<) $2",
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

/* After a row has been written. The time is as good as chance. */
void
prune_now_and_then(Relation log)
{
	if (pgcapture_ddl_log_keep > 0 && GetCurrentTimestamp() % PRUNE_EVERY == 0)
		prune(log, pgcapture_ddl_log_keep, PRUNE_BATCH);
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
