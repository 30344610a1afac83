/* SPDX-License-Identifier: MIT */
/*
 * change.c - what every command that changes something goes through.
 *
 * Main thread.
 */
#include "server/change.h"

#include <errno.h>
#include <stdio.h>

#include "graph/transaction.h"
#include "server/log.h"
#include "server/snapshot.h"
#include "server/statelog.h"

static struct {
	struct statelog *log;
	json_t *intents;	/* by key */
	unsigned long count;
} changes;


static json_t *change_state(void)
{
	json_t *state = snapshot_take();

	if (changes.intents)
		json_object_update(state, changes.intents);
	return state;
}

/* What a change announces: it may not happen where that cannot be written. */
static int co_change_record(bool decides, struct error **err)
{
	return changes.log && statelog_active(changes.log) ?
		co_statelog_update(changes.log, change_state, !decides, err) :
		0;
}

void change_set_log(struct statelog *log)
{
	changes.log = log;
	transaction_set_recorder(co_change_record);
}

static void change_forget(struct change *change)
{
	json_object_del(changes.intents, change->key);
}

int co_change_begin(struct change *change, const char *command, json_t *args,
		    enum change_use use, struct error **err)
{
	struct error *failed = NULL;
	int rc = 0;

	if (!changes.intents)
		changes.intents = json_object();
	snprintf(change->key, sizeof(change->key), "intents/%lu",
		 ++changes.count);
	json_object_set_new(changes.intents, change->key,
			    json_pack("{s:s,s:O}", "command", command,
				      "arguments", args));
	if (changes.log && (use == CHANGE_SHOWS ||
			    statelog_active(changes.log)))
		rc = co_statelog_update(changes.log, change_state,
					use != CHANGE_REMOVES, &failed);
	if (rc == 0)
		return 0;
	/* what goes is not refused: recovery would find it gone */
	if (use == CHANGE_REMOVES) {
		log_error(LOG_ERROR, &failed);
		return 0;
	}
	change_forget(change);
	error_propagate(err, &failed);
	return rc;
}

void co_change_note(void)
{
	struct error *err CLEANUP_ERROR = NULL;

	/* The change is made; a log that cannot say so is behind, and the
	 * next change is refused unless it can be written then. */
	if (changes.log && statelog_active(changes.log) &&
	    co_statelog_update(changes.log, change_state, false, &err) < 0)
		log_error(LOG_ERROR, &err);
}

void co_change_end(struct change *change)
{
	change_forget(change);
	co_change_note();
}
