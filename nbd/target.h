/* SPDX-License-Identifier: MIT */
/*
 * target.h - what connections read and write: a root, and the connections that
 * are on it. Main thread.
 *
 * An export of the server has one (export.c); so has whoever hands one end of
 * a socket pair to the kernel's own client.
 */
#ifndef NBD_TARGET_H
#define NBD_TARGET_H

#include "runtime/wait.h"
#include "graph/root.h"
#include "nbd/negotiate.h"
#include "nbd/stream.h"

struct nbd_conn;

/*
 * Outlives its connections, which refer to it: the owner is told by
 * co_nbd_target_close when there are none, and frees it, and ends the root,
 * only then. An export is not closed as long as anybody refers to it, nor while
 * it is stuck.
 */
struct nbd_target {
	/* its owner's; constant while there are connections */
	struct root *root;	/* threads: nbd_target_threads */
	/* bytes, at most the node's; changes with it: atomic */
	uint64_t size;
	bool writable;
	bool writethrough;	/* every write is durable when done */
	/* its own; zero at first */
	struct nbd_conn *conns;
	unsigned count;
	bool closing;
	struct wait_event closed;
};

/* Its connections may reach so far from here on; their clients hear of it in
 * ways of their own. */
static inline void nbd_target_resize(struct nbd_target *target, uint64_t size)
{
	__atomic_store_n(&target->size, size, __ATOMIC_RELAXED);
}

/* Any thread. */
static inline uint64_t nbd_target_size(const struct nbd_target *target)
{
	return __atomic_load_n(&target->size, __ATOMIC_RELAXED);
}

/* What root_new is to be given: bit per I/O thread, all of them. */
uint64_t nbd_target_threads(void);
/* The smallest block of clients, so that a node need not realign what they
 * write; 1 where the size is no multiple of anything better. */
uint32_t nbd_target_granularity(const struct node *node);

/* root_ops.abandoned of the roots of targets: the connection is over, and a
 * write that is made later would be news to whoever connects again. */
bool nbd_request_abandoned(struct request *req);

/* One connection in the transmission phase. */
struct nbd_service {
	struct nbd_stream stream;
	struct nbd_terms terms;
	/* Sent before any reply; from malloc, or NULL. */
	char *first;
	size_t first_len;
	/* Main thread: it is over, the socket is closed; may be NULL. */
	void (*ended)(void *arg);
	void *arg;
};

/*
 * Serves requests that come through the stream, whose other end knows size and
 * flags already: terms all false are simple replies, as the kernel's
 * client wants them. On success stream and `first` are the target's: the socket
 * is closed when the client leaves or the target closes. On failure they are
 * the caller's.
 */
int nbd_target_serve(struct nbd_target *target,
		     const struct nbd_service *service, struct error **err)
	MUST_CHECK;
/*
 * Drops all connections. True when their requests have ended and their `ended`
 * was called: none comes after that. False where the graph keeps requests for
 * longer than timeout_ns; it may be called again. Coroutine.
 */
bool co_nbd_target_close(struct nbd_target *target, uint64_t timeout_ns)
	MUST_CHECK;

#endif
