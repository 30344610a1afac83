/* SPDX-License-Identifier: MIT */
/*
 * statelog.h - the daemon's state as a write-ahead log (A23).
 *
 * Records (statelog-format.h) in a file of written blocks (statelog-file.h). It
 * comes into being with the first update and is appended to with one fsync a
 * record; when it is full a new generation is written beside it.
 *
 * What always holds: after a crash the file gives the state of some update that
 * had returned, or of one that was under way or failed; its end may be torn.
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
	int pid;		/* of who wrote it; 0: not known */
};

struct statelog *statelog_new(const char *path);
void statelog_free(struct statelog *log);	/* closed before */

/* Reads what the last daemon left; a missing file is an empty state. */
int co_statelog_load(struct statelog *log, struct statelog_past *past,
		     struct error **err) MUST_CHECK;
/*
 * Makes what snapshot() gives (a new reference, called when earlier updates
 * are over) the durable state. Writes nothing when nothing changed.
 *
 * adds: what is to come may need room in the log, so some is kept, for it and
 * for what goes later: a disk that is full refuses it. Without, room that was
 * kept is used: it fails only where the disk does.
 *
 * An update that failed may be the durable one all the same, until the next
 * that succeeds.
 */
int co_statelog_update(struct statelog *log, json_t *(*snapshot)(void),
		       bool adds, struct error **err) MUST_CHECK;
/* Whether there was an update: the log exists. */
bool statelog_active(const struct statelog *log);
/* remove: the state is empty, and the file goes, unless it is one that could
 * not be read. */
void co_statelog_close(struct statelog *log, bool remove);

#endif
