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

#include "graph/ending.h"
#include "graph/options.h"
#include "graph/root.h"
#include "runtime/ref.h"

struct node;
struct json_t;
struct export;
struct export_errors;
struct change_stats;
struct reopen;

enum export_stop {
	EXPORT_STOP_SAFE,	/* refuse while anybody has it open (C9) */
	EXPORT_STOP_HARD,	/* --force */
};

struct export_type {
	const char *name;	/* "ublk" */
	size_t state_size;	/* export->state, zeroed */
	const struct option *options;
	size_t options_size;
	bool local;		/* what uses it is this machine's own: unless
				 * it is told otherwise, what finds no space is
				 * held (M9) */
	/*
	 * Whether this machine can make such a device at all; brings in what
	 * that needs (modules). NULL: the type makes no block device.
	 */
	int (*available)(struct error **err);
	/*
	 * open creates the root on node. Either leaves nothing when it fails,
	 * but for what start is to have closed; or calls export_set_stuck, when
	 * the kernel has not let go of something (A6): then stop and close
	 * follow some day, as if it had started.
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
	/*
	 * Whether the kernel has let go of it though nobody here asked for
	 * that, once export_lost was called; may wait. NULL: such a type does
	 * not call it.
	 */
	bool (*is_gone)(struct export *exp);
	/*
	 * Shows the world a disk of `size` bytes, the node's: after it has
	 * grown, before it shrinks (C8). On failure it shows what it did.
	 * NULL: it cannot change, nor can what it shows.
	 */
	int (*resize)(struct export *exp, uint64_t size, struct error **err);
	/* Whether resize can work at all, on this kernel; NULL: it can. */
	int (*resizable)(struct export *exp, struct error **err);
	/*
	 * Shows the world that the disk can, or cannot, be written to, before
	 * the graph lets it, or does not any more (C5).
	 */
	int (*show_writable)(struct export *exp, bool writable,
			     struct error **err);
	/* Also what began read-only can become writable. */
	bool becomes_writable;
	/*
	 * Undoes open, when nobody refers to the export any more; the root is
	 * freed by co_export_root_end, whose words for what was lost it hands
	 * on.
	 */
	int (*close)(struct export *exp, struct error **err);
	/* Adds members to the object: "device", "queues", ...; may wait. */
	void (*query)(struct export *exp, struct json_t *object);
};

/*
 * The life of an export (A33); export.c has the table of what may follow what.
 * Others find it while it runs, is being stopped or is stuck, and then it is
 * whole: it has a root on a node.
 */
enum export_life {
	EXPORT_OPENING,		/* its id is taken */
	EXPORT_STARTING,	/* open has succeeded */
	EXPORT_RUNNING,
	EXPORT_STOPPING,
	EXPORT_STUCK,		/* one of these did not end; stop may again */
	EXPORT_CLOSING,		/* closes when nobody refers to it any more */
	EXPORT_CLOSED,
	EXPORT_LIVES
};

struct export {
	const struct export_type *type;
	struct ref ref;
	struct ending ending;
	enum export_life life;
	struct export_end *end;	/* whoever waits for its end, or NULL */
	char *id;
	bool writable;
	bool began_writable;
	bool reopening;		/* a change of `writable` is under way */
	bool ran;		/* or may have */
	bool lost;		/* perhaps; is_gone knows */
	bool leaving;		/* hurried, since the daemon is */
	bool exclusive;		/* nobody else may write to the node (P1) */
	struct hold_terms holds;	/* of its root */
	void *opts;
	struct json_t *given;	/* to export_add */
	void *state;
	struct root *root;
	struct root *stand_in;	/* for one that open got stuck before; NULL */
	struct export_errors *errors;	/* the listener's */
	char device[32];	/* path, set by the type's open; "": none */
	/* The kernel's number of that disk, where only it tells after a crash
	 * whose it was; or 0. */
	uint64_t diskseq;
	struct export *next;
};

void export_type_register(const struct export_type *type);
const struct export_type *export_type_find(const char *name);
/* All of them, by 0, 1, ...; NULL behind the last. */
const struct export_type *export_type_at(unsigned i);
/* Options of every type. */
extern const struct option export_options[];
/*
 * For a type's open, before the root is made: what shows the disk takes a
 * request that is not answered for `most` seconds for lost, `why` says when and
 * what it is. Shortens the holds; refused where a longer time was given.
 */
int export_bound_holds(struct export *exp, unsigned most, const char *why,
		       struct error **err) MUST_CHECK;

/*
 * For a type's open: the root that shows `node`, with the permissions that the
 * export asks for; exp->root is set. shared: what the type lets others do. The
 * rest as root_new. NULL, and *err. The type's close clears exp->root before
 * co_export_root_end, which waits for the node's close and says what was lost,
 * as co_root_end does. One that never ran has written nothing, and whoever had
 * begun it may refer to the node: that is not waited for.
 */
struct root *export_root_new(struct export *exp, const struct root_ops *ops,
			     void *owner, struct node *node, unsigned shared,
			     uint32_t granularity, uint64_t threads,
			     struct error **err) MUST_CHECK;
int co_export_root_end(struct export *exp, struct root *root,
		       struct error **err) MUST_CHECK;

/*
 * Takes a copy of options ("type", "id", "node-name", "writable", "exclusive",
 * the type's own). On failure nothing is left, unless it is stuck: then it is
 * found so. The result is the caller's until it waits, unless it takes a
 * reference.
 */
struct export *export_add(struct json_t *options, struct error **err)
	MUST_CHECK;
/*
 * 0: it is gone, and clients are told; then *loss, where loss is not NULL, may
 * be set to what its node's close could not write. Else it is as it was, or
 * stuck.
 */
int export_del(const char *id, enum export_stop mode, struct error **loss,
	       struct error **err) MUST_CHECK;
/*
 * The export may write, or may not any more, and with it the nodes of the list
 * become what is said of them (reopen.h), which is used up: all of it or none.
 * Refused where the type cannot show that, or where another is under way. The
 * caller refers to it.
 */
int co_export_reopen(struct export *exp, bool writable, struct reopen *list,
		     struct change_stats *stats, struct error **err)
	MUST_CHECK;
/* Within a type's open, start or stop: it does not end. */
void export_set_stuck(struct export *exp);
/* Main thread, for a type: something that belongs to what shows the root has
 * ended. Harmless where the type itself has ended it. */
void export_lost(const struct root *root);

/* Main thread. */
struct export_listener {
	/* It is gone. Coroutine. */
	void (*gone)(const char *id);
	/* Requests to it have failed, where root_failures_listen asked for it:
	 * it is asked for as an export begins. ending: always once, and
	 * nothing comes after it; what it kept in exp->errors it frees. Does
	 * not wait. */
	void (*failed)(struct export *exp, bool ending);
	/* One that runs may be gone, as is_gone can say. Does not wait. */
	void (*lost)(struct export *exp);
};
void export_set_listener(const struct export_listener *listener);

/* A pointer kept across a wait is a reference; the owner is a word (ref.h).
 * An export that was stopped closes with the last. Main thread. */
#define export_get(exp, owner) ref_get(&(exp)->ref, owner)
void export_put(struct export *exp, const char *owner);

/* NULL: nobody can find such a one. The caller's until it waits. */
struct export *export_find(const char *id);
/* The option device-id of types that make a device: its number, or this. */
#define DEVICE_ID_ANY UINT32_MAX
#define DEVICE_ID_ANY_TEXT "4294967295"
/* For a type's open that shall make the device "/dev/DISKn": refuses one that
 * an export has, naming that. Who else has it the kernel knows. */
int export_refuse_taken(const char *disk, uint32_t device_id,
			struct error **err) MUST_CHECK;
/* All that can be found; prev NULL: the first. Nothing may wait in between. */
struct export *export_next(const struct export *prev);
/* References to all of them, for who looks at one after the other and waits;
 * from malloc, ends with NULL. */
struct export **export_get_all(const char *owner);
void export_put_all(struct export **list, const char *owner);
bool export_is_found(const struct export *exp);
/* By an export of any life, or promised. */
bool export_id_is_taken(const char *id);
/* An id for an export whose node is still being opened: nobody else gets it
 * until the promise is kept, right before export_add, or broken. */
struct export_promise {
	const char *id;		/* as long as the promise is given */
	struct export_promise *next;
};
void export_id_promise(struct export_promise *promise);
void export_id_release(struct export_promise *promise);
/* All, of any life: a type looks at what it keeps of its own, to take no place
 * that one of them has, or will have. prev NULL: the first. */
struct export *export_each(const struct export *prev);

#endif
