/* SPDX-License-Identifier: MIT */
/*
 * statelog.h - the daemon's state as a write-ahead log (A23).
 *
 * One file of records (statelog-format.h). It comes into being with the first
 * update, is appended to with one fdatasync a record, and is written anew
 * (temporary file, fsync, rename, fsync of the directory) when it has grown.
 *
 * What always holds: after a crash the file gives the state of some update that
 * had returned, or of one that was under way; its end may be torn.
 *
 * Main thread, coroutines.
 */
#ifndef SERVER_STATELOG_H
#define SERVER_STATELOG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/error.h"

struct statelog;

/* What co_statelog_load found. */
struct statelog_past {
	json_t *state;		/* the caller's reference; empty object: none */
	uint64_t dropped;	/* bytes behind the last good record */
	bool damaged;		/* a good record follows a bad one */
	bool same_boot;		/* written since the machine started */
};

struct statelog *statelog_new(const char *path);
void statelog_free(struct statelog *log);	/* closed before */

/* Reads what the last daemon left; a missing file is an empty state. */
int co_statelog_load(struct statelog *log, struct statelog_past *past,
		     struct error **err) MUST_CHECK;
/*
 * Makes what snapshot() gives (a new reference, called when earlier updates
 * are over) the durable state. Writes nothing when nothing changed.
 */
int co_statelog_update(struct statelog *log, json_t *(*snapshot)(void),
		       struct error **err) MUST_CHECK;
/* Whether there was an update: the log exists. */
bool statelog_active(const struct statelog *log);
/* remove: the state is empty, and the file goes, unless it is one that could
 * not be read. */
void co_statelog_close(struct statelog *log, bool remove);

#endif
