/* SPDX-License-Identifier: MIT */
/*
 * running.c - see running.h. Main thread.
 */
#include "server/running.h"

#include <errno.h>

#include "runtime/wait.h"

static struct {
	struct running *first;
	bool no_changes, no_queries;	/* are begun */
	struct wait_event *changed;	/* of who waits for their end */
} commands;

int running_begin(struct running *self, const char *name, bool changes,
		  struct error **err)
{
	if (changes ? commands.no_changes : commands.no_queries)
		return error_set(err, ESHUTDOWN, "blkgraphd is leaving: %s "
				 "comes too late", name);
	*self = (struct running){ name, co_self(), commands.first };
	commands.first = self;
	return 0;
}

void running_end(struct running *self)
{
	struct running **at;

	for (at = &commands.first; *at != self; at = &(*at)->next)
		;
	*at = self->next;
	if (commands.changed)
		wait_event_set(commands.changed);
}

void running_forbid(bool queries_too)
{
	commands.no_changes = true;
	commands.no_queries = queries_too;
}

void running_allow(void)
{
	commands.no_changes = commands.no_queries = false;
}

static bool others_run(void)
{
	const struct running *r = commands.first;

	while (r && r->co == co_self())
		r = r->next;
	return r;
}

bool co_running_end(uint64_t timeout_ns)
{
	uint64_t now, end = clock_ns() + timeout_ns;

	while (others_run() && (now = clock_ns()) < end) {
		struct wait_event changed = { 0 };
		bool ignored;

		commands.changed = &changed;
		ignored = co_wait_event(&changed, end - now);
		(void)ignored;
		commands.changed = NULL;
	}
	return !others_run();
}

void running_tell(void (*fn)(const char *name))
{
	for (const struct running *r = commands.first; r; r = r->next)
		if (r->co != co_self())
			fn(r->name);
}
