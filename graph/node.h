/* SPDX-License-Identifier: MIT */
/*
 * node.h - nodes and edges: the shape of the graph.
 *
 * The shape belongs to the main thread. I/O threads read driver, state, opts,
 * limits, size, file and backing inside a counted request; those change only
 * while every root that reaches the node is drained (A5).
 */
#ifndef GRAPH_NODE_H
#define GRAPH_NODE_H

#include "graph/driver.h"
#include "graph/ending.h"
#include "runtime/ref.h"

#define NODE_NAME_MAX 31	/* bytes, as the protocol's users know it */
#define NODE_CHAIN_MAX 200	/* depth of a backing chain */

/*
 * The life of a node (A33); node.c has the table of what may follow what, and
 * what may be asked in which.
 */
enum node_life {
	NODE_OPENING,	/* its name is taken; its driver is not open */
	NODE_OPENED,	/* its driver is; what else its opening does is not */
	NODE_LIVE,	/* whole: others find it by its name */
	NODE_LEAVING,	/* deleted: found by nobody, nobody's child any more */
	NODE_CLOSING,	/* nobody refers to it; its driver closes */
	NODE_CLOSED,	/* its driver is closed, its children are let go of */
	NODE_LIVES
};

/* An edge's parent is a node or a root, never both. It has a reference to its
 * child, but for that of a root that is the node's own (root_ops.end). */
struct edge {
	const char *name;	/* "file", "backing", "children.0", "root" */
	char *own_name;		/* of one of a list; else NULL */
	struct node *parent;
	struct root *root;
	struct node *child;	/* never NULL outside a transaction (G3) */
	unsigned role;
	unsigned perm, shared;
	unsigned new_perm, new_shared;	/* in a transaction */
	struct node *target;	/* child-to-be; is child outside of one */
	bool changing;		/* listed by the transaction */
	/* who needs this link as it is, and refers to its parent; NULL: nobody
	 * (C6) */
	const char *frozen_by;
	struct edge *next_child;	/* of parent */
	struct edge *next_parent;	/* of child */
};

struct node {
	/* immutable after open */
	const struct driver *driver;
	char name[NODE_NAME_MAX + 1];
	char *filename;		/* protocol: as opened, absolute; else NULL */
	void *opts;		/* driver's parsed options */

	/* I/O threads inside counted requests; written under a drain */
	void *state;
	struct edge *file, *backing;	/* derived from roles (G3, A19) */
	uint64_t size;		/* bytes */
	struct limits limits;
	bool serialise;		/* a parent writes finer than limits.align */
	bool read_only;
	bool forwards;		/* no map, no data operation: A9 */
	bool discard_unmap;	/* else discards have no effect here */
	uint32_t own_mask;	/* this very node's alignment, - 1 */

	/* main thread */
	struct ref ref;		/* node_get, node_put */
	enum node_life life;
	struct ending ending;
	struct close_link *close_links;	/* who waits for its end */
	bool implicit;		/* a job's filter (G5) */
	bool held;		/* the monitor has a reference (G1) */
	bool guessed;		/* format was probed (A26) */
	bool auto_read_only, cache_direct;
	bool no_flush, force_share;
	bool shareable;		/* a base that attach opened (P3) */
	bool temporary;		/* its file has no name, and ends with it */
	char *header_backing;		/* name in the header, or NULL (C7) */
	char *header_backing_format;
	char *warning;		/* found at open: a sentence, or NULL */
	struct json_t *given;	/* the driver's options that were given */
	unsigned generic_given;	/* and of generic.h's, GIVEN_... */
	/* the parent that it was opened with, and whose options are its own
	 * where it was not given any; compared, never followed; or NULL */
	const struct node *inherits_from;
	bool backing_given;	/* by options, not by the header */
	struct edge *children, *parents;
	struct node *next;		/* all nodes */
	unsigned perm, shared;		/* of all parents together */
	unsigned busy;		/* its open or close does I/O (A14) */
	struct idle_waiter *waiters;	/* for busy to become 0 */
	unsigned shown_soon;	/* exports that are being opened on it */
	bool reopening;		/* reopen.h: one at a time */
	bool resizing;		/* resize.h: nor is it shown meanwhile */
	bool owes;		/* read-only, but writes what it has yet */
	bool drained;		/* by the drain under way, or above such */
	struct node *next_drained;
	uint32_t mark;		/* of walks */
	unsigned id;		/* of query.c */
	uint64_t dev, ino;	/* of the image's file; 0, 0: unknown */
	uint64_t allocated;	/* protocols: bytes of storage when it was
				 * opened; UINT64_MAX: not known */
	/* in a transaction */
	unsigned above, below;		/* longest ways up and down */
	unsigned ways_above, ways_below;	/* how many there are */
	unsigned new_perm, new_shared;
	uint32_t granularity;	/* finest writes of parents; 0: none */
	struct limits new_limits;
	uint64_t new_size;	/* where has_new_size */
	uint32_t new_own_mask;
	bool new_serialise, checked, has_new_size;
	struct reopen *reopen;	/* what it will be opened with */
	struct upkeep *upkeep;	/* graph/upkeep.c; NULL: wants no flush */
	struct thread_state *thread_states;	/* by thread, or NULL */
	struct node_io *io;	/* graph/flush.c, graph/serialise.c */
};

/* Bytes, as the transaction under way will leave it. */
static inline uint64_t node_will_have(const struct node *node)
{
	return node->has_new_size ? node->new_size : node->size;
}

/* Meaning, not shape (G4). NULL where there is none. */
struct node *node_cow_child(const struct node *node);
struct node *node_filtered_child(const struct node *node);
struct node *node_filtered_or_cow_child(const struct node *node);
struct node *node_primary_child(const struct node *node);
/* Down through filters; then to the next image of the chain (G5). */
struct node *node_skip_filters(struct node *node);
struct node *node_backing_next(struct node *node);
/* Bytes of storage that the images of a chain had when they were opened; of
 * those that do not know it, all. Without I/O. */
uint64_t node_chain_allocated(struct node *node);
/* What was found at open about the image or one below it; NULL: nothing. */
const char *node_chain_warning(const struct node *node);

/* The live node of that name: the caller's only until it waits, unless it
 * takes a reference. */
struct node *node_find(const char *name);
/* All that are live; nothing may wait in between. prev NULL: the first. */
struct node *node_next(const struct node *prev);
/* All, of any life. */
const struct node *node_each(const struct node *prev);
/* Those that are live or on their way out. */
const struct node *node_unclosed(const struct node *prev);
bool node_is_live(const struct node *node);
/* Whether its driver may be asked anything. */
bool node_is_open(const struct node *node);

/*
 * References (A32): a pointer to a node that is kept across a wait is one. The
 * owner is a word, the same for both (ref.h). The last put closes the node,
 * and below it what nothing else needs: soon, in a coroutine of its own,
 * parents first; never inside the call. Main thread.
 */
static inline struct node *node_take(struct node *node, const char *owner,
				     const char *file, int line)
{
	ref_take(&node->ref, owner, file, line);
	return node;
}
#define node_get(node, owner) node_take(node, owner, __FILE__, __LINE__)
void node_put(struct node *node, const char *owner);
/*
 * The same; then, unless a parent or the monitor's hold keeps the node, waits
 * until it is closed, whoever drops the last one. Says how that went: see
 * co_close_wait. Coroutine, which has no other reference to it.
 */
int co_node_put(struct node *node, const char *owner, struct error **err);

/*
 * Hears how nodes are closed, whoever drops the last reference. A wait begins
 * while the caller refers to the node; co_close_wait then waits until the node,
 * and what is closed with it, is gone. Of nodes that are not closing it waits
 * for none, with `until_kept` for those that nobody keeps for long: till they
 * are closed, or have a parent, the monitor's hold or a frozen link. What is
 * deleted but kept is waited for by who deleted it alone (T12). 0, or
 * -errno and *err: one sentence of what was lost, or that it takes longer than
 * late_bound_ns.
 */
struct close_wait {
	struct close_link *links;
	struct error *err;	/* of the first that failed */
	struct co *waiter;
};
void close_wait_add(struct close_wait *wait, struct node *node);
int co_close_wait(struct close_wait *wait, bool until_kept,
		  struct error **err) MUST_CHECK;
/* Hears of every close that fails; the node is still there. NULL: nobody. */
void node_set_close_listener(void (*failed)(const struct node *node,
					    const struct error *err));

/*
 * Opens a node and its children from options (as blockdev-add takes them):
 * "driver", "node-name", "read-only", "auto-read-only", "discard", "cache",
 * the driver's own, and children as objects, names, or null. Coroutine of the
 * main thread. The result is a reference, whose owner is the "opener". Takes a
 * copy of options. flags: NODE_...
 */
#define NODE_GUESSED 1u
#define NODE_SHARE 2u	/* bases may be nodes that are there already (P3) */
#define NODE_REBUILD 4u	/* its name may be one that was generated */
#define NODE_BY_HEADER 8u	/* "backing" is what the header led to */
struct node *node_open(struct json_t *options, unsigned flags,
		       struct error **err) MUST_CHECK;
/*
 * The options that node_open makes the same node of, above children that are
 * there: what was given for this driver, what it got from its parents as if it
 * had been given, its children by name; while a change is announced
 * (transaction.h), as that will leave it. New reference.
 */
struct json_t *node_describe(const struct node *node);
/* Options for an image file as a user names it; format NULL: by name
 * (.qcow2) or probed (then *guessed), -ENOTSUP where that shows one which no
 * driver reads. Read-only too where the file system or device is; through the
 * page cache too where a raw file has no whole sectors. New reference. */
struct json_t *node_options_for_file(const char *path, const char *format,
				     bool read_only, bool direct,
				     bool *guessed, struct error **err)
	MUST_CHECK;
/*
 * The monitor's hold (G1). node_add opens a node and gives it one, beside the
 * opener's reference. node_del takes it away, and the name with it, and waits
 * for the close: an error may say that the node is gone and what was lost;
 * refused (-EBUSY) while the node has parents or is about to have one, as while
 * an export is being opened.
 */
struct node *node_add(struct json_t *options, struct error **err) MUST_CHECK;
int node_del(const char *name, struct error **err) MUST_CHECK;
/* Gives the hold; there is none. */
void node_hold(struct node *node);
/* Takes the hold away, where there is one. */
void node_let_go(struct node *node);

#endif
