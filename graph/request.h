/* SPDX-License-Identifier: MIT */
/*
 * request.h - one request of a root on its way through the graph.
 *
 *	root_submit -> gate -> resolve -> io_submit -> complete
 *	                          \-> coroutine (slow) -/
 *
 * A request belongs to the I/O thread that submitted it until done is called.
 */
#ifndef GRAPH_REQUEST_H
#define GRAPH_REQUEST_H

#include "graph/counts.h"
#include "graph/hook.h"
#include "graph/wait.h"
#include "runtime/io.h"

enum req_op {
	REQ_READ,
	REQ_WRITE,
	REQ_FLUSH,	/* offset and len 0 */
	REQ_DISCARD,	/* advisory: contents undefined, usually zeroes */
	REQ_ZEROES,
	REQ_STATUS,	/* buf: a struct status, valid in done (status.h) */
};
#define REQ_OPS (REQ_STATUS + 1)

enum {
	REQ_FUA = 1,		/* WRITE, ZEROES: durable when done */
	REQ_NO_UNMAP = 2,	/* ZEROES: space stays allocated */
	REQ_OFFSETS = 4,	/* STATUS: with STATUS_OFFSET */
	REQ_FAST = 8,		/* ZEROES: -ENOTSUP where all is written */
	/* The submitter holds what others may wait for (a job's range): where
	 * the request would wait it is answered with STEER_WAIT (wait.h). */
	REQ_HAND_BACK = 16,
	REQ_AGAIN = 32,		/* set by co_wait_wish */
};

struct root;
struct node;

struct request {
	/* set by whoever submits */
	uint8_t op;		/* enum req_op */
	uint8_t flags;		/* REQ_FUA, ... */
	uint32_t len;		/* bytes, below 2 GiB */
	uint64_t offset;
	/* payload of READ and WRITE, NULL when fixed; answer of STATUS */
	void *buf;
	int32_t fixed;		/* registered buffer, or IO_NOT_FIXED */
	/*
	 * Called once on the submitting thread; res is 0 or a negative errno.
	 * May be called inside root_submit. The request is the submitter's
	 * again; the root's count is dropped after done returns (A8).
	 */
	void (*done)(struct request *req, int res);

	/* the graph's own */
	uint8_t parity;		/* epoch it is counted in (A28) */
	bool run_here;		/* the submitting coroutine runs it */
	int res;
	struct root *root;
	struct root_gate *gate;
	struct node *end;	/* protocol node of the resolved path */
	struct request *next, *prev;	/* queued, or in flight, of the gate */
	uint64_t start_ns;	/* when it passed the gate */
	struct co *co;		/* of co_root_submit */
	struct node_path path;	/* empty but in tests (A8) */
	struct op_hooks hooks;	/* of the fast path */
	struct io io;
	/* once it has left the fast path */
	bool returned;		/* was at the gate before */
	bool waited;		/* the graph may have changed since it began */
	uint8_t charged;	/* charges in use */
	uint32_t finished;	/* bytes of its start that are done */
	uint32_t turn;		/* order in which the gate's requests came */
	uint64_t held_ns;	/* when it failed first (hold.h), or 0 */
	int held_for;		/* how, last: a negative errno */
	struct charge charges[CHARGES_MAX];
	struct waiter waiter;
};

#endif
