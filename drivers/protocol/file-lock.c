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
 * and what other processes see never gets weaker than what is in use. A file
 * system may not answer (A38): so each change is late work, one after the other
 * for a file, and each brings the locks to what is wanted when its turn comes.
 * Whatever was late thus ends with what is wanted then.
 */
#include <errno.h>
#include <stdlib.h>

#include "drivers/protocol/file.h"
#include "runtime/late.h"

#define LOCK_PERM_BASE 100u
#define LOCK_UNSHARED_BASE 200u
#define PERM_BITS 4u
/* Under the change lock, where other changes wait for it. */
#define LOCK_NS SECONDS(10)

static_assert(PERM_ALL == (1u << PERM_BITS) - 1, "a byte per permission");

static const char *const perm_names[PERM_BITS] = {
	"consistent read", "write", "write unchanged", "resize",
};

struct file_locks {
	struct file *file;	/* NULL: the node is closed */
	unsigned refs;		/* the node, and works */
	unsigned late;		/* works that nobody waits for any more */
	struct co_mutex turn;	/* of works */
	/* under it: bits of PERM_*; bytes that are locked */
	unsigned perm, unshared;
	/* and what is wanted; changes any time */
	unsigned want_perm, want_unshared;
};

static void locks_unref(struct file_locks *l)
{
	if (--l->refs)
		return;
	co_mutex_destroy(&l->turn);
	free(l);
}

/* Makes the locked bytes from `base` those of `want`; 0 or negative errno
 * with *locked telling what is held. */
static int lock_bytes(struct file *f, uint64_t base, unsigned want,
		      unsigned *locked)
{
	struct file_lock list[PERM_BITS];
	unsigned bits[PERM_BITS], count = 0, done = 0;
	int ret = 0;

	for (unsigned i = 0; i < PERM_BITS; i++) {
		unsigned bit = 1u << i;

		if ((want & bit) == (*locked & bit))
			continue;
		bits[count] = bit;
		list[count++] = (struct file_lock){
			.byte = base + i,
			.len = 1,
			.type = want & bit ? FILE_LOCK_SHARED : FILE_UNLOCK,
		};
	}
	if (count)
		ret = co_file_lock(f, list, count, &done);
	while (done--)
		*locked ^= bits[done];
	return ret;
}

/* The lowest bit of `bits` whose byte somebody else holds; -1: none. */
static int lock_conflict(struct file *f, uint64_t base, unsigned bits)
{
	struct file_lock list[PERM_BITS];
	unsigned count = 0, done;

	for (unsigned i = 0; i < PERM_BITS; i++)
		if (bits & (1u << i))
			list[count++] = (struct file_lock){
				.byte = base + i,
				.len = 1,
				.type = FILE_LOCK_EXCLUSIVE,
				.test = true,
			};
	if (!count || co_file_lock(f, list, count, &done) == 0)
		return -1;
	return (int)(list[done].byte - base);
}

static int lock_refused(const struct file *f, const char *kind, int bit,
			struct error **err)
{
	error_set(err, EAGAIN, "Failed to get %s\"%s\" lock", kind,
		  perm_names[bit]);
	return error_add(err, ": is another process using the image '%s'?",
			 file_path(f));
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

/* ---- works ---- */

struct lock_work {
	struct late late;
	struct file_locks *locks;
	bool look;		/* for others, at these */
	unsigned perm, unshared;
	struct error *err;
	int ret;
};

static int locks_bring(struct file_locks *l)
{
	int ret = 0;

	if (l->file)
		ret = lock_bytes(l->file, LOCK_PERM_BASE, l->want_perm,
				 &l->perm);
	if (l->file && ret == 0)
		ret = lock_bytes(l->file, LOCK_UNSHARED_BASE, l->want_unshared,
				 &l->unshared);
	return ret;
}

static void lock_work_run(struct late *late)
{
	struct lock_work *w = container_of(late, struct lock_work, late);
	struct file_locks *l = w->locks;

	co_lock(&l->turn);
	w->ret = locks_bring(l);
	if (w->ret < 0 && l->file)
		error_set(&w->err, -w->ret, "Failed to lock byte ranges of "
			  "'%s'", file_path(l->file));
	else if (w->look && l->file)
		w->ret = lock_look(l->file, w->perm, w->unshared, &w->err);
	co_unlock(&l->turn);
}

static void lock_work_free(struct lock_work *w)
{
	locks_unref(w->locks);
	error_clear(&w->err);
	free(w);
}

/* Others may want something else by now. */
static void lock_work_undo(struct late *late)
{
	struct lock_work *w = container_of(late, struct lock_work, late);
	struct file_locks *l = w->locks;

	co_lock(&l->turn);
	(void)locks_bring(l);
	co_unlock(&l->turn);
	l->late--;
	lock_work_free(w);
}

static struct lock_work *lock_work_new(struct file_locks *l)
{
	struct lock_work *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->late.run = lock_work_run;
	w->late.undo = lock_work_undo;
	w->locks = l;
	l->refs++;
	return w;
}

static int co_lock_work(struct lock_work *w, struct error **err)
{
	struct file_locks *l = w->locks;
	int ret;

	if (l->late) {
		ret = error_set(err, ETIMEDOUT, "The file system of '%s' has "
				"not answered for its locks yet",
				file_path(l->file));
		lock_work_free(w);
		return ret;
	}
	/* it ends in another turn than this */
	l->late++;
	if (!co_late(&w->late, LOCK_NS, err, "Locking '%s'",
		     file_path(l->file)))
		return -ETIMEDOUT;
	l->late--;
	ret = w->ret;
	if (w->err)
		error_propagate(err, &w->err);
	lock_work_free(w);
	return ret;
}

/* ---- of a node ---- */

int file_lock_open(struct node *node, struct error **err)
{
	/* the second does nothing, but asks as locking will: better here than
	 * under the change lock */
	const struct file_lock probe[] = {
		{ LOCK_PERM_BASE, 1, FILE_LOCK_SHARED, true },
		{ LOCK_PERM_BASE, 1, FILE_UNLOCK, false },
	};
	const struct file_opts *opts = node->opts;
	struct file_state *s = node->state;
	unsigned done;
	int ret;

	if (node->force_share && !node->read_only)
		return error_set(err, EINVAL, "force-share=on can only be used"
				 " with read-only images, and '%s' is writable",
				 opts->filename);
	if (opts->locking == FILE_LOCKING_OFF || node->force_share)
		return 0;
	ret = co_file_lock(s->first, probe, 1, &done);
	if (ret == 0 || ret == -EAGAIN)
		ret = co_file_lock(s->first, probe + 1, 1, &done);
	if (ret == -ETIMEDOUT)
		return error_set(err, ETIMEDOUT, "The file system of '%s' does "
				 "not answer", opts->filename);
	if (ret < 0 && opts->locking == FILE_LOCKING_ON)
		return error_set(err, -ret, "File system of '%s' has no file"
				 " locks, and locking=on asks for them",
				 opts->filename);
	if (ret < 0)
		return 0;
	s->locks = calloc(1, sizeof(*s->locks));
	if (!s->locks)
		abort();
	s->locks->file = s->first;
	s->locks->refs = 1;
	co_mutex_init(&s->locks->turn);
	return 0;
}

void file_lock_close(struct node *node)
{
	struct file_state *s = node->state;

	if (!s->locks)
		return;
	s->locks->file = NULL;
	locks_unref(s->locks);
	s->locks = NULL;
}

static void lock_want(struct file_state *s, unsigned perm, unsigned unshared)
{
	if (!s->locks)
		return;
	s->locks->want_perm = perm;
	s->locks->want_unshared = unshared;
}

int file_perm_check(struct node *node, unsigned perm, unsigned shared,
		    struct error **err)
{
	struct file_state *s = node->state;
	struct lock_work *w;
	int ret;

	s->new_perm = perm;
	s->new_unshared = ~shared & PERM_ALL;
	if (!s->locks)
		return 0;
	lock_want(s, s->perm | s->new_perm, s->unshared | s->new_unshared);
	w = lock_work_new(s->locks);
	w->look = true;
	w->perm = s->new_perm;
	w->unshared = s->new_unshared;
	ret = co_lock_work(w, err);
	if (ret < 0)
		file_perm_abort(node);
	return ret;
}

void file_perm_commit(struct node *node)
{
	struct file_state *s = node->state;

	s->perm = s->new_perm;
	s->unshared = s->new_unshared;
	lock_want(s, s->perm, s->unshared);
}

void file_perm_abort(struct node *node)
{
	struct file_state *s = node->state;

	lock_want(s, s->perm, s->unshared);
}

void file_perm_let_go(struct node *node)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct file_state *s = node->state;
	struct file_locks *l = s->locks;
	int ret;

	if (!l || (l->perm == l->want_perm && l->unshared == l->want_unshared))
		return;
	/* Unlocking that fails leaves others kept out, never let in. */
	ret = co_lock_work(lock_work_new(l), &ignored);
	(void)ret;
}

/* ---- of a file alone ---- */

int file_lock_alone(struct file *f, struct error **err)
{
	const struct file_lock probe = { LOCK_PERM_BASE, 1, FILE_LOCK_SHARED,
					 true };
	unsigned perm = 0, unshared = 0, done;
	int ret = co_file_lock(f, &probe, 1, &done);

	/* a file system without locks */
	if (ret < 0 && ret != -EAGAIN && ret != -ETIMEDOUT)
		return 0;
	ret = lock_bytes(f, LOCK_PERM_BASE, PERM_ALL, &perm);
	if (ret == 0)
		ret = lock_bytes(f, LOCK_UNSHARED_BASE, PERM_ALL, &unshared);
	if (ret < 0)
		return error_set(err, -ret, "Failed to lock byte ranges of"
				 " '%s'", file_path(f));
	return lock_look(f, PERM_ALL, PERM_ALL, err);
}
