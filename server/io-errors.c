/* SPDX-License-Identifier: MIT */
/*
 * io-errors.c - see io-errors.h.
 *
 * Of an export that had failures there is one struct export_errors, which ends
 * with it. Whoever looks tells what is new since the last look; then threads
 * are not to tell for a second (WINDOW_NS), after which it is looked again.
 */
#include "server/io-errors.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/loss.h"
#include "graph/export.h"
#include "graph/hold.h"
#include "runtime/wait.h"
#include "server/log.h"
#include "server/monitor.h"

#define WINDOW_NS SECONDS(1)
/* How often the log counts what came after the first. */
#define COUNT_NS SECONDS(60)

struct export_errors {
	struct export *exp;
	struct timer timer;
	bool in_window;
	bool holding;		/* something was held at the last look */
	uint64_t count_ns;	/* when the log may count next */
	unsigned causes;
	struct known_cause {
		struct failure last;	/* as of the last look */
		uint64_t logged;	/* of its count */
	} cause[FAILURE_CAUSES];
};

static const char *const failed_ops[REQ_OPS][2] = {
	[REQ_READ] = { "read", "reads" },
	[REQ_WRITE] = { "write", "writes" },
	[REQ_FLUSH] = { "flush", "flushes" },
	[REQ_DISCARD] = { "discard", "discards" },
	[REQ_ZEROES] = { "write of zeroes", "writes of zeroes" },
};

static struct known_cause *cause_known(struct export_errors *e,
				       const struct failure *f)
{
	unsigned i = 0;

	while (i < e->causes && (e->cause[i].last.op != f->op ||
				 e->cause[i].last.error != f->error ||
				 e->cause[i].last.held != f->held))
		i++;
	i = min(i, FAILURE_CAUSES - 1u);
	if (i == e->causes) {
		e->cause[i].last = *f;
		e->cause[i].last.count = 0;
		e->causes++;
	}
	return &e->cause[i];
}

static void cause_event(const struct export *exp, const struct failure *f,
			uint64_t count)
{
	monitor_event("BLOCK_IO_ERROR", json_pack(
		"{s:s,s:s,s:s,s:s,s:s,s:b,s:s,s:I}", "qom-path", "",
		"device", exp->id,
		"node-name", exp->root->edge.child->name,
		"operation", f->op == REQ_READ ? "read" : "write",
		"action", f->held ? "stop" : "report",
		"nospace", f->error == ENOSPC || f->error == EDQUOT,
		"reason", strerror(f->error), "count", (json_int_t)count));
}

/* "failed: why", or what becomes of what is held. */
static void cause_words(const struct export *exp, const struct failure *f,
			char *to, size_t size)
{
	uint64_t longest = exp->holds.longest_ns / SECONDS(1);
	char why[400];

	loss_why(exp->root, f, why, sizeof(why));
	if (!f->held)
		snprintf(to, size, "failed: %s", why);
	else if (longest)
		snprintf(to, size, "held, for %llu s at most: %s",
			 (unsigned long long)longest, why);
	else
		snprintf(to, size, "held: %s", why);
}

static void cause_log(const struct export *exp, struct known_cause *known,
		      bool count_too)
{
	const struct failure *f = &known->last;
	const char *name = exp->device[0] ? exp->device : exp->id;
	const char *be = f->held ? "is " : "";
	uint64_t more;
	char words[450];

	if (known->logged && !count_too)
		return;
	cause_words(exp, f, words, sizeof(words));
	if (!known->logged) {
		log_write(LOG_ERROR, "%s: a %s of %u bytes at %llu %s%s",
			  name, failed_ops[f->op][0], f->len,
			  (unsigned long long)f->offset, be, words);
		known->logged = 1;
	}
	more = f->count - known->logged;
	if (!more || !count_too)
		return;
	if (f->held)
		be = more > 1 ? "were " : "was ";
	log_write(LOG_ERROR, "%s: %llu more %s %s%s", name,
		  (unsigned long long)more, failed_ops[f->op][more > 1], be,
		  words);
	known->logged = f->count;
}

/* Once all of it is done, or was answered: looked for while there is some. */
static void errors_look_held(struct export_errors *e)
{
	const struct export *exp = e->exp;
	struct holds held;

	root_holds(exp->root, &held);
	if (e->holding && !held.count) {
		monitor_event("BLKGRAPH_HOLD_ENDED",
			      json_pack("{s:s}", "id", exp->id));
		log_write(LOG_INFO, "%s: nothing is held any more",
			  exp->device[0] ? exp->device : exp->id);
	}
	e->holding = held.count;
}

/* Tells what is new. False: nothing was, and nothing will be unasked. */
static bool errors_look(struct export_errors *e, bool ending)
{
	struct failure sum[FAILURE_CAUSES];
	unsigned n = root_failures(e->exp->root, sum);
	bool count_too = ending || clock_ns() >= e->count_ns;
	bool news = false;

	for (unsigned i = 0; i < n; i++) {
		struct known_cause *known = cause_known(e, &sum[i]);
		uint64_t more = sum[i].count - known->last.count;

		known->last.count = sum[i].count;
		if (more)
			cause_event(e->exp, &sum[i], more);
		news |= more;
		cause_log(e->exp, known, count_too);
	}
	if (count_too)
		e->count_ns = clock_ns() + COUNT_NS;
	errors_look_held(e);
	return news || e->holding;
}

static bool errors_uncounted(const struct export_errors *e)
{
	for (unsigned i = 0; i < e->causes; i++)
		if (e->cause[i].last.count > e->cause[i].logged)
			return true;
	return false;
}

static void errors_window_over(struct timer *timer)
{
	struct export_errors *e = container_of(timer, struct export_errors,
					       timer);
	bool news = errors_look(e, false);

	if (!news) {
		root_failures_listen(e->exp->root);
		/* what failed since the look has told nobody */
		news = errors_look(e, false);
	}
	e->in_window = news;
	if (news)
		timer_start(&e->timer, WINDOW_NS, errors_window_over);
	else if (errors_uncounted(e))
		timer_start(&e->timer, COUNT_NS, errors_window_over);
}

static void errors_end(struct export *exp)
{
	struct export_errors *e = exp->errors;

	/* what nobody told of yet, because it was a moment ago */
	if (!e && exp->root && root_failures_count(exp->root))
		io_errors_note(exp, false);
	e = exp->errors;
	if (!e)
		return;
	timer_stop(&e->timer);
	if (exp->root)
		errors_look(e, true);
	exp->errors = NULL;
	free(e);
}

void io_errors_note(struct export *exp, bool ending)
{
	struct export_errors *e = exp->errors;

	if (ending) {
		errors_end(exp);
		return;
	}
	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e)
			abort();
		e->exp = exp;
		e->count_ns = clock_ns() + COUNT_NS;
		exp->errors = e;
	}
	if (e->in_window)
		return;
	timer_stop(&e->timer);
	errors_look(e, false);
	e->in_window = true;
	timer_start(&e->timer, WINDOW_NS, errors_window_over);
}
