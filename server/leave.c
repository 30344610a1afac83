/* SPDX-License-Identifier: MIT */
/*
 * leave.c - how the daemon ends, one ordered list (A39). Main thread.
 *
 *	may refuse	no change begins; no disk is in use
 *	co_leave	no command begins; jobs are asked to stop, and what only
 *			waits for storage gives way; commands end; exports end,
 *			flushed; jobs end; what is late ends; nodes close, top
 *			first
 *	co_leave_rest	clients of the control protocol, signals, the NBD
 *			server, objects; the state log, if nothing is lost
 *
 * Each has a deadline. What has not ended by then is left behind: the log names
 * it, and the process ends with a status that says so, without closing anything
 * below it. What it waits for in the kernel only that ends (M2), so everything
 * else is closed before.
 */
#include "server/leave.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export/hold.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "graph/job.h"
#include "runtime/late.h"
#include "server/commands.h"
#include "server/log.h"
#include "server/monitor.h"
#include "server/object.h"
#include "server/process.h"
#include "server/running.h"
#include "server/signals.h"
#include "server/statelog.h"

/* A command that does not give way: an export that is half there, say. */
#define COMMANDS_NS SECONDS(10)
/* Past the deadlines of the calls that ending an export is made of. */
#define EXPORT_NS SECONDS(45)
#define JOBS_NS SECONDS(10)
#define LATE_NS SECONDS(5)
#define NODE_NS SECONDS(10)
#define CLIENTS_NS SECONDS(2)
#define NBD_NS SECONDS(2)
#define LOG_NS SECONDS(10)
#define LOOK_NS 5000000ull

static struct {
	bool leaving, left;
	struct co *waiter;
	unsigned signals;	/* that asked for it */
	unsigned behind;	/* things that have not ended */
	bool lost;		/* among them may be what was acknowledged */
} leave;

static PRINTF(1, 2) void leave_behind(const char *fmt, ...)
{
	char what[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	log_write(LOG_WARNING, "Left behind: %s", what);
	leave.behind++;
}

void leave_note_loss(void)
{
	/* before, whoever did it was told, and may try again */
	leave.lost |= leave.leaving;
}

void leave_start(void)
{
	memset(&leave, 0, sizeof(leave));
	running_allow();
	late_stay();
}

/* ---- what may refuse ---- */

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

/* ---- commands ---- */

static void leave_command(const char *name)
{
	leave_behind("command %s", name);
	/* what it changes is not known */
	leave.lost = true;
}

static void leave_commands(void)
{
	if (!co_running_end(COMMANDS_NS))
		running_tell(leave_command);
}

/* ---- exports ---- */

/* Of one export; its own, once it is late. */
struct export_work {
	struct late late;
	char *id;
	bool hard;
	struct error *loss, *err;
	int rc;
};

static void export_work_run(struct late *late)
{
	struct export_work *w = container_of(late, struct export_work, late);

	w->rc = co_export_end(export_find(w->id), w->hard, &w->loss, &w->err);
}

static void export_work_undo(struct late *late)
{
	struct export_work *w = container_of(late, struct export_work, late);

	error_clear(&w->loss);
	error_clear(&w->err);
	free(w->id);
	free(w);
}

static int co_leave_export(struct export *exp, struct error **err)
{
	struct export_work *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		abort();
	w->late.run = export_work_run;
	w->late.undo = export_work_undo;
	w->id = strdup(exp->id);
	if (!w->id)
		abort();
	/* clients of ours that no local disk has are dropped */
	w->hard = !exp->type->check_idle;
	if (!co_late(&w->late, EXPORT_NS, err, "Ending export '%s'", exp->id))
		return -ETIMEDOUT;
	rc = w->rc;
	if (w->err)
		error_propagate(err, &w->err);
	export_work_undo(&w->late);
	return rc;
}

/* What was left, of those that come first: it is not tried again. */
static struct export *leave_next_export(unsigned skip)
{
	struct export *e = export_next(NULL);

	while (e && skip--)
		e = export_next(e);
	return e;
}

/* Refused by one that somebody uses since we looked; those before it are gone.
 * What is stuck in the kernel cannot be stopped: our exit lets go of it, and
 * the next start takes it away. */
static int leave_exports(struct error **err)
{
	unsigned stay = 0;
	struct export *e;

	while ((e = leave_next_export(stay)) != NULL) {
		enum export_life life = e->life;
		struct error *why = NULL;
		char id[100];
		int rc;

		snprintf(id, sizeof(id), "%s", e->id);
		rc = life == EXPORT_STUCK ?
			error_set(&why, ETIMEDOUT, "it is stuck") :
			co_leave_export(e, &why);
		if (rc == -EBUSY && life == EXPORT_RUNNING) {
			error_propagate(err, &why);
			return rc;
		}
		if (rc < 0) {
			leave_behind("export '%s': %s", id, why->text);
			error_clear(&why);
			leave.lost = true;
			stay++;
		}
	}
	return 0;
}

/* ---- jobs, and what is late ---- */

static void leave_jobs(void)
{
	if (co_job_end_all(JOBS_NS))
		return;
	for (const struct job *job = job_first(); job; job = job->next)
		leave_behind("job '%s'", job->id);
	leave.lost = true;
}

static void leave_work(const char *what, uint64_t seconds)
{
	leave_behind("%s, for %llu s", what, (unsigned long long)seconds);
}

/* Nobody is told anything by these; but one that only looks at a node holds it
 * as much as others. */
static void leave_late(void)
{
	if (!co_late_end(LATE_NS))
		late_tell(leave_work);
}

/* ---- nodes ---- */

struct node_work {
	struct late late;
	char name[NODE_NAME_MAX + 1];
	struct error *err;
};

static void node_work_run(struct late *late)
{
	struct node_work *w = container_of(late, struct node_work, late);
	int rc = node_del(w->name, &w->err);

	assert((rc < 0) == (w->err != NULL));
}

static void node_work_undo(struct late *late)
{
	struct node_work *w = container_of(late, struct node_work, late);

	error_clear(&w->err);
	free(w);
}

/* False: it stays, refused. */
static bool co_leave_node(const struct node *node)
{
	struct node_work *w = calloc(1, sizeof(*w));
	struct error *late CLEANUP_ERROR = NULL;
	bool refused;

	if (!w)
		abort();
	w->late.run = node_work_run;
	w->late.undo = node_work_undo;
	strcpy(w->name, node->name);
	if (!co_late(&w->late, NODE_NS, &late, "Closing node '%s'",
		     node->name)) {
		leave_behind("%s", late->text);
		leave.lost = true;
		return true;
	}
	refused = w->err && w->err->code == EBUSY;
	if (w->err) {
		leave_behind("%s", w->err->text);
		leave.lost = true;
	}
	node_work_undo(&w->late);
	return !refused;
}

/* A held node with no parent: it can go now. */
static struct node *leave_top_node(void)
{
	struct node *n = node_next(NULL);

	while (n && (n->parents || !n->held))
		n = node_next(n);
	return n;
}

/* One that may have to write something when it closes, or is doing so. */
static const struct node *leave_writer(const struct node *n)
{
	while ((n = node_unclosed(n)) && n->read_only)
		;
	return n;
}

static void leave_nodes(void)
{
	uint64_t end = clock_ns() + NODE_NS;
	struct error *err = NULL;
	const struct node *n;

	for (;;) {
		n = leave_top_node();
		if (n && !co_leave_node(n))
			break;
		if (n) {
			end = clock_ns() + NODE_NS;
		} else if (leave_writer(NULL) && clock_ns() < end &&
			   !leave.lost) {
			/* whoever still has it is just ending */
			co_sleep(LOOK_NS);
		} else {
			break;
		}
	}
	for (n = leave_writer(NULL); n; n = leave_writer(n)) {
		leave_behind("node '%s'", n->name);
		leave.lost = true;
	}
	/* one that has nothing to write may still be at it */
	if (!leave.behind && co_close_wait_all(&err) < 0) {
		leave_behind("%s", err->text);
		error_clear(&err);
		leave.lost = true;
	}
}

/* ---- all of it ---- */

int co_leave(struct error **err)
{
	int rc;

	if (leave.leaving)
		return error_set(err, EALREADY, "blkgraphd is leaving already");
	leave.leaving = true;
	running_forbid(false);
	rc = leave_check_idle(err);
	if (rc == 0) {
		running_forbid(true);
		co_job_cancel_all();
		late_leave();
		leave_commands();
		rc = leave_exports(err);
	}
	if (rc < 0) {
		late_stay();
		running_allow();
		leave.leaving = false;
		leave.behind = 0;
		leave.lost = false;
		return rc;
	}
	leave_jobs();
	leave_late();
	leave_nodes();
	leave.left = true;
	if (leave.waiter)
		co_wake(leave.waiter);
	return 0;
}

void co_leave_wait(void)
{
	if (leave.left)
		return;
	leave.waiter = co_self();
	co_wait();
	leave.waiter = NULL;
}

bool leave_asked(void)
{
	return leave.left;
}

struct log_work {
	struct late late;
	struct statelog *log;
	bool remove;
};

static void log_work_run(struct late *late)
{
	struct log_work *w = container_of(late, struct log_work, late);

	co_statelog_close(w->log, w->remove);
}

static void log_work_undo(struct late *late)
{
	free(container_of(late, struct log_work, late));
}

/* It tells the next start what is still there. */
static void leave_state_log(struct statelog *log)
{
	struct error *late CLEANUP_ERROR = NULL;
	struct log_work *w;

	if (!log)
		return;
	w = calloc(1, sizeof(*w));
	if (!w)
		abort();
	w->late.run = log_work_run;
	w->late.undo = log_work_undo;
	w->log = log;
	w->remove = !leave.lost;
	if (co_late(&w->late, LOG_NS, &late, "Closing the state log"))
		log_work_undo(&w->late);
	else
		leave_behind("%s", late->text);
}

bool co_leave_rest(struct statelog *log)
{
	struct error *err CLEANUP_ERROR = NULL;

	if (!co_monitor_stop(CLIENTS_NS))
		leave_behind("a client of the control protocol");
	co_signals_stop();
	if (co_nbd_leave(NBD_NS, &err) < 0)
		leave_behind("%s", err->text);
	/* what is left may use them */
	if (!leave.behind)
		object_del_all();
	leave_state_log(log);
	return !leave.behind && !leave.lost;
}

void co_leave_signal(int signo)
{
	struct error *err CLEANUP_ERROR = NULL;
	bool first;

	if (signo == SIGHUP)
		return;
	log_write(LOG_INFO, "%s", strsignal(signo));
	first = leave.signals++ == 0;
	if (!leave.left && co_leave(&err) == 0)
		return;
	if (err) {
		error_prefix(&err, "Not leaving%s", first ?
			     " (once more to leave all the same)" : "");
		log_error(LOG_ERROR, &err);
	}
	if (first)
		return;
	log_write(LOG_WARNING, "Leaving devices as they are");
	process_unlock();
	co_log_stop_async();
	_exit(EXIT_FAILURE);
}
