/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between PostgreSQL 13 and 17, in one place.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGCAPTURE_COMPAT_H
#define PGCAPTURE_COMPAT_H

#if PG_VERSION_NUM < 130000
#error "pgcapture needs PostgreSQL 13 or newer"
#endif

/* 14: ProcessUtility is told whether it may scribble on the tree. */
#if PG_VERSION_NUM >= 140000
#define UTILITY_PARAMETERS \
	PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, \
	ProcessUtilityContext context, ParamListInfo params, \
	QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc
#define UTILITY_ARGUMENTS \
	pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc
#else
#define UTILITY_PARAMETERS \
	PlannedStmt *pstmt, const char *queryString, \
	ProcessUtilityContext context, ParamListInfo params, \
	QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc
#define UTILITY_ARGUMENTS \
	pstmt, queryString, context, params, queryEnv, dest, qc
#endif

/* 14: the field of CREATE TABLE AS that tells tables and materialized views apart. */
#if PG_VERSION_NUM >= 140000
#define CREATES_MATVIEW(ctas) ((ctas)->objtype == OBJECT_MATVIEW)
#else
#define CREATES_MATVIEW(ctas) ((ctas)->relkind == OBJECT_MATVIEW)
#endif

/* 15: no setting of ours can be made up any more. */
#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* 15: publications of whole schemas. */
#if PG_VERSION_NUM >= 150000
#define PUBLISHES_SCHEMA \
	" OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace s" \
	" WHERE s.pnpubid OPERATOR(pg_catalog.=) p.oid" \
	" AND s.pnnspid OPERATOR(pg_catalog.=) c.relnamespace)"
#else
#define PUBLISHES_SCHEMA ""
#endif

/* 17: a message can be flushed at once; ours goes with its transaction. */
#if PG_VERSION_NUM >= 170000
#define log_message(prefix, data, size) \
	LogLogicalMessage(prefix, data, size, true, false)
#else
#define log_message(prefix, data, size) \
	LogLogicalMessage(prefix, data, size, true)
#endif

#endif							/* PGCAPTURE_COMPAT_H */
