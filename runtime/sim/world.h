/* SPDX-License-Identifier: MIT */
/*
 * world.h - what the files of the simulated runtime share (A25).
 *
 * There is one OS thread, so nothing here needs protection; what matters is
 * that every choice comes from the seed and none from an address or a clock.
 */
#ifndef RUNTIME_SIM_WORLD_H
#define RUNTIME_SIM_WORLD_H

#include "runtime/loop.h"
#include "runtime/sim.h"
#include "runtime/sim/store.h"

struct sim_thread;

/* What a file's name stands for. */
struct inode {
	struct inode *next;		/* of the file system */
	struct store *store;
	struct lock *locks;
	uint64_t number;
	uint64_t limit;			/* bytes; UINT64_MAX: none */
	uint64_t space;			/* bytes that it may take up */
	uint32_t align;			/* of O_DIRECT */
	enum file_kind kind;
	unsigned refs;			/* its name and open files */
	char path[];
};

struct file {
	struct inode *inode;
	int flags;			/* open(2)'s */
	unsigned calls;			/* for its locks, under way */
	struct file *next;		/* all open ones */
};

/* An operation in flight. */
struct sim_op {
	struct io *io;
	struct sim_thread *thread;
	struct sim_op *next;		/* completed ones, or the free list */
	struct effect effect;
	uint64_t mark;			/* of a sync: what it covers */
	int res;
	bool released;			/* faults were asked already */
};

/* Operations without effect yet, in no order. */
struct op_set {
	struct sim_op **op;
	unsigned count, room;
};

struct sim_thread {
	struct io_thread base;
	char *stack;			/* of its loop; main has its own */
	bool preempted;			/* in rt_step: may go on any time */
	unsigned stalled;		/* picks that pass it over */
	struct sim_op *done_first, **done_last;
	/* messages by sender, which keep their order; bit set: not empty */
	uint64_t senders;
	struct {
		struct message *first, **last;
	} inbox[THREADS_MAX];
};

struct world {
	struct sim_thread *threads[THREADS_MAX];
	struct sim_thread *current;
	unsigned count;			/* 0: not started */
	uint64_t now_ns;
	uint64_t random;
	uint64_t hash;			/* of all choices so far */
	unsigned step_rate, wait_rate;
	/* odds of I/O against each runnable thread, of this run */
	unsigned io_weight, slow_rate;
	/* main */
	bool running, quit, first_over, over, stopping, dead;
	void (*fn)(void *arg);
	void *arg;
	void (*deadlock)(void);
	/* operations: op.c. slow ones wait until nothing else can run */
	struct op_set ready, slow, held;
	unsigned completed;		/* with effect, done not yet called */
	bool cut;			/* after a power cut */
	uint64_t writes, cut_at;
	int (*fault)(void *arg, const struct io *io);
	void *fault_arg;
	bool fault_tears, fault_calls;
	/* files: file.c */
	struct inode *inodes;
	struct file *files;
	uint64_t inode_number;
};

extern struct world world;

/* sched.c */
uint64_t random_below(uint64_t n);

/* op.c */
/* Gives effect to one operation; false when none is left. */
bool op_step(bool slow_too);
/* Calls one done of this thread; false when there is none. */
bool op_deliver(struct sim_thread *t);
void op_discard_all(void);
void op_describe_held(void);

/* file.c */
void file_discard_all(void);

#endif
