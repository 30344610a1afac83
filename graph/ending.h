/* SPDX-License-Identifier: MIT */
/*
 * ending.h - what ends when its last reference is dropped, and may have to wait
 * for it: nodes, exports. Main thread.
 */
#ifndef GRAPH_ENDING_H
#define GRAPH_ENDING_H

struct ending {
	void (*fn)(struct ending *ending);
	struct ending *next;
};

/*
 * Runs ending->fn in a coroutine of its own once the caller has given up the
 * thread, those that were asked for first first; what is slow holds up no
 * other. Never fails: without a stack it waits for one.
 */
void ending_start(struct ending *ending);
/* Of graph_stop: nothing is left to end. */
void ending_forget(void);

#endif
