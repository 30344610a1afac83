/* SPDX-License-Identifier: MIT */
/*
 * driver.h - what a driver is: a const table of operations, registered once.
 *
 * Only the graph's wrappers call operations, and they keep the contract: the
 * range is inside the node, aligned to its limits and at most max_transfer; a
 * failing operation returns -4095..-1. A NULL operation of a filter means:
 * forward to the filtered child.
 *
 * A driver reaches other nodes only through its edges (A19): node->file,
 * node->backing, and co_edge_* of graph/io.h.
 */
#ifndef GRAPH_DRIVER_H
#define GRAPH_DRIVER_H

#include "graph/options.h"
#include "graph/request.h"

struct edge;
struct file_info;
struct node;
struct reopen;

/* Roles of an edge (G2). */
enum {
	ROLE_DATA = 1,
	ROLE_METADATA = 2,
	ROLE_FILTERED = 4,
	ROLE_COW = 8,
	ROLE_PRIMARY = 16,
	ROLE_IMAGE = ROLE_DATA | ROLE_METADATA | ROLE_PRIMARY,
};

/* Permissions (P1). */
enum {
	PERM_CONSISTENT_READ = 1,
	PERM_WRITE = 2,
	PERM_WRITE_UNCHANGED = 4,
	PERM_RESIZE = 8,
	PERM_ALL = 15,
};

enum driver_kind { DRIVER_PROTOCOL, DRIVER_FORMAT, DRIVER_FILTER };

enum support { SUPPORT_NONE, SUPPORT_EMULATED, SUPPORT_NATIVE };

/* What a node asks of its parents and can do (D5); refreshed at open and under
 * a drain, children before parents. */
struct limits {
	uint32_t align;		/* of offset and length, power of 2, >= 1 */
	uint32_t mem_align;	/* of payload memory, power of 2, >= 1 */
	uint32_t max_transfer;	/* bytes of one READ or WRITE */
	uint32_t optimal_io;	/* bytes; 0 where nothing is better */
	uint32_t discard_align;	/* granularity that frees space; 0: none */
	/* Offsets in the children at which a format places data are multiples
	 * of this (cluster size); 0: no finer than its parents' (A12). */
	uint32_t placement;
	uint8_t zeroes;		/* enum support */
	uint8_t discard;	/* enum support */
	bool rotational;
	bool fixed_size;	/* writing past the end does not make it grow */
};

/*
 * map: the fast path's question (A9). In: op, flags, offset and len as this
 * node sees them. Out: kind, len shortened to the prefix that the answer
 * holds for, and what the kind needs. Never waits, takes no lock, allocates
 * nothing; runs on any thread, inside a counted request.
 */
enum map_kind {
	MAP_SLOW,	/* run the operation as a coroutine */
	MAP_FORWARD,	/* ask `child` with op, flags and (new) offset */
	MAP_SUBMIT,	/* do the operation on `file` at (new) offset */
	MAP_ZEROES,	/* a READ of zeroes */
	MAP_DONE,	/* nothing to do */
	MAP_ASK_ABOVE,	/* a READ of `above`: by map_ask_above */
	MAP_REALIGN,	/* the graph's own: the range breaks the node's
			 * alignment, or the node serialises (A12) */
};

struct map {
	uint8_t op;		/* enum req_op */
	uint8_t flags;
	uint8_t kind;		/* enum map_kind, out */
	uint8_t io_op;		/* MAP_SUBMIT: enum io_op, out */
	uint8_t io_flags;
	bool realigned;		/* the graph's own: of the node asked first */
	uint32_t len;
	uint64_t offset;
	struct edge *child;
	struct file *file;
	/* A filter's wish, of a READ: to be asked itself, by its operation,
	 * for what its image has from below. */
	struct node *above;
	struct op_hooks *hooks;	/* by map_hook (hook.h) */
	struct request *req;	/* on its fast path; else NULL */
};

void map_above_of(struct map *map, const struct node *image);

/*
 * In map of an image with one below, for a READ of what that one has, which map
 * forwards to it; before it changes map->offset. Where a filter above has
 * wished so, map answers that instead.
 */
static inline void map_ask_above(struct map *map, const struct node *image)
{
	if (unlikely(map->above))
		map_above_of(map, image);
}

/*
 * status: what [offset, offset + len) is. In: offset and len as this node sees
 * them, len > 0, inside the node, at any alignment. Out: kind, len shortened to
 * the prefix that the answer holds for, and what the kind needs. Coroutine, may
 * wait, for metadata only; status.c does the rest.
 */
enum extent_kind {
	EXTENT_HERE,	/* this node decides, by flags; with STATUS_OFFSET the
			 * bytes lie at (new) offset of its file */
	EXTENT_CHILD,	/* ask `child` at (new) offset: the same image */
	EXTENT_BACKING,	/* not in this image: its backing image, if any */
};

enum {
	STATUS_DATA = 1,	/* has a place in storage, where reads go */
	STATUS_ZERO = 2,	/* reads as zeroes; with DATA: there, too */
	STATUS_COMPRESSED = 4,
	STATUS_OFFSET = 8,	/* is at one place of the file, as it is */
	STATUS_PAST_END = 16,	/* zero since the image that decides ends */
};

struct extent {
	uint8_t kind;		/* enum extent_kind, out */
	uint8_t flags;		/* STATUS_*, out */
	uint32_t len;
	uint64_t offset;
	struct edge *child;
};

/* A child that the driver's options name, in the order they are opened. */
struct child_decl {
	const char *name;	/* option and edge name: "file", "backing" */
	unsigned role;
	bool optional;
	/* A list of any length, "name.0", "name.1", ... as edges; DATA only. */
	bool list;
	/* Opened after driver->open, by what the header said where options do
	 * not name it: node->header_backing. Only "backing" of formats. */
	bool after_open;
};

struct image_check {
	uint64_t *progress;	/* the caller's; changes with every read */
	uint64_t errors;	/* contradictions: data is or may get lost */
	uint64_t leaks;		/* clusters that are taken and unused */
	uint64_t total, allocated, compressed;	/* clusters of the disk */
	uint64_t end;		/* bytes of the file that are in use */
	char first_error[160];	/* a sentence */
};

struct driver {
	const char *name;
	enum driver_kind kind;
	const char *plain_name;	/* of a node without strong options, or NULL */
	bool filtered_is_backing;	/* filters: child is node->backing */
	size_t state_size;	/* node->state, zeroed before open */
	const struct option *options;	/* ends with name NULL; may be NULL */
	size_t options_size;	/* of the struct they fill: node->opts */
	const struct child_decl *children;	/* ends with name NULL */
	/* The role of a child where it depends on node->opts (raw, G2), asked
	 * before it is attached; NULL: as declared. */
	unsigned (*child_role)(const struct node *node,
			       const struct child_decl *child);

	/*
	 * Life; main thread, coroutine, may wait. open finds its
	 * options in node->opts and its file edge attached; sets node->size
	 * and, for formats, node->header_backing; anything it changed on disk
	 * is undone or harmless when it fails. NULL: size and limits come from
	 * the primary child. close: after every thread has stopped using the
	 * node; writes back what close must. It closes in any case: a failure
	 * says in *err what is lost, in words that follow "Node 'n' is closed,
	 * but": to who deleted the node, and by event and log.
	 */
	int (*open)(struct node *node, struct error **err);
	int (*close)(struct node *node, struct error **err);
	/*
	 * What the node keeps for each thread (thread-state.h): bytes, zeroed
	 * before thread_open. Both: coroutines of that thread, may wait.
	 * thread_open: inside an operation, 0 or a negative errno.
	 */
	size_t thread_state_size;
	int (*thread_open)(struct node *node, void *state);
	void (*thread_close)(struct node *node, void *state);
	/* Limits after the children's; starts as the primary child's, or, where
	 * there is none, what all children but COW ones can do together. Asked
	 * before a change is sure, under I/O: it changes *lim and no more. */
	void (*limits)(const struct node *node, struct limits *lim);
	/*
	 * Reopening (A37, reopen.h). NULL: nothing to do but what the graph
	 * does. Main thread.
	 *
	 * prepare: coroutine, may wait, while the node is used and stays as it
	 * is; what the change needs, into r->state; undoes itself when it
	 * fails. It may answer r->read_only for r->auto_read_only. Then
	 * exactly one of commit (under the drain; does not wait nor fail; the
	 * node's members are new, those of the old options in r->opts) and
	 * abort (coroutine). After a commit and its undrain, coroutines:
	 * finish, where there is r->state or the node owes: syncs and writes
	 * what is left of before; -errno: and will again; then end, which lets
	 * go of what is used no longer and of r->state.
	 */
	int (*reopen_prepare)(struct node *node, struct reopen *r,
			      struct error **err);
	void (*reopen_commit)(struct node *node, struct reopen *r);
	void (*reopen_abort)(struct node *node, struct reopen *r);
	int (*reopen_finish)(struct node *node, struct reopen *r);
	void (*reopen_end)(struct node *node, struct reopen *r);
	/*
	 * Resizing (C8, resize.h): makes the image of `from` bytes one of `to`,
	 * durably. What is new reads as zeroes; on failure it is as it was, as
	 * far as storage lets it be. Main thread, coroutine, may wait, while
	 * the node is used: where it grows before anybody may reach behind
	 * `from`, where it shrinks when nobody reaches behind `to` any more.
	 * NULL: a filter shows as much as its child; another has one size.
	 */
	int (*resize)(struct node *node, uint64_t from, uint64_t to,
		      struct error **err);
	/*
	 * Whether a child of its list may come, or, with child NULL, go while
	 * the node is used, now that there are `count`. Main, must not wait. 0,
	 * or -errno and *err. NULL: they stay who they are.
	 */
	int (*child_change)(const struct node *node, unsigned count,
			    const struct node *child, struct error **err);
	/*
	 * Permissions (P2). child_perm: what this node needs of `child` given
	 * what its parents hold (perm, shared in; out in place); NULL: the
	 * default of the role. perm_check takes locks or what else perm needs,
	 * can fail; then exactly one of perm_commit and perm_abort follows.
	 * check: main, coroutine; commit and abort: must not fail, nor wait.
	 * perm_let_go, or NULL: after either, without the change lock, waits:
	 * others are told of what is no longer held.
	 */
	void (*child_perm)(const struct node *node, const struct edge *child,
			   unsigned *perm, unsigned *shared);
	int (*perm_check)(struct node *node, unsigned perm, unsigned shared,
			  struct error **err);
	void (*perm_commit)(struct node *node);
	void (*perm_abort)(struct node *node);
	void (*perm_let_go)(struct node *node);

	/* I/O; any thread. */
	void (*map)(struct node *node, struct map *map);
	/*
	 * Coroutine operations: read, write, zeroes and discard handle
	 * a prefix of [offset, offset + len) and return its length in bytes
	 * (> 0) or a negative errno; the wrapper asks again for the rest, map
	 * first. They are called only where map said slow, or where there is
	 * no map. Returning STEER_AGAIN (wait.h): the mapping was brought in,
	 * ask map again. -ENOTSUP from zeroes: write zeroes; from discard:
	 * nothing happens, no error. flags: REQ_NO_UNMAP; FUA is the wrapper's
	 * matter (write, then flush) unless map answered it.
	 */
	int64_t (*read)(struct node *node, uint64_t offset, uint32_t len,
			void *buf);
	int64_t (*write)(struct node *node, uint64_t offset, uint32_t len,
			 const void *buf, unsigned flags);
	int64_t (*zeroes)(struct node *node, uint64_t offset, uint32_t len,
			  unsigned flags);
	int64_t (*discard)(struct node *node, uint64_t offset, uint32_t len);
	/*
	 * Makes this image's own what is the image's below it in [offset,
	 * offset + len), and more around it; what it shows stays the same, and
	 * no write is undone. Handles a prefix and returns its length, or
	 * STEER_AGAIN or a negative errno. NULL: it has none below.
	 */
	int64_t (*fetch)(struct node *node, uint64_t offset, uint32_t len);
	/*
	 * Somebody is listed in a line of the calling thread (co_wait_turn).
	 * Neither waits nor ends that wait yet. NULL: the driver looks itself.
	 */
	void (*turn_awaited)(struct node *node, unsigned line);
	/*
	 * Makes this node's own metadata durable, with whatever flushes of its
	 * file that needs; the wrapper then descends into all children (A29),
	 * so a node without metadata has none.
	 */
	int (*flush)(struct node *node);
	bool flushes_children;	/* flush is of them too, and all there is */

	/*
	 * Coroutine, any thread. 0 or a negative errno. NULL: a filter asks
	 * its child; any other has data everywhere.
	 */
	int (*status)(struct node *node, struct extent *extent);

	/*
	 * Making an image where there is none yet; main, coroutine, may wait.
	 * opts: create_options parsed; file: where a format goes, nobody else
	 * uses it; NULL for protocols. Half-way there is no valid image. NULL:
	 * the driver cannot.
	 */
	const struct option *create_options;
	size_t create_size;	/* of the struct they fill */
	int (*create)(const void *opts, struct edge *file, struct error **err);

	/*
	 * Makes the header name another image below, or none (name NULL;
	 * format may be NULL); durable when it returns, and at any cut the one
	 * or the other. Main, coroutine, of a node that writes; may wait. 0 or
	 * a negative errno with *err. NULL: its header names none.
	 */
	int (*set_backing)(struct node *node, const char *name,
			   const char *format, struct error **err);

	/*
	 * Looks through an image's metadata in `file`, to which nobody writes
	 * meanwhile, and changes nothing; main, coroutine, may wait. 0 when
	 * that could be done, whatever it found. NULL: there is no check.
	 */
	int (*check)(struct edge *file, struct image_check *out,
		     struct error **err);

	/*
	 * Which file the node is, and how much of it there is now; coroutine,
	 * any thread, may wait. 0 or a negative errno. NULL: it is no file.
	 */
	int (*identify)(struct node *node, struct file_info *info);

	/* Queries; main. info: adds driver specific members to the object.
	 * describe: to what the node is beside its image; NULL: nothing. */
	void (*info)(struct node *node, struct json_t *object);
	void (*describe)(const struct node *node, struct json_t *object);
	/*
	 * What an image has besides its disk, for one that is only looked at:
	 * adds to the object that info filled, also before it fails. Main,
	 * coroutine, may wait. 0 or a negative errno with *err. NULL: nothing.
	 */
	int (*contents)(struct node *node, struct json_t *object,
			struct error **err);
};

/* Called by driver_register_all; asserts the rules of A9. */
void driver_register(const struct driver *driver);
const struct driver *driver_find(const char *name);
/* The one that options name; takes its name out of them. */
const struct driver *driver_take(struct json_t *options, struct error **err);
/* All of them, by 0, 1, ...; NULL behind the last. */
const struct driver *driver_at(unsigned i);
/* In generic.c: options of every node, and the members of its "cache". */
extern const struct option node_options[], node_cache_options[];
/* In drivers/drivers.c: the one list of all drivers. */
void driver_register_all(void);

#endif
