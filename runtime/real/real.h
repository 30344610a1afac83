/* SPDX-License-Identifier: MIT */
/*
 * real.h - what the files of the real runtime share.
 */
#ifndef RUNTIME_REAL_REAL_H
#define RUNTIME_REAL_REAL_H

#include <liburing.h>
#include <pthread.h>

#include "runtime/loop.h"
#include "runtime/ring.h"

#define CQ_ENTRIES 65536u
#define SQ_ENTRIES 1024u
#define BUFFER_SLOTS 16384u
/* Operations on one storage that a ring's own threads have at a time. */
#define LANE_OPS_MAX 16u
#define LANES 256u
/* Of one kind of thing that makes more of itself, in one turn of the loop: a
 * millisecond or two where each is a small request. */
#define TURN_MAX 256u

/* Set on user_data that points to a struct ring_op instead of a struct io. */
#define USER_DATA_OP 1u

/* What the ring's own threads do for one storage: so many, others wait. */
struct lane {
	unsigned ops;
	struct io *first, **last;	/* last NULL: never used */
};

struct real_thread {
	struct io_thread base;
	/* own thread */
	struct io_uring ring;
	struct lane lanes[LANES];	/* by storage */
	unsigned lanes_used;
	uint64_t wake_value;		/* read from wake_fd */
	struct ring_op wake_op;
	uint64_t turn_ns;		/* clock_turn_ns; 0: not read yet */
	unsigned reserved;		/* of the completion queue (A4) */
	bool buffer_table;
	bool no_iowait;			/* this kernel can be asked for it */
	bool stop;
	uint64_t slots[BUFFER_SLOTS / 64];	/* bit set: taken */
	int start_error;		/* positive errno of a failed start */
	pthread_t thread;		/* not of main */
	struct message stop_msg;
	int wake_fd;			/* immutable after start */

	/* atomic: newest first; taken whole by the owner */
	struct message *inbox CACHELINE_ALIGNED;
	/* atomic: the owner is or may soon be asleep, a poster must wake it */
	int sleeping;
};

/* NULL on threads that are not the runtime's. */
extern __thread struct real_thread *real_self;

/* ring.c: created and destroyed on the ring's own thread; positive errno. */
int ring_init(struct real_thread *t);
void ring_exit(struct real_thread *t);
/* Submits, waits if asked to (until the time, UINT64_MAX: for ever). */
void ring_turn(struct real_thread *t, bool wait, uint64_t deadline_ns);
/* Calls done of what completed, at most TURN_MAX of it. */
void ring_reap(struct real_thread *t);
/* Whether ring_reap left something, or something has come since. */
bool ring_has_more(struct real_thread *t);
struct io_uring_sqe *ring_entry(struct real_thread *t);
/* A new lane: the ring may have threads for it, beside those of the others. */
void ring_add_lane(struct real_thread *t);

/* loop.c */
int real_loop_init(struct real_thread *t, unsigned index,
		   uint64_t buffer_bytes);
/* Leaves wake_fd open: others may still be about to wake this thread. */
void real_loop_exit(struct real_thread *t);
/* Runs until *over. */
void real_loop_run(struct real_thread *t, const bool *over);

/* io.c */
void io_complete(struct io *io, int res);

/* blocking.c */
void blocking_stop(void);
/* A call on a helper: fn runs there, then over is posted to the thread. */
struct job {
	struct job *next;
	void (*fn)(void *arg);
	void *arg;
	struct storage *storage;	/* or NULL */
	struct io_thread *thread;
	struct message over;
};
void job_submit(struct job *job);

/* A mounted file system or a block device: its calls are counted. */
struct storage {
	/* immutable */
	struct storage *next;
	unsigned index;		/* of its lane */
	dev_t dev;
	uint64_t mount;		/* id of one that shows it; 0: a device */
	/* under the helpers' lock */
	unsigned calls;		/* a helper has or will take at once */
	uint64_t heard_ns;	/* when one came back, or the first went */
	struct job *first, **last;	/* in line */
};

/* For how long none of its calls came back, all being taken; else -1. */
int64_t storage_silent_s(struct storage *s);
extern uint64_t storage_silence_ns;
/* storage.c. Any thread; asks nobody. NULL: the kernel does not say. */
struct storage *storage_of_fd(int fd);
/* The threads end: nobody is in line any more. Under the helpers' lock. */
void storages_forget(void);

struct file {
	int fd;
	int flags;		/* open(2)'s */
	enum file_kind kind;
	uint8_t entry_flags;	/* of its entries in the ring */
	struct storage *storage;	/* whose calls its calls are */
	uint32_t io_align, mem_align;
	unsigned calls;		/* main: for its locks; it stays open */
	char path[];
};

#endif
