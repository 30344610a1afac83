/* SPDX-License-Identifier: MIT */
/*
 * leave.c - how the daemon ends. Main thread.
 */
#include "server/leave.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export/hold.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "runtime/co.h"
#include "server/change.h"
#include "server/commands.h"
#include "server/log.h"

static struct {
	bool left;
	struct co *waiter;
	unsigned signals;	/* that asked for it */
} leaving;

/* Once: the first that is in use, else -EAGAIN where some will soon be idle. */
static int leave_look(bool patient, struct error **err)
{
	struct export **all = export_get_all("leave");
	int rc, ret = 0;

	for (unsigned i = 0; all[i] && (!ret || ret == -EAGAIN); i++) {
		rc = all[i]->type->check_idle ?
			all[i]->type->check_idle(all[i], patient, err) : 0;
		ret = rc ? rc : ret;
	}
	export_put_all(all, "leave");
	return ret;
}

/* udev is waited for at all of them together, and not at all where somebody
 * else uses one. */
static int leave_check_idle(struct error **err)
{
	uint64_t end = clock_ns() + DISK_UDEV_NS;
	int rc;

	while ((rc = leave_look(clock_ns() < end, err)) == -EAGAIN)
		co_sleep(DISK_RETRY_NS);
	return rc;
}

/* What is stuck in the kernel cannot be stopped: our exit lets go of it, and
 * the next start takes it away. */
static struct export *leave_next_export(void)
{
	struct export *e = export_next(NULL);

	while (e && e->life == EXPORT_STUCK)
		e = export_next(e);
	return e;
}

static int leave_stop_exports(struct error **err)
{
	struct export *e;

	while ((e = leave_next_export()) != NULL) {
		/* clients of ours that no local disk has are dropped; what
		 * is lost is in the log */
		int rc = co_export_end(e, !e->type->check_idle, NULL, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* A held node with no parent: it can go now. */
static struct node *leave_top_node(void)
{
	struct node *n = node_next(NULL);

	while (n && (n->parents || !n->held))
		n = node_next(n);
	return n;
}

static void leave_close_nodes(void)
{
	struct node *n;
	int rc = 0;

	while (rc != -EBUSY && (n = leave_top_node()) != NULL) {
		struct error *err CLEANUP_ERROR = NULL;

		/* else it is gone, and said what was lost to the log */
		rc = node_del(n->name, &err);
		if (rc == -EBUSY || rc == -ETIMEDOUT)
			log_error(LOG_ERROR, &err);
	}
}

int co_leave(struct error **err)
{
	int rc = change_forbid(err);

	if (rc < 0)
		return rc;
	rc = leave_check_idle(err);
	if (rc == 0)
		rc = leave_stop_exports(err);
	if (rc < 0) {
		change_allow();
		return rc;
	}
	leave_close_nodes();
	leaving.left = true;
	if (leaving.waiter)
		co_wake(leaving.waiter);
	return 0;
}

void co_leave_wait(void)
{
	if (leaving.left)
		return;
	leaving.waiter = co_self();
	co_wait();
	leaving.waiter = NULL;
}

bool leave_asked(void)
{
	return leaving.left;
}

void co_leave_signal(int signo)
{
	struct error *err CLEANUP_ERROR = NULL;
	bool first;

	if (signo == SIGHUP)
		return;
	log_write(LOG_INFO, "%s", strsignal(signo));
	first = leaving.signals++ == 0;
	if (!leaving.left && co_leave(&err) == 0)
		return;
	if (err) {
		error_prefix(&err, "Not leaving%s", first ?
			     " (once more to leave all the same)" : "");
		log_error(LOG_ERROR, &err);
	}
	if (first)
		return;
	log_write(LOG_WARNING, "Leaving devices as they are");
	co_log_stop_async();
	_exit(EXIT_FAILURE);
}
