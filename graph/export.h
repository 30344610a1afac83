/* SPDX-License-Identifier: MIT */
/*
 * export.h - what an export type is. Main thread, coroutines throughout; an
 * export's data path is its own matter (root_submit).
 *
 * Order (A18): open -> [graph change committed, undrained] -> start -> ... ->
 * stop -> close. open reserves what can fail (id, parameters, threads'
 * budgets) and creates the root; start shows it to the world.
 */
#ifndef GRAPH_EXPORT_H
#define GRAPH_EXPORT_H

#include "graph/options.h"

struct node;
struct json_t;
struct export;
struct root;
struct root_ops;

enum export_stop {
	EXPORT_STOP_SAFE,	/* refuse while anybody has it open (C9) */
	EXPORT_STOP_HARD,	/* --force */
};

struct export_type {
	const char *name;	/* "ublk" */
	size_t state_size;	/* export->state, zeroed */
	const struct option *options;
	size_t options_size;
	/*
	 * Whether this machine can make such a device at all; brings in what
	 * that needs (modules). NULL: the type makes no block device.
	 */
	int (*available)(struct error **err);
	/*
	 * open creates the root on node. Either leaves nothing when it fails,
	 * but for what start is to have closed; or sets exp->stuck, when the
	 * kernel has not let go of something (A6): then stop and close follow
	 * some day, as if it had started.
	 */
	int (*open)(struct export *exp, struct node *node, struct error **err);
	int (*start)(struct export *exp, struct error **err);
	/* Nobody uses it any more, nothing is in flight; ends what start
	 * began. Refusing leaves it as it was. */
	int (*stop)(struct export *exp, enum export_stop mode,
		    struct error **err);
	/*
	 * Changes nothing: says who uses it, as a safe stop would (C9), so
	 * that the daemon can refuse to leave before it stopped anything.
	 * -EAGAIN, without a sentence: only those have it who will go, and the
	 * caller is patient. NULL: no local disk has it, and leaving drops its
	 * clients.
	 */
	int (*check_idle)(struct export *exp, bool patient,
			  struct error **err);
	/* Undoes open; the root is freed. */
	void (*close)(struct export *exp);
	/* Adds members to the object: "device", "queues", ...; may wait. */
	void (*query)(struct export *exp, struct json_t *object);
};

struct export {
	const struct export_type *type;
	char *id;
	bool writable;
	bool exclusive;		/* nobody else may write to the node (P1) */
	void *opts;
	struct json_t *given;	/* to export_add */
	void *state;
	struct root *root;
	bool started, shutting_down, stuck;
	char device[32];	/* path, set by the type's open; "": none */
	/* Queries that wait for its I/O threads hold it: export_del goes on
	 * from stop to close when none does. */
	unsigned pins;
	struct export *next;
};

void export_type_register(const struct export_type *type);
const struct export_type *export_type_find(const char *name);
/* All of them, by 0, 1, ...; NULL behind the last. */
const struct export_type *export_type_at(unsigned i);
/* Options of every type. */
extern const struct option export_options[];

/*
 * For a type's open: the root that shows `node`, with the permissions that the
 * export asks for; exp->root is set. shared: what the type lets others do. The
 * rest as root_new. NULL, and *err. The type's close clears exp->root before
 * root_free, which waits.
 */
struct root *export_root_new(struct export *exp, const struct root_ops *ops,
			     void *owner, struct node *node, unsigned shared,
			     uint32_t granularity, uint64_t threads,
			     struct error **err) MUST_CHECK;

/* Takes a copy of options ("type", "id", "node-name", "writable", "exclusive",
 * the type's own). On failure nothing is left, unless it is stuck: then it is
 * listed so. */
struct export *export_add(struct json_t *options, struct error **err)
	MUST_CHECK;
int export_del(const char *id, enum export_stop mode, struct error **err)
	MUST_CHECK;
struct export *export_find(const char *id);
struct export *export_first(void);

#endif
