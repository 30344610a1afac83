/* SPDX-License-Identifier: MIT */
/*
 * file-lock.c - permissions as byte locks, so that other processes, QEMU's
 * tools among them, and we keep out of each other's images (P3).
 *
 * Bit N of a permission held is a shared lock on byte 100 + N; of one that is
 * not shared, on byte 200 + N. All locks are shared ones: a conflict is found
 * by asking whether an exclusive lock on the opposite byte could be had. One
 * descriptor, the first, holds all locks of a node; others never touch them,
 * so a node does not conflict with itself.
 *
 * Main thread. Between check and commit the union of old and new is locked,
 * and what other processes see never gets weaker than what is in use.
 */
#include <errno.h>

#include "drivers/protocol/file.h"

#define LOCK_PERM_BASE 100u
#define LOCK_UNSHARED_BASE 200u
#define PERM_BITS 4u

static_assert(PERM_ALL == (1u << PERM_BITS) - 1, "a byte per permission");

static const char *const perm_names[PERM_BITS] = {
	"consistent read", "write", "write unchanged", "resize",
};

/* Makes the locked bytes from `base` those of `want`; 0 or negative errno
 * with *locked telling what is held. */
static int lock_bytes(struct file *f, uint64_t base, unsigned want,
		      unsigned *locked)
{
	for (unsigned i = 0; i < PERM_BITS; i++) {
		unsigned bit = 1u << i;
		int ret;

		if ((want & bit) == (*locked & bit))
			continue;
		ret = file_lock(f, base + i, 1, want & bit ? FILE_LOCK_SHARED
							   : FILE_UNLOCK);
		if (ret < 0)
			return ret;
		*locked ^= bit;
	}
	return 0;
}

static int lock_set(struct file_state *s, unsigned perm, unsigned unshared)
{
	int ret = lock_bytes(s->first, LOCK_PERM_BASE, perm, &s->locked_perm);

	return ret < 0 ? ret : lock_bytes(s->first, LOCK_UNSHARED_BASE,
					  unshared, &s->locked_unshared);
}

/* The lowest bit of `bits` whose byte somebody else holds; -1: none. */
static int lock_conflict(struct file *f, uint64_t base, unsigned bits)
{
	for (unsigned i = 0; i < PERM_BITS; i++)
		if (bits & (1u << i) &&
		    file_lock_test(f, base + i, 1, FILE_LOCK_EXCLUSIVE) < 0)
			return (int)i;
	return -1;
}

static int lock_refused(const struct file *f, const char *kind, int bit,
			struct error **err)
{
	return error_set(err, EAGAIN, "Failed to get %s\"%s\" lock: is another"
			 " process using the image '%s'?", kind,
			 perm_names[bit], file_path(f));
}

/* Two that do this at once both lock before either looks, so at least one of
 * them sees the other. */
static int lock_look(struct file *f, unsigned perm, unsigned unshared,
		     struct error **err)
{
	int bit = lock_conflict(f, LOCK_UNSHARED_BASE, perm);

	if (bit >= 0)
		return lock_refused(f, "", bit, err);
	bit = lock_conflict(f, LOCK_PERM_BASE, unshared);
	if (bit >= 0)
		return lock_refused(f, "shared ", bit, err);
	return 0;
}

int file_lock_open(struct node *node, struct error **err)
{
	const struct file_opts *opts = node->opts;
	struct file_state *s = node->state;
	int ret;

	if (node->force_share && !node->read_only)
		return error_set(err, EINVAL, "force-share=on can only be used"
				 " with read-only images, and '%s' is writable",
				 opts->filename);
	if (opts->locking == FILE_LOCKING_OFF || node->force_share)
		return 0;
	ret = file_lock_test(s->first, LOCK_PERM_BASE, 1, FILE_LOCK_SHARED);
	s->use_locks = ret == 0 || ret == -EAGAIN;
	if (!s->use_locks && opts->locking == FILE_LOCKING_ON)
		return error_set(err, -ret, "File system of '%s' has no file"
				 " locks, and locking=on asks for them",
				 opts->filename);
	return 0;
}

int file_perm_check(struct node *node, unsigned perm, unsigned shared,
		    struct error **err)
{
	struct file_state *s = node->state;
	unsigned unshared = ~shared & PERM_ALL;
	int ret;

	s->new_perm = perm;
	s->new_unshared = unshared;
	if (!s->use_locks)
		return 0;
	ret = lock_set(s, s->perm | perm, s->unshared | unshared);
	if (ret < 0) {
		ret = error_set(err, -ret, "Failed to lock byte ranges of '%s'",
				file_path(s->first));
		goto undo;
	}
	ret = lock_look(s->first, perm, unshared, err);
	if (ret < 0)
		goto undo;
	return 0;
undo:
	file_perm_abort(node);
	return ret;
}

void file_perm_commit(struct node *node)
{
	struct file_state *s = node->state;

	s->perm = s->new_perm;
	s->unshared = s->new_unshared;
	/* Unlocking that fails leaves others kept out, never let in. */
	if (s->use_locks)
		(void)lock_set(s, s->perm, s->unshared);
}

void file_perm_abort(struct node *node)
{
	struct file_state *s = node->state;

	if (s->use_locks)
		(void)lock_set(s, s->perm, s->unshared);
}

int file_lock_alone(struct file *f, struct error **err)
{
	unsigned perm = 0, unshared = 0;
	int ret = file_lock_test(f, LOCK_PERM_BASE, 1, FILE_LOCK_SHARED);

	/* a file system without locks */
	if (ret < 0 && ret != -EAGAIN)
		return 0;
	ret = lock_bytes(f, LOCK_PERM_BASE, PERM_ALL, &perm);
	if (ret == 0)
		ret = lock_bytes(f, LOCK_UNSHARED_BASE, PERM_ALL, &unshared);
	if (ret < 0)
		return error_set(err, -ret, "Failed to lock byte ranges of"
				 " '%s'", file_path(f));
	return lock_look(f, PERM_ALL, PERM_ALL, err);
}
