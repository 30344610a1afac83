/* SPDX-License-Identifier: MIT */
/*
 * report.c - see report.h. A ring with one writer, its thread, and one reader,
 * the main thread.
 */
#include "graph/report.h"

#include <string.h>

#include "graph/state.h"

static void (*report_listener)(const struct report *report);

void report_set_listener(void (*heard)(const struct report *report))
{
	report_listener = heard;
}

static void reports_hear(struct message *msg)
{
	struct reports *r = container_of(msg, struct reports, tell);
	uint32_t heard = r->heard;

	/* what is told from here on posts again */
	__atomic_store_n(&r->posted, false, __ATOMIC_SEQ_CST);
	rt_step();
	while (heard != __atomic_load_n(&r->count, __ATOMIC_SEQ_CST)) {
		if (report_listener)
			report_listener(&r->kept[heard % REPORTS_MAX]);
		heard++;
		__atomic_store_n(&r->heard, heard, __ATOMIC_RELEASE);
	}
}

void report_tell(const struct node *node, const struct node *child,
		 const struct report *report)
{
	struct reports *r = &graph_self()->reports;
	struct report *kept = &r->kept[r->count % REPORTS_MAX];

	if (r->count - __atomic_load_n(&r->heard, __ATOMIC_ACQUIRE) ==
	    REPORTS_MAX)
		return;
	*kept = *report;
	memcpy(kept->node, node->name, sizeof(kept->node));
	if (child)
		memcpy(kept->child, child->name, sizeof(kept->child));
	__atomic_store_n(&r->count, r->count + 1, __ATOMIC_SEQ_CST);
	rt_step();
	if (__atomic_exchange_n(&r->posted, true, __ATOMIC_SEQ_CST))
		return;
	r->tell.fn = reports_hear;
	thread_post(thread_by_index(MAIN_THREAD), &r->tell);
}
