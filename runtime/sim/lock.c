/* SPDX-License-Identifier: MIT */
/*
 * lock.c - open file description locks of simulated files (P3). As the
 * kernel's: per open file, ranges of bytes, shared or exclusive.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "runtime/co.h"
#include "runtime/sim/lock.h"

struct lock {
	struct lock *next;
	const struct file *file;
	uint64_t first, last;	/* bytes, both included */
	enum file_lock_type type;
};

static void lock_add(struct inode *inode, const struct lock *like)
{
	struct lock *l = malloc(sizeof(*l));

	if (!l)
		abort();
	*l = *like;
	l->next = inode->locks;
	inode->locks = l;
}

/* Takes [first, last] away from what the file holds. */
static void lock_cut(struct inode *inode, const struct file *f, uint64_t first,
		     uint64_t last)
{
	struct lock **at = &inode->locks;

	while (*at) {
		struct lock *l = *at, rest = *l;

		if (l->file != f || l->last < first || l->first > last) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		free(l);
		if (rest.first < first) {
			struct lock left = rest;

			left.last = first - 1;
			lock_add(inode, &left);
			/* it was put in front; go on behind it if need be */
			if (at == &inode->locks)
				at = &inode->locks->next;
		}
		if (rest.last > last) {
			struct lock right = rest;

			right.first = last + 1;
			lock_add(inode, &right);
			if (at == &inode->locks)
				at = &inode->locks->next;
		}
	}
}

static bool conflicts(const struct file *f, uint64_t first, uint64_t last,
		      enum file_lock_type type)
{
	const struct lock *l;

	for (l = f->inode->locks; l; l = l->next) {
		if (l->file == f || l->last < first || l->first > last)
			continue;
		if (type == FILE_LOCK_EXCLUSIVE ||
		    l->type == FILE_LOCK_EXCLUSIVE)
			return true;
	}
	return false;
}

static int lock_one(struct file *f, const struct file_lock *l)
{
	struct lock lock = {
		.file = f,
		.first = l->byte,
		.last = l->byte + l->len - 1,
		.type = l->type,
	};

	assert(l->len && !(l->test && l->type == FILE_UNLOCK));
	if (l->test)
		return conflicts(f, lock.first, lock.last, l->type) ? -EAGAIN
								    : 0;
	if (l->type == FILE_LOCK_EXCLUSIVE &&
	    (f->flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (l->type != FILE_UNLOCK &&
	    conflicts(f, lock.first, lock.last, l->type))
		return -EAGAIN;
	lock_cut(f->inode, f, lock.first, lock.last);
	if (l->type != FILE_UNLOCK)
		lock_add(f->inode, &lock);
	return 0;
}

void sim_fault_calls(bool on)
{
	world.fault_calls = on;
}

int co_file_lock(struct file *f, const struct file_lock *list, unsigned count,
		 unsigned *done)
{
	struct io io = {
		.file = f,
		.op = SIM_IO_LOCK,
		.offset = list->byte,
		.fixed = IO_NOT_FIXED,
	};
	int rc = 0;

	*done = 0;
	f->calls++;
	if (world.fault_calls)
		rc = co_io(&io);
	else
		co_yield();
	for (; *done < count && !rc; *done += !rc)
		rc = lock_one(f, &list[*done]);
	f->calls--;
	return rc;
}

void lock_drop_all(struct file *f)
{
	lock_cut(f->inode, f, 0, UINT64_MAX);
}
