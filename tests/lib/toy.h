/* SPDX-License-Identifier: MIT */
/*
 * toy.h - drivers for tests of the graph: they check the contract of every
 * call, count, and do what the test says.
 *
 *	toy		protocol: memory, no map, so always slow; can hold,
 *			fail and refuse; sectors of zeroes are zero in status
 *	toy-format	format: clusters that lie in the file where the disk
 *			has them, are filled from `backing` when written, and
 *			lose their mapping at the test's will (STEER_AGAIN)
 *	toy-filter	filter: lets pass what map may, asks for a coroutine
 *			where told to
 *	toy-quorum	format: every write goes to all of its children, side
 *			by side, a read to the first that can; any number
 *	toy-threads	filter that counts what passes by thread, in a state
 *			that each thread opens when it first needs one
 *	toy-writes	filter with a write operation only, and no map
 *	toy-throttle	filter: writes cost their bytes, at most `step` of them
 *			a turn, and wait for toy_throttle_give; reads pass
 *	toy-counter	filter: counts what is written by sector, by hooks
 *	toy-full	filter: the next toy_wishes.full writes wish for a grace
 *			period; reads pass
 */
#ifndef TESTS_LIB_TOY_H
#define TESTS_LIB_TOY_H

#include "graph/graph.h"

#define TOY_CLUSTER 65536u

struct toy {
	char *data;
	uint64_t size;
	/* atomic, for real threads */
	unsigned reads, writes, zeroes, discards, flushes, statuses;
	unsigned busy;		/* operations inside the driver */
	unsigned held;		/* of these, waiting for toy_release */
	/* what was on stable storage at the last flush */
	char *stable;
};

/* What the test wants; zeroed by toy_start. */
struct toy_wishes {
	bool hold;			/* operations wait for toy_release */
	int fail_read, fail_write, fail_flush;	/* negative errno */
	const char *fails;		/* whom these concern; NULL: all */
	bool no_zeroes, no_discard;	/* -ENOTSUP */
	int fail_open;			/* of nodes named toy_wishes.name */
	int fail_perm;
	int fail_close;
	uint64_t close_ns;		/* that a close takes */
	uint64_t let_go_ns;		/* perm_let_go's */
	int fail_reopen, fail_settle;
	int fail_thread;	/* thread_open */
	bool hold_flush;	/* flushes wait for toy_release, too */
	const char *name;		/* whom fail_* of life concern */
	unsigned prefix;		/* bytes an operation does at most */
	unsigned full;		/* that many writes want a grace period */
	int fail_status;
	uint64_t fail_status_from;	/* offset from which on it does */
};
extern struct toy_wishes toy_wishes;

/* How often what was called, of all toy nodes. */
struct toy_calls {
	unsigned opens, closes, perm_checks, perm_commits, perm_aborts;
	unsigned reopen_prepares, reopen_commits, reopen_aborts;
	unsigned reopen_finishes, reopen_ends;
	/* atomic */
	unsigned thread_opens, thread_closes, thread_ops;
	unsigned flushing, most_flushing;	/* at once */
};
extern struct toy_calls toy_calls;

/* Registers the drivers; before the first node of each run. */
void toy_start(void);
struct toy *toy_of(struct node *node);
/* Lets held operations of the calling thread go on. */
void toy_release(void);

/* toy-throttle. Each thread has a bucket of its own. */
struct toy_throttle {
	uint64_t charged[THREADS_MAX], given[THREADS_MAX];
	unsigned passed[THREADS_MAX];
	uint64_t log[THREADS_MAX][64];	/* offsets, as they passed */
};
struct toy_throttle *toy_throttle_of(struct node *node);
/* Bytes for writes of the calling thread. */
void toy_throttle_give(struct node *node, uint64_t bytes);

/* toy-counter: writes, zeroes and discards of each sector that went well; how
 * many hooks heard of another end. All atomic. */
#define TOY_SECTORS 4096u
struct toy_counter {
	unsigned sectors[TOY_SECTORS], failed, hooked, slow;
};
struct toy_counter *toy_counter_of(struct node *node);

/* toy-format: makes the next maps of all its nodes say "not loaded". */
void toy_format_forget(struct node *node);
bool toy_format_is_allocated(struct node *node, uint64_t offset);

/*
 * A root that may do everything, and lets everything, with 512-byte requests
 * on all threads; toy_gated is an export's, the other a job's, which calls
 * toy_quiesce and toy_resume when they are set.
 */
struct root *toy_root(const char *name, struct node *node, bool gated,
		      uint32_t granularity);
extern void (*toy_quiesce)(struct root *root);
extern void (*toy_resume)(struct root *root);
/* Coroutine: one request and its result. */
int toy_request(struct root *root, enum req_op op, uint64_t offset,
		uint32_t len, void *buf, unsigned flags);

/* Parsed JSON text, in quotes of either kind; asserts that it is some. */
struct json_t *toy_json(const char *text);
/*
 * Opens from such text; asserts that it works. The
 * reference goes to the first toy_root on the node, unless toy_hold keeps it
 * for the test; toy_let_go drops it and waits for the close.
 */
struct node *toy_open(const char *text);
void toy_hold(struct node *node);
void toy_let_go(struct node *node);
/* Drops it if nobody has done so: whoever else has one keeps the node. */
void toy_give(struct node *node);
/* The same, expecting failure: the sentence, which the caller frees. */
char *toy_open_error(const char *text);

#endif
