/* SPDX-License-Identifier: MIT */
/*
 * export-end.c - how an export ends: stopped, closed, and its node flushed, if
 * that goes on (A39). Main thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/loss.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "runtime/late.h"
#include "server/commands.h"
#include "server/leave.h"
#include "server/log.h"

#define FLUSH_NS SECONDS(10)

/* A flush of the node behind an export that has ended. */
struct flush_work {
	struct late late;
	char node[NODE_NAME_MAX + 1];
	struct error *err;
};

static const struct root_ops flush_root_ops = { .kind = "control" };

static void flush_work_run(struct late *late)
{
	struct flush_work *w = container_of(late, struct flush_work, late);
	struct request req = { .op = REQ_FLUSH, .fixed = IO_NOT_FIXED };
	struct node *node = node_find(w->node);
	struct root *root;
	int ret;

	/* else it has closed, and closing flushes */
	if (!node)
		return;
	root = root_new(&flush_root_ops, NULL, "the end of an export", node, 0,
			PERM_ALL, 1, UINT64_C(1) << MAIN_THREAD, &w->err);
	if (!root)
		return;
	co_root_busy(root);
	ret = co_root_submit(root, &req);
	root_idle(root);
	root_free(root);
	if (ret < 0)
		error_set(&w->err, -ret, "Node '%s', whose export has ended, "
			  "could not be flushed: %s", w->node, strerror(-ret));
}

static void flush_work_undo(struct late *late)
{
	struct flush_work *w = container_of(late, struct flush_work, late);

	error_clear(&w->err);
	free(w);
}

/* Kernels flush a disk when its last user closes it; clients of sockets may not
 * have. */
static void co_export_flush(const char *node, struct error **loss)
{
	struct flush_work *w = calloc(1, sizeof(*w));
	struct error *late CLEANUP_ERROR = NULL;

	if (!w)
		abort();
	w->late.run = flush_work_run;
	w->late.undo = flush_work_undo;
	snprintf(w->node, sizeof(w->node), "%s", node);
	if (!co_late(&w->late, FLUSH_NS, &late, "Flushing node '%s'", node)) {
		log_error(LOG_ERROR, &late);
		leave_note_loss();
		return;
	}
	if (w->err) {
		log_write(LOG_ERROR, "%s", w->err->text);
		leave_note_loss();
		if (loss && !*loss)
			error_propagate(loss, &w->err);
	}
	flush_work_undo(&w->late);
}

/* Whoever waits for what is held has it in use (M9). */
static int export_refuse_held(const struct export *exp, struct error **err)
{
	char held[500];

	if (exp->life != EXPORT_RUNNING ||
	    !loss_of_holds(exp->root, held, sizeof(held)))
		return 0;
	return error_set(err, EBUSY, "Export '%s' is in use: %s; they are "
			 "tried again by blkgraph-resume, and fail by force",
			 exp->id, held);
}

int co_export_end(struct export *exp, bool hard, struct error **loss,
		  struct error **err)
{
	char node[NODE_NAME_MAX + 1];
	bool flush = exp->writable;
	int rc;

	if (!hard && export_refuse_held(exp, err) < 0)
		return -EBUSY;
	strcpy(node, exp->root->edge.child->name);
	rc = export_del(exp->id, hard ? EXPORT_STOP_HARD : EXPORT_STOP_SAFE,
			loss, err);
	if (rc == 0 && flush)
		co_export_flush(node, loss);
	return rc;
}
