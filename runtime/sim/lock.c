/* SPDX-License-Identifier: MIT */
/*
 * lock.c - open file description locks of simulated files (P3). As the
 * kernel's: per open file, ranges of bytes, shared or exclusive.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

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

int file_lock_test(struct file *f, uint64_t byte, uint64_t len,
		   enum file_lock_type type)
{
	assert(len && type != FILE_UNLOCK);
	return conflicts(f, byte, byte + len - 1, type) ? -EAGAIN : 0;
}

int file_lock(struct file *f, uint64_t byte, uint64_t len,
	      enum file_lock_type type)
{
	struct lock lock = {
		.file = f,
		.first = byte,
		.last = byte + len - 1,
		.type = type,
	};

	assert(len);
	if (type == FILE_LOCK_EXCLUSIVE &&
	    (f->flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (type != FILE_UNLOCK && conflicts(f, byte, lock.last, type))
		return -EAGAIN;
	lock_cut(f->inode, f, byte, lock.last);
	if (type != FILE_UNLOCK)
		lock_add(f->inode, &lock);
	return 0;
}

void lock_drop_all(struct file *f)
{
	lock_cut(f->inode, f, 0, UINT64_MAX);
}
