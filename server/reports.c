/* SPDX-License-Identifier: MIT */
/*
 * reports.c - see reports.h. A struct told is there from the first report of
 * its node and kind until a second has passed without one.
 */
#include "server/reports.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/report.h"
#include "runtime/wait.h"
#include "server/log.h"
#include "server/monitor.h"

#define TOLD_NS SECONDS(1)
#define REPORT_SECTOR 512u	/* of events */

struct told {
	struct report last;
	uint64_t unsaid;	/* that came since something was said */
	struct timer timer;
	struct told *next;
};

static struct told *told_first;

static const char *const report_ops[] = {
	[REQ_READ] = "read", [REQ_WRITE] = "write", [REQ_FLUSH] = "flush",
	[REQ_DISCARD] = "discard", [REQ_ZEROES] = "write of zeroes",
};

static const char *how_it_went(int error)
{
	return error ? strerror(error) : "no error";
}

static void report_log(const struct report *r, uint64_t others)
{
	char more[64] = "";

	if (others)
		snprintf(more, sizeof(more), "; %" PRIu64 " more since then",
			 others);
	switch ((enum report_kind)r->kind) {
	case REPORT_BYTES:
		log_write(LOG_ERROR, "Node '%s': a %s of %u bytes at %" PRIu64
			  " failed: its images differ at %" PRIu64 "%s",
			  r->node, report_ops[r->op], r->len, r->offset, r->at,
			  more);
		break;
	case REPORT_CHILD:
		if (r->op == REQ_FLUSH)
			log_write(LOG_ERROR, "Quorum '%s': child '%s' failed"
				  " to flush: %s%s", r->node, r->child,
				  strerror(r->error), more);
		else if (r->error)
			log_write(LOG_ERROR, "Quorum '%s': child '%s' failed a"
				  " %s of %u bytes at %" PRIu64 ": %s%s",
				  r->node, r->child, report_ops[r->op], r->len,
				  r->offset, strerror(r->error), more);
		else
			log_write(LOG_ERROR, "Quorum '%s': child '%s' is"
				  " outvoted in %u bytes at %" PRIu64 "%s",
				  r->node, r->child, r->len, r->offset, more);
		break;
	case REPORT_VOTE:
		log_write(LOG_ERROR, "Quorum '%s': a %s of %u bytes at %"
			  PRIu64 " failed: not enough children agree on it%s",
			  r->node, report_ops[r->op], r->len, r->offset, more);
		break;
	case REPORT_RESULTS:
		log_write(LOG_ERROR, "Node '%s': a %s of %u bytes at %" PRIu64
			  " failed: its images do not agree on it, 'test' had"
			  " '%s', 'raw' '%s'%s", r->node, report_ops[r->op],
			  r->len, r->offset, how_it_went(r->error),
			  how_it_went(r->other_error), more);
		break;
	}
}

static void report_event(const struct report *r)
{
	uint64_t first = r->offset / REPORT_SECTOR;
	uint64_t count = align_up(r->offset + r->len, REPORT_SECTOR) /
			 REPORT_SECTOR - first;
	const char *type = r->op == REQ_FLUSH ? "flush" :
			   r->op == REQ_READ ? "read" : "write";
	json_t *data = json_pack("{s:I,s:I}", "sector-num", (json_int_t)first,
				 "sectors-count", (json_int_t)count);

	if (r->kind == REPORT_VOTE) {
		json_object_set_new(data, "reference", json_string(r->node));
		monitor_event("QUORUM_FAILURE", data);
	} else if (r->kind == REPORT_CHILD) {
		json_object_set_new(data, "type", json_string(type));
		json_object_set_new(data, "node-name", json_string(r->child));
		if (r->error)
			json_object_set_new(data, "error",
					    json_string(strerror(r->error)));
		monitor_event("QUORUM_REPORT_BAD", data);
	} else {
		json_decref(data);
	}
}

static void report_say(const struct report *r, uint64_t others)
{
	report_log(r, others);
	report_event(r);
}

static void told_free(struct told **at)
{
	struct told *t = *at;

	timer_stop(&t->timer);
	*at = t->next;
	free(t);
}

static void told_window_over(struct timer *timer)
{
	struct told *t = container_of(timer, struct told, timer), **at;

	if (t->unsaid) {
		report_say(&t->last, t->unsaid - 1);
		t->unsaid = 0;
		timer_start(&t->timer, TOLD_NS, told_window_over);
		return;
	}
	for (at = &told_first; *at != t; at = &(*at)->next)
		;
	told_free(at);
}

static void report_heard(const struct report *r)
{
	struct told *t = told_first;

	while (t && (t->last.kind != r->kind ||
		     strcmp(t->last.node, r->node) ||
		     strcmp(t->last.child, r->child)))
		t = t->next;
	if (t) {
		t->last = *r;
		t->unsaid++;
		return;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		abort();
	t->last = *r;
	t->next = told_first;
	told_first = t;
	report_say(r, 0);
	timer_start(&t->timer, TOLD_NS, told_window_over);
}

void reports_start(void)
{
	report_set_listener(report_heard);
}

void reports_stop(void)
{
	report_set_listener(NULL);
	while (told_first) {
		if (told_first->unsaid)
			report_say(&told_first->last, told_first->unsaid - 1);
		told_free(&told_first);
	}
}
