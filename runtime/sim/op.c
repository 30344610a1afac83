/* SPDX-License-Identifier: MIT */
/*
 * op.c - operations of the simulated threads (A25).
 *
 * io_submit puts an operation in flight. Some time later the scheduler gives it
 * effect, all at once, on the file's contents; later again its thread is told.
 * Between the two a power cut may still lose it. Operations take effect in any
 * order; a share of them is slow, that is, waits until nothing else can run.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sim/world.h"

/* What memory holds that a read has not filled yet. */
#define NOT_YET_READ 0xdb

static struct sim_op *free_ops;

static void set_add(struct op_set *set, struct sim_op *op)
{
	if (set->count == set->room) {
		set->room = set->room ? set->room * 2 : 64;
		set->op = realloc(set->op, set->room * sizeof(*set->op));
		if (!set->op)
			abort();
	}
	set->op[set->count++] = op;
}

static struct sim_op *set_take(struct op_set *set, unsigned i)
{
	struct sim_op *op = set->op[i];

	set->op[i] = set->op[--set->count];
	return op;
}

static struct sim_op *op_new(struct io *io)
{
	struct sim_op *op = free_ops;

	if (op) {
		free_ops = op->next;
		memset(op, 0, sizeof(*op));
	} else {
		op = calloc(1, sizeof(*op));
		if (!op)
			abort();
	}
	op->io = io;
	op->thread = world.current;
	return op;
}

static void op_free(struct sim_op *op)
{
	op->next = free_ops;
	free_ops = op;
}

static bool is_transfer(const struct io *io)
{
	return io->op == IO_READ || io->op == IO_WRITE;
}

static bool is_change(const struct io *io)
{
	return io->op != IO_READ && io->op != IO_SYNC &&
	       io->op != SIM_IO_LOCK;
}

static bool in_set(const struct op_set *set, const struct io *io)
{
	unsigned i;

	for (i = 0; i < set->count; i++)
		if (set->op[i]->io == io)
			return true;
	return false;
}

/* Mistakes that a kernel would punish by chance, late or with -EINVAL. */
static void check_use(const struct io *io)
{
	const struct inode *inode = io->file->inode;

	assert(io->done && io->len <= INT32_MAX);
	assert(!in_set(&world.ready, io) && !in_set(&world.slow, io) &&
	       !in_set(&world.held, io));
	assert(io->fixed == IO_NOT_FIXED);	/* there are none here */
	if (is_transfer(io))
		assert(!io->len || io->buf);
	if (is_transfer(io) && io->file->flags & O_DIRECT) {
		assert(is_aligned(io->offset, inode->align));
		assert(is_aligned(io->len, inode->align));
		assert(is_aligned((uintptr_t)io->buf, inode->align));
	}
}

uint64_t sim_write_count(void)
{
	return world.writes;
}

void sim_power_cut_at(uint64_t n)
{
	world.cut_at = n;
}

static void count_write(void)
{
	world.writes++;
	if (world.cut_at && world.writes == world.cut_at && !world.cut) {
		world.cut_at = 0;
		sim_power_cut();
	}
}

void io_submit(struct io *io)
{
	struct sim_op *op;

	assert(world.running);
	check_use(io);
	op = op_new(io);
	if (io->op == IO_READ && io->len)
		memset(io->buf, NOT_YET_READ, io->len);
	if (io->op == IO_SYNC)
		op->mark = store_mark(io->file->inode->store);
	if (world.slow_rate && !random_below(8) &&
	    random_below(8) < world.slow_rate)
		set_add(&world.slow, op);
	else
		set_add(&world.ready, op);
	if (io->op != IO_READ && io->op != SIM_IO_LOCK)
		count_write();
}

static int effect_read(const struct io *io)
{
	struct store *s = io->file->inode->store;
	uint64_t size = store_size(s);
	uint64_t n = io->offset < size ? min((uint64_t)io->len,
					     size - io->offset) : 0;

	store_read(s, io->offset, io->buf, n, false);
	return (int)n;
}

/* Whether the pages that it lies in may be there all at once. */
static bool has_space(const struct io *io)
{
	const struct inode *inode = io->file->inode;
	uint64_t end = io->offset + io->len;
	uint64_t taken = store_allocated(inode->store), len;

	if (inode->space == UINT64_MAX)
		return true;
	for (uint64_t at = io->offset; at < end; at += len) {
		len = end - at;
		if (!store_extent(inode->store, at, &len))
			taken += align_up(at + len, STORE_PAGE) -
				 align_down(at, STORE_PAGE);
	}
	return taken <= max(inode->space, store_allocated(inode->store));
}

/* -ENOSPC, or a device's end, or 0. */
static int check_space(const struct io *io)
{
	const struct inode *inode = io->file->inode;
	uint64_t end = io->offset + io->len;

	if (end > INT64_MAX)
		return -EFBIG;
	if (inode->kind == FILE_BLOCK && end > store_size(inode->store))
		return io->op == IO_WRITE ? -ENOSPC : -EINVAL;
	if (io->op == IO_PUNCH || io->op == SIM_IO_DISCARD)
		return 0;
	return end <= inode->limit && has_space(io) ? 0 : -ENOSPC;
}

static int effect_truncate(struct sim_op *op)
{
	const struct inode *inode = op->io->file->inode;

	if (inode->kind != FILE_REGULAR)
		return -EINVAL;
	if (op->io->offset > inode->limit)
		return -ENOSPC;
	store_resize(inode->store, op->io->offset, &op->effect);
	return 0;
}

/* What is forgotten reads as zeroes, as before, or as something else. */
static int effect_discard(struct sim_op *op)
{
	const struct io *io = op->io;
	struct store *s = io->file->inode->store;
	char *junk;

	if (io->file->inode->kind != FILE_BLOCK)
		return -ENOTTY;
	switch (random_below(3)) {
	case 0:
		store_zero(s, io->offset, io->len, false, &op->effect);
		break;
	case 1:
		junk = malloc(io->len);
		if (!junk)
			abort();
		memset(junk, 0xd5, io->len);
		store_write(s, io->offset, junk, io->len, &op->effect);
		free(junk);
		break;
	default:
		break;
	}
	return 0;
}

static int effect_change(struct sim_op *op)
{
	const struct io *io = op->io;
	struct store *s = io->file->inode->store;
	int rc;

	if ((io->file->flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (io->op == SIM_IO_TRUNCATE)
		return effect_truncate(op);
	rc = check_space(io);
	if (rc < 0)
		return rc;
	switch (io->op) {
	case SIM_IO_DISCARD:
		return effect_discard(op);
	case IO_WRITE:
		store_write(s, io->offset, io->buf, io->len,
			    &op->effect);
		return (int)io->len;
	case IO_PUNCH:
		store_zero(s, io->offset, io->len, false, &op->effect);
		return 0;
	case IO_ZERO:
		store_zero(s, io->offset, io->len, true, &op->effect);
		return 0;
	case IO_ALLOCATE:
		store_resize(s, max(io->offset + io->len, store_size(s)),
			     &op->effect);
		return 0;
	default:
		/* no operation that files have */
		abort();
	}
}

static int effect_sync(struct sim_op *op)
{
	store_sync(op->io->file->inode->store, op->mark);
	return 0;
}

/* What the page cache gave up is lost; past the cache a write stays what it
 * was, and a later sync that succeeds covers it (A29). */
static void effect_sync_failed(struct sim_op *op)
{
	const struct file *file = op->io->file;

	if (!(file->flags & O_DIRECT))
		store_sync_failed(file->inode->store, op->mark);
}

/* A write that failed may have left some of its sectors. */
static void effect_torn(struct sim_op *op)
{
	const struct io *io = op->io;
	struct store *s = io->file->inode->store;
	uint64_t at, end = io->offset + io->len;

	if (io->op != IO_WRITE || check_space(io) < 0)
		return;
	for (at = io->offset; at < end; at = align_down(at, SECTOR) + SECTOR) {
		struct effect e = { .n = 0 };
		uint64_t n = min(end, align_down(at, SECTOR) + SECTOR) - at;

		if (sim_random() & 1)
			continue;
		store_write(s, at, (char *)io->buf + (at - io->offset), n,
			    &e);
		store_complete(s, &e, false);
	}
}

static int op_effect(struct sim_op *op, int fault)
{
	const struct io *io = op->io;

	if (world.cut)
		return -EIO;
	if (fault < 0) {
		if (io->op == IO_SYNC)
			effect_sync_failed(op);
		else if (world.fault_tears)
			effect_torn(op);
		return fault;
	}
	if (io->op == IO_READ)
		return effect_read(io);
	if (io->op == SIM_IO_LOCK)
		return 0;	/* its caller does it */
	if (io->op == IO_SYNC)
		return effect_sync(op);
	return effect_change(op);
}

static void op_complete(struct sim_op *op, int res)
{
	op->res = res;
	op->next = NULL;
	*op->thread->done_last = op;
	op->thread->done_last = &op->next;
	world.completed++;
}

bool op_step(bool slow_too)
{
	struct op_set *set = &world.ready;
	struct sim_op *op;
	int fault = 0;

	if (!set->count && slow_too)
		set = &world.slow;
	if (!set->count)
		return false;
	op = set_take(set, (unsigned)random_below(set->count));
	if (world.fault && !op->released && !world.cut)
		fault = world.fault(world.fault_arg, op->io);
	if (fault == SIM_KEEP) {
		op->released = true;
		set_add(&world.held, op);
		return true;
	}
	assert(fault <= 0);
	op_complete(op, op_effect(op, fault));
	return true;
}

bool op_deliver(struct sim_thread *t)
{
	struct sim_op *op = t->done_first;
	struct io *io;
	int res;

	if (!op)
		return false;
	t->done_first = op->next;
	if (!t->done_first)
		t->done_last = &t->done_first;
	world.completed--;
	io = op->io;
	/* a cut took the log's records with it */
	res = world.cut ? -EIO : op->res;
	if (!world.cut)
		store_complete(io->file->inode->store, &op->effect,
			       io->op == IO_WRITE && io->flags & IO_DSYNC &&
				       res >= 0);
	op_free(op);
	io->done(io, res);
	return true;
}

void sim_set_fault(int (*fn)(void *arg, const struct io *io), void *arg)
{
	world.fault = fn;
	world.fault_arg = arg;
}

void sim_fault_tears(bool on)
{
	world.fault_tears = on;
}

void sim_release(struct file *f)
{
	unsigned i = 0;

	while (i < world.held.count) {
		if (f && world.held.op[i]->io->file != f)
			i++;
		else
			set_add(&world.ready, set_take(&world.held, i));
	}
}

unsigned sim_in_flight(void)
{
	return world.ready.count + world.slow.count + world.held.count +
	       world.completed;
}

static void tear_one(const struct sim_op *op)
{
	const struct io *io = op->io;
	struct store *s = io->file->inode->store;
	uint64_t len = io->len;

	if ((io->file->flags & O_ACCMODE) == O_RDONLY ||
	    io->op == SIM_IO_TRUNCATE || io->op == SIM_IO_DISCARD ||
	    io->op == IO_ALLOCATE ||
	    !is_change(io) || check_space(io) < 0)
		return;
	store_tear(s, io->offset, io->op == IO_WRITE ? io->buf : NULL,
		   len, io->op != IO_PUNCH);
}

/* In flight operations may have reached the disk in any order. */
static void tear_all(struct op_set *set)
{
	while (set->count) {
		unsigned i = (unsigned)random_below(set->count);
		struct sim_op *op = set_take(set, i);

		tear_one(op);
		op_complete(op, -EIO);
	}
}

void sim_power_cut(void)
{
	struct inode *inode;

	if (world.cut)
		return;
	for (inode = world.inodes; inode; inode = inode->next)
		store_cut(inode->store);
	tear_all(&world.ready);
	tear_all(&world.slow);
	tear_all(&world.held);
	for (inode = world.inodes; inode; inode = inode->next)
		store_cut_end(inode->store);
	world.cut = true;
}

static void discard(struct op_set *set)
{
	while (set->count)
		op_free(set_take(set, 0));
}

void op_discard_all(void)
{
	unsigned i;

	discard(&world.ready);
	discard(&world.slow);
	discard(&world.held);
	for (i = 0; i < world.count; i++) {
		struct sim_thread *t = world.threads[i];

		while (t->done_first) {
			struct sim_op *op = t->done_first;

			t->done_first = op->next;
			op_free(op);
		}
	}
	world.completed = 0;
}

void op_describe_held(void)
{
	unsigned i;

	for (i = 0; i < world.held.count; i++) {
		const struct io *io = world.held.op[i]->io;

		fprintf(stderr, "  held: operation %u at %llu of %s\n",
			io->op, (unsigned long long)io->offset,
			file_path(io->file));
	}
}
