/* SPDX-License-Identifier: MIT */
/*
 * leave.c - how the daemon ends, one ordered list (A39). Main thread.
 *
 *	may refuse	no change begins; no disk is in use
 *	co_leave	no command begins; jobs are asked to stop, and what only
 *			waits for storage gives way; commands end; holds end;
 *			exports end, flushed; jobs end; what is late ends; nodes
 *			close, top first
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

#include "export/sole.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "graph/hold.h"
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

/*
 * All of these together, and five seconds for opens, are LEAVE_NS; what starts
 * us is to wait for that long (systemd/blkgraphd.service).
 */
/* A command that does not give way: an export that is half there, say. */
#define COMMANDS_NS SECONDS(10)
/* Of all together: past the deadlines of the calls that one end is made of. */
#define EXPORTS_NS SECONDS(45)
#define JOBS_NS SECONDS(10)
#define WORKS_NS SECONDS(5)
#define NODES_NS SECONDS(20)
#define CLIENTS_NS SECONDS(2)
#define NBD_NS SECONDS(2)
#define LOG_NS SECONDS(10)
#define LOOK_NS 5000000ull
/* Who sends more signals than one means one: a terminal and what runs in it,
 * a service manager and a script, a finger. */
#define ONE_SIGNAL_NS SECONDS(1)

static_assert(DISK_OPENS_NS + COMMANDS_NS + EXPORTS_NS + JOBS_NS + WORKS_NS +
	      NODES_NS + CLIENTS_NS + NBD_NS + LOG_NS <= LEAVE_NS,
	      "the steps of leaving end within its bound");

static struct {
	bool leaving, left;
	bool files;	/* those that are open do not keep it from leaving */
	struct co *waiter;
	unsigned signals;	/* that asked for it */
	uint64_t signal_ns;	/* when the last of them came */
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

/* "A is in use: ...; B is in use: ..." Takes one. */
static void leave_refuse(struct error **err, struct error **one)
{
	if (*err) {
		struct error *both = NULL;

		error_set(&both, (*err)->code, "%s; %s", (*err)->text,
			  (*one)->text);
		error_clear(err);
		error_clear(one);
		*one = both;
	}
	error_propagate(err, one);
}

/* Its users are no reason to stay: no disk of this machine would lose data. */
static bool export_is_dropped(const struct export *exp)
{
	return !exp->type->check_idle || (leave.files && !exp->device[0]);
}

static bool leave_has_device(void)
{
	const struct export *exp = export_next(NULL);

	while (exp && !exp->device[0])
		exp = export_next(exp);
	return exp;
}

/*
 * Once: all that are in use, else -EAGAIN where some will soon be idle.
 * One that is just being stopped is not asked: whoever stops it has it open.
 */
static int leave_look(bool patient, struct error **err)
{
	struct export **all = export_get_all("leave");
	int rc, ret = 0;

	for (unsigned i = 0; all[i]; i++) {
		struct error *one = NULL;

		if (export_is_dropped(all[i]) || !export_is_found(all[i]))
			continue;
		if (all[i]->life == EXPORT_STOPPING)
			rc = patient ? -EAGAIN : 0;
		else
			rc = all[i]->type->check_idle(all[i], patient, &one);
		if (one)
			leave_refuse(err, &one);
		ret = !ret || (ret == -EAGAIN && rc) ? rc : ret;
	}
	export_put_all(all, "leave");
	return ret;
}

/* Opens are waited for at all of them together, and not at all where one is
 * used otherwise. */
static int leave_check_idle(struct error **err)
{
	uint64_t end = clock_ns() + DISK_OPENS_NS;
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
	struct export_work *next;
	char *id;
	bool hard;
	struct error *loss, *err;
	int rc;
};

/* Another may be ending it, a command that was left behind: that may take as
 * long as ours. */
static struct export *co_export_settled(const char *id)
{
	struct export *exp;

	while ((exp = export_find(id)) && exp->life == EXPORT_STOPPING)
		co_sleep(LOOK_NS);
	return exp;
}

static void export_work_run(struct late *late)
{
	struct export_work *w = container_of(late, struct export_work, late);
	struct export *exp = co_export_settled(w->id);

	if (exp)
		w->rc = co_export_end(exp, w->hard, &w->loss, &w->err);
}

static void export_work_undo(struct late *late)
{
	struct export_work *w = container_of(late, struct export_work, late);

	error_clear(&w->loss);
	error_clear(&w->err);
	free(w->id);
	free(w);
}

static struct export_work *export_work_new(const struct export *exp,
					   struct export_work *next)
{
	struct export_work *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->late.run = export_work_run;
	w->late.undo = export_work_undo;
	w->id = strdup(exp->id);
	if (!w->id)
		abort();
	w->hard = export_is_dropped(exp);
	w->next = next;
	return w;
}

/* Takes the work. -EBUSY, and *err: somebody uses the export. */
static int export_work_end(struct export_work *w, uint64_t end,
			   struct error **err)
{
	struct error *why CLEANUP_ERROR = NULL;
	uint64_t now = clock_ns();
	char id[100];
	int rc;

	snprintf(id, sizeof(id), "%s", w->id);
	if (!co_late_over(&w->late, end > now ? end - now : 0, &why)) {
		rc = -ETIMEDOUT;
	} else {
		rc = w->rc;
		if (w->err)
			error_propagate(&why, &w->err);
		export_work_undo(&w->late);
	}
	if (rc == -EBUSY) {
		if (!*err)
			error_propagate(err, &why);
	} else if (rc < 0) {
		leave_behind("export '%s': %s", id, why->text);
		leave.lost = true;
		rc = 0;
	}
	return rc;
}

/*
 * All end beside each other, under one deadline. Refused where somebody uses
 * one since we looked: it stays, the others are gone. What is stuck in the
 * kernel cannot be stopped: our exit lets go of it, and the next start takes it
 * away.
 */
static int leave_exports(struct error **err)
{
	uint64_t end = clock_ns() + EXPORTS_NS;
	struct export **all = export_get_all("leave");
	struct export_work *works = NULL, *w;
	int rc = 0;

	for (unsigned i = 0; all[i]; i++) {
		if (all[i]->life == EXPORT_STUCK) {
			leave_behind("export '%s': it is stuck", all[i]->id);
			leave.lost = true;
		} else if (export_is_found(all[i])) {
			works = export_work_new(all[i], works);
		}
	}
	/* they end when nobody refers to them */
	export_put_all(all, "leave");
	for (w = works; w; w = w->next)
		co_late_begin(&w->late, "Ending export '%s'", w->id);
	while ((w = works) != NULL) {
		works = w->next;
		if (export_work_end(w, end, err) < 0)
			rc = -EBUSY;
	}
	return rc;
}

/* What they hold is answered with its error, and what waits for a throttle goes
 * on: they end. Or they stay. */
static void leave_holds(bool leaving)
{
	struct export **all = export_get_all("leave");

	for (unsigned i = 0; all[i]; i++) {
		if (!export_is_found(all[i]) || all[i]->leaving == leaving)
			continue;
		all[i]->leaving = leaving;
		if (leaving)
			co_root_hurry(all[i]->root);
		else
			co_root_linger(all[i]->root);
	}
	export_put_all(all, "leave");
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
	if (!co_late_end(WORKS_NS))
		late_tell(leave_work);
}

/* ---- nodes ---- */

struct node_work {
	struct late late;
	struct node_work *next;
	char name[NODE_NAME_MAX + 1];
	bool writer;
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

static struct node_work *node_work_new(const struct node *node,
				       struct node_work *next)
{
	struct node_work *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->late.run = node_work_run;
	w->late.undo = node_work_undo;
	strcpy(w->name, node->name);
	w->writer = !node->read_only;
	w->next = next;
	return w;
}

static void node_work_end(struct node_work *w)
{
	struct error *late CLEANUP_ERROR = NULL;
	bool writer = w->writer;

	if (!co_late_over(&w->late, 0, &late)) {
		leave_behind("%s", late->text);
		leave.lost |= writer;
		return;
	}
	/* refused: a change gives it a parent just now */
	if (w->err && w->err->code != EBUSY) {
		leave_behind("%s", w->err->text);
		leave.lost = true;
	}
	node_work_undo(&w->late);
}

/* For each held node that has no parent: it can go now. */
static struct node_work *leave_top_nodes(void)
{
	struct node_work *works = NULL;

	for (struct node *n = node_next(NULL); n; n = node_next(n))
		if (n->held && !n->parents)
			works = node_work_new(n, works);
	return works;
}

/* One that may have to write something when it closes, or is doing so. */
static const struct node *leave_writer(const struct node *n)
{
	while ((n = node_unclosed(n)) && n->read_only)
		;
	return n;
}

/* Those without a parent close beside each other, then what they stood on. */
static void leave_nodes(void)
{
	struct node_work *works = NULL, *more, **at, *w;
	uint64_t end = clock_ns() + NODES_NS;
	const struct node *n;
	bool named;

	for (;;) {
		more = leave_top_nodes();
		for (at = &more; *at; at = &(*at)->next)
			co_late_begin(&(*at)->late, "Closing node '%s'",
				      (*at)->name);
		*at = works;
		works = more;
		/* whoever still has one is just ending */
		if ((!works && (!leave_writer(NULL) || leave.lost)) ||
		    clock_ns() >= end)
			break;
		co_sleep(LOOK_NS);
		for (at = &works; (w = *at) != NULL;) {
			if (!w->late.over.set) {
				at = &w->next;
				continue;
			}
			*at = w->next;
			node_work_end(w);
		}
	}
	for (; (w = works) != NULL; node_work_end(w))
		works = w->next;
	for (n = leave_writer(NULL); n; n = leave_writer(n)) {
		leave_behind("node '%s'", n->name);
		leave.lost = true;
	}
	/* one that has nothing to write may still be at it, or is somebody's */
	while (!leave.behind && node_each(NULL) && clock_ns() < end)
		co_sleep(LOOK_NS);
	named = leave.behind || leave.lost;
	for (n = node_each(NULL); n && !named; n = node_each(n))
		leave_behind("node '%s'", n->name);
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
		leave_holds(true);
		rc = leave_exports(err);
	}
	if (rc < 0) {
		leave_holds(false);
		late_stay();
		running_allow();
		leave.leaving = false;
		leave.files = false;
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
	if (leave.signals && clock_ns() - leave.signal_ns < ONE_SIGNAL_NS)
		return;
	log_write(LOG_INFO, "%s", strsignal(signo));
	first = leave.signals++ == 0;
	leave.signal_ns = clock_ns();
	if (!leave.leaving)
		/* scripts for the storage daemon end it so, files open or not;
		 * beside a disk they are what a person forgot */
		leave.files = !leave_has_device();
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
