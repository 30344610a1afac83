/* SPDX-License-Identifier: MIT */
/*
 * action.c - changes of the graph, several as one (action.h). Main thread,
 * coroutines.
 */
#include "graph/action.h"

#include "graph/transaction.h"

int co_action_add(struct actions *all, struct action *action,
		  struct error **err)
{
	action->before = all->last;
	all->last = action;
	return action->ops->prepare ? action->ops->prepare(action, err) : 0;
}

static void end_actions(struct actions *all, bool committed)
{
	struct action *action;

	while ((action = all->last)) {
		all->last = action->before;
		action->ops->end(action, committed);
	}
}

/* The first one's first. */
static void make_steps(struct action *action, struct transaction *t)
{
	if (!action)
		return;
	make_steps(action->before, t);
	if (action->ops->step)
		action->ops->step(action, t);
}

int co_actions_commit(struct actions *all, struct change_stats *stats,
		      struct error **err)
{
	struct transaction *t = transaction_begin();
	int ret;

	make_steps(all->last, t);
	for (struct action *a = all->last; a; a = a->before)
		if (a->ops->check)
			a->ops->check(a, t);
	ret = transaction_commit(t, stats, err);
	end_actions(all, ret == 0);
	return ret;
}

void co_actions_give_up(struct actions *all)
{
	end_actions(all, false);
}
