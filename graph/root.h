/* SPDX-License-Identifier: MIT */
/*
 * root.h - where requests enter the graph: an export's, job's or control
 * command's edge to a node, with gate and in-flight counts (A8, A14, A16).
 */
#ifndef GRAPH_ROOT_H
#define GRAPH_ROOT_H

#include "graph/failure.h"
#include "graph/request.h"
#include "graph/node.h"

struct drain;
struct grace_step;

struct root_ops {
	const char *kind;	/* "export", "job", "control" */
	bool gated;		/* false: closes when it is idle only (A16) */
	bool stays;		/* where it is, when others go to an overlay or
				 * a filter (C1) */
	/*
	 * Makes the payload of a fixed request visible: sets req->buf (with a
	 * WRITE's bytes in it) and req->fixed = IO_NOT_FIXED. Coroutine of the
	 * request, on its thread, holding nothing; may wait for memory. 0 or a
	 * negative errno. NULL when the root never sends fixed payloads.
	 */
	int (*materialise)(struct request *req);
	/* A command's that resizes: exports that follow let it (C8). */
	bool resizes;
	/* Whoever sent the request has gone, or will not wait for its answer:
	 * it is not held (hold.h). On its thread. NULL: that cannot be. */
	bool (*abandoned)(struct request *req);
	/* A drain asks a job to stop (A16), main thread; NULL for others. */
	void (*quiesce)(struct root *root);
	void (*resume)(struct root *root);
};

/* What is held of requests that fail (hold.h). */
struct hold_terms {
	bool no_space;		/* what found no space */
	bool errors;		/* what failed otherwise */
	uint64_t longest_ns;	/* then it fails; 0: never */
};

/* Requests that were done, by what they were. */
struct op_counts {
	uint64_t ok, failed;
	uint64_t bytes, ns;	/* of those that did not fail; from the gate */
};

struct root_counts {
	struct op_counts ops[REQ_OPS];
	uint64_t highest;	/* end of the farthest write */
};

/* Who is under way on one thread, in the current epoch and the one before
 * (A28). */
struct epochs {
	uint32_t in_flight[2];	/* by parity */
	uint8_t parity;		/* of the current one */
	struct grace_step *steps;	/* grace periods waiting here */
};

/* One thread's part of a root, whose it is but for the last fields. */
struct root_gate {
	/* what each request touches: one cache line */
	struct epochs epochs;
	uint32_t waiting;	/* at a node, in no epoch (wait.h) */
	uint32_t busy;		/* operations of a job (root_busy) */
	bool closed;
	bool blocked;		/* closed, or somebody is queued already */
	bool heeds;		/* somebody waits for counts to fall */
	struct root *root;
	struct request *flying, *last_flying;	/* in flight, oldest first */
	struct request *first, **last;	/* queued, in order */
	uint32_t queued;	/* how many */
	unsigned index;		/* of the thread */
	uint32_t turns;		/* request->turn, the next one's */
	bool running;		/* the queue is being run */
	bool more_posted;	/* `more` is under way: the rest of the queue */
	bool short_of_stacks;	/* in the thread's list of those */
	bool answer_drain;
	struct root_gate *next_short;
	struct open_waiter *open_waiters;	/* operations to begin */
	/* hold.c */
	unsigned ending;	/* nothing waits for a turn, or is held */
	uint64_t resumed_ns;	/* longest times begin there, or later */
	struct {
		/* atomic: main reads them at any time */
		uint32_t count;	/* waiting, or being tried again */
		int32_t error;	/* of the last, positive */
		uint64_t since_ns;	/* that there are any */
	} held;
	struct message close, open, drained, opened, more;
	/* written before an answer, read by main after it */
	uint64_t closed_ns, drained_ns, opened_ns, oldest_ns;
	uint32_t at_close, left;
	struct node *oldest_node;
	/* main thread */
	struct drain *drain;
	bool awaited;
	/* written by its thread only, read by main at any time: atomic */
	struct root_counts counts CACHELINE_ALIGNED;
	struct failures failures;	/* failure.h */
} __attribute__((aligned(1024)));	/* found by a shift */

/* What held I/O. */
enum drain_kind {
	DRAIN_FOR_OTHER,		/* what comes and goes, as a job does */
	DRAIN_FOR_SNAPSHOT,
	DRAIN_FOR_INSERT,
	DRAIN_FOR_REMOVE,
	DRAIN_FOR_REOPEN,
	DRAIN_FOR_REPLACE,
	DRAIN_FOR_RESIZE,
	DRAIN_FOR_SEVERAL,	/* of these, in one transaction */
	DRAIN_KINDS
};

/* How long I/O was held (A17). Main thread; ns. */
struct drain_stats {
	uint64_t count;
	uint64_t last_ns, max_ns, total_ns;
	uint64_t last_in_flight, total_in_flight; /* at gate closing */
	uint32_t histogram[64];	/* by power of two of ns, for the p99 */
};

/*
 * It has one owner, and no count: the owner, an export, a job or a coroutine,
 * outlives all that it submits, and frees the root by a change of the graph. So
 * whoever else has a pointer across a wait, a drain above all, has it under the
 * change lock, under which no root is freed; requests that are in flight are
 * waited for by that change's drain. Queries find roots through references to
 * their exports and nodes.
 */
struct root {
	const struct root_ops *ops;
	void *owner;
	char *name;		/* as error sentences name it: "export 'd0'" */
	struct edge edge;	/* edge.root is this; edge.child the node */
	uint32_t granularity;	/* bytes: requests are aligned to this */
	uint64_t threads;	/* bit per thread index that submits here */
	struct drain_stats drains, drains_by[DRAIN_KINDS];
	struct root *next;
	struct root_gate *gates;	/* by thread index */
	bool writable;		/* may send more than READ and FLUSH */
	struct hold_terms holds;	/* set before the first request */
	bool quiesced;		/* asked to stop by the drain under way */
	bool follows;		/* an export's, whose size follows the node's */
	/* main thread: why its gates stay closed past every deadline, shown to
	 * users; the drain's text, NULL: they do not (A36) */
	const char *stuck;
	uint32_t mark;		/* main thread: of walks */
};

/*
 * Main thread, coroutine. root_new prepares a root on `node` with permissions
 * and granularity (512 for disks); it is attached, gate open, when this
 * returns; refused with *err when permissions conflict. threads: which I/O
 * threads will submit (A14: their gates are closed in a drain).
 */
struct root *root_new(const struct root_ops *ops, void *owner,
		      const char *name, struct node *node, unsigned perm,
		      unsigned shared, uint32_t granularity, uint64_t threads,
		      struct error **err) MUST_CHECK;
/* Under the drain of a change that allows it `perm`. */
void root_set_writable(struct root *root, unsigned perm);
/* Nothing in flight and nothing waiting. Lets go of the node, and waits for its
 * close where that was the last reference. Coroutine. */
void root_free(struct root *root);
/*
 * The same, for who has no other reference to the node: waits for the close
 * whoever drops the last one, and says what it could not write.
 */
int co_root_end(struct root *root, struct error **err) MUST_CHECK;
/* The root of a node's own (upkeep.h), of one thread; nobody else sees it. It
 * is freed when nothing is in flight and the node was drained since. Main. */
struct root *root_new_own(const struct root_ops *ops, void *owner,
			  const char *name, struct node *node,
			  uint64_t threads);
void root_free_own(struct root *root);

/*
 * Any thread of root->threads: the fast path's entry. Offset and length are
 * inside the node and aligned to the granularity, or done gets -EINVAL/-EIO.
 * done may be called before this returns.
 */
void root_submit(struct root *root, struct request *req);
/* The same from a coroutine: submits and waits; sets req->done itself. */
int co_root_submit(struct root *root, struct request *req);
/*
 * A job's whole operation (A16), on its thread: between the two the root
 * counts as busy for drains, also while none of its requests is in flight.
 * Coroutine: an operation that would begin while the root is drained waits for
 * the undrain. One that is under way may begin others inside it.
 */
void co_root_busy(struct root *root);
void root_idle(struct root *root);
/* The same where no drain has asked for the root, as the caller knows. */
void root_busy(struct root *root);
/* Main thread: adds what all its threads have counted. */
void root_count(const struct root *root, struct root_counts *sum);
/* Main thread: all roots, with root->next. */
struct root *root_first(void);

#endif
