/*-------------------------------------------------------------------------
 *
 * pgcapture.h
 *	  DDL commands as rows of pgcapture.ddl_logs.
 *
 * A hook on ProcessUtility (hook.c) keeps track of the command that is being
 * run, because an event trigger is told its parse tree but not its text. The
 * event triggers (log.c) write a row for it (row.c): its text (statement.c,
 * select.c), and the objects that it made, changed or dropped (objects.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGCAPTURE_H
#define PGCAPTURE_H

#include "postgres.h"

#include "commands/event_trigger.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "compat.h"

/*
 * A command that is being run. It lives as long as ProcessUtility runs, on the
 * stack of the hook; what it points to lies in a memory context that outlives
 * the command, also when the command commits transactions as it goes (CREATE
 * INDEX CONCURRENTLY).
 */
typedef struct Command
{
	struct Command *outer;		/* the one that runs this one, or NULL */
	MemoryContext context;
	Node	   *node;
	const char *source;			/* the string it came in; NULL: unknown */
	int			location;		/* where it begins there, in bytes */
	int			length;			/* 0: up to the end */
	bool		exact;			/* location and length are known */
	char	   *definition;		/* to be logged instead of its text */

	/* of DROP and GRANT, which take more than one relation */
	List	   *names;			/* each a list of String */
	Bitmapset  *temporary;		/* which of them are temporary relations */

	/* from ddl_command_start on */
	char	   *search_path;
	char	   *role;
	bool		logged;

	/* what the event triggers say about it: members of a JSON array */
	StringInfo	objects;
	int			objects_number;
	int			permanent;
	int			temporaries;
	List	   *tables;			/* OIDs of tables that it made */
} Command;

/* hook.c */
extern bool pgcapture_auto_replica_identity;
extern int	pgcapture_ddl_log_keep;
extern Command *command_of_trigger(EventTriggerData *trigger, bool begins);
extern Command *command_of_session(void);

/* statement.c */
extern void command_begin(Command *command, Node *node, const char *source,
						  int location, int length);
extern void command_from_source(Command *command, const char *source);
extern char *command_text(Command *command);
extern const char *command_tag(Command *command);
extern bool names_temporary_relation(Node *node);

/* select.c */
extern char *definition_of_select(Node *node, bool always);
extern Node *explained_select(Node *node);

/* Of more objects only the number is kept: a command can drop a million. */
#define OBJECTS_MAX 1000

/* objects.c */
extern const char *valid_or_null(const char *text);
extern void add_member(StringInfo json, const char *key, const char *value);
extern void read_commands(Command *command);
extern void read_dropped(Command *command);
extern void add_table_of_select(Command *command);
extern bool is_temporary(Command *command);

/* row.c */
extern Oid	log_table(void);
extern char *effective_search_path(void);
extern void log_command(Command *command);

/* prune.c */
extern void prune_now_and_then(Relation log);

/* log.c */
extern bool guarded(void (*step) (Command *), Command *command);
extern void log_explained_select(Node *node);

/* truncate.c */
extern void log_partition_truncate(Node *node);

#endif							/* PGCAPTURE_H */
