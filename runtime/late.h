/* SPDX-License-Identifier: MIT */
/*
 * late.h - work that may come back late, or never (A38). Main thread.
 *
 * A system call that waits for storage cannot be taken back, and neither can a
 * coroutine that waits for one. So whatever may take long runs in a coroutine
 * of its own, on memory of its own: who wants it waits for it a while. Work
 * that nobody waits for any more is late; when it has ended after all, its own
 * function undoes what it did.
 *
 * Calls on helper threads are counted by the storage they wait for (storage.h),
 * and refused where that has too many late ones already.
 */
#ifndef RUNTIME_LATE_H
#define RUNTIME_LATE_H

#include "runtime/error.h"
#include "runtime/wait.h"

struct storage;
struct lost;

#define LATE_WHAT_MAX 160
/* How long is waited for what has no deadline of its own. */
#define LATE_NS SECONDS(30)

struct late {
	/* What is done: in a coroutine, or in a call on a helper thread. */
	void (*run)(struct late *work);
	void (*call)(struct late *work);
	/* Whose call it is: of the storage where this path lies; NULL: of no
	 * storage, or of this one. */
	const char *path;
	struct storage *storage;
	/*
	 * Coroutine. It has ended, or was refused, and nobody waits: takes back
	 * what it did, if anything, and frees it.
	 */
	void (*undo)(struct late *work);
	/* Coroutine, or NULL: work is not late while this number changes. */
	uint64_t (*progress)(struct late *work);
	/* Who waits stops to when the daemon leaves. */
	bool gives_way;

	/* the facility's own */
	char what[LATE_WHAT_MAX];
	uint64_t begun_ns;
	struct wait_event over;
	struct storage *refused_by;
	struct lost *lost;	/* nobody waits any more */
	bool hurried;
	struct co *co;		/* that does it */
	struct late *next;	/* all that are under way */
};

/*
 * Does the work and waits for its end at most so long (WAIT_FOREVER: until
 * somebody hurries it). True: it is over, and the caller's again. Else it is
 * late, or was refused: it belongs to itself, and *err says so, calling it
 * `what` ("opening 'x'"). Coroutine.
 */
bool co_late(struct late *work, uint64_t timeout_ns, struct error **err,
	     const char *what, ...) MUST_CHECK PRINTF(4, 5);
/*
 * Its two halves, for works that go on beside each other under one deadline:
 * each that is begun is waited for in the end, by whoever began it.
 */
void co_late_begin(struct late *work, const char *what, ...) PRINTF(2, 3);
bool co_late_over(struct late *work, uint64_t timeout_ns, struct error **err)
	MUST_CHECK;
/* LATE_NS, or less where that is wanted: before anything is late. */
uint64_t late_bound_ns(void);
void late_set_bound(uint64_t ns);
/* Who waits for it does so for this long from now on, at most. */
void late_hurry(struct late *work, uint64_t timeout_ns);

/* Whether what this coroutine does is wanted no longer, or not for long: asked
 * by what goes on for long without waiting for one thing for long. */
bool late_unwanted(void);

/* The daemon leaves: nobody waits for what gives way any more, now or later. */
void late_leave(void);
/* It does not after all. */
void late_stay(void);
/* Waits until nothing is late, at most so long. Coroutine. */
bool co_late_end(uint64_t timeout_ns) MUST_CHECK;
/* What is late: calls fn for each, with how long ago it began. */
void late_tell(void (*fn)(const char *what, uint64_t seconds));
unsigned late_count(void);
/* The runtime ends: what it ran is gone. */
void late_forget(void);

#endif
