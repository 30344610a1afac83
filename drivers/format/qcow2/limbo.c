/* SPDX-License-Identifier: MIT */
/*
 * limbo.c - unlinked clusters until they may be used again (A28).
 *
 * Unlinks are numbered. An unlink numbered n is behind us when a flush whose
 * snapshot was taken after it has ended (n <= durable), and when a grace
 * period that was started after it has ended (n <= graced). Both bounds are
 * fixed when the flush, or the grace period, begins (Q11).
 *
 *	limbo_add -> (flush, grace period) -> ripe -> punched -> refcount - 1
 *
 * Nothing here starts I/O by itself: clusters are released in a flush, the one
 * that makes their unlink durable where the grace period is over by then, or by
 * the request that needs them. The node wants a flush as long as there are any
 * (A40). The grace period's end is only noted.
 *
 * Under s->lock unless said otherwise.
 */
#include <errno.h>
#include <sys/mman.h>

#include "drivers/format/qcow2/qcow2.h"
#include "graph/upkeep.h"

#define LIMBO_RUNS 16384u

enum { GRACE_RUNS, GRACE_DONE };	/* else a coroutine's address */

bool qcow2_test_no_limbo;

int limbo_init(struct qcow2 *s)
{
	struct limbo *l = &s->limbo;
	void *mem = mmap(NULL, LIMBO_RUNS * sizeof(struct limbo_run),
			 PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem == MAP_FAILED)
		return -ENOMEM;
	l->pool = mem;
	l->available = l->pool_count = LIMBO_RUNS;
	l->last = &l->first;
	return 0;
}

void limbo_destroy(struct qcow2 *s)
{
	if (s->limbo.pool)
		munmap(s->limbo.pool, LIMBO_RUNS * sizeof(struct limbo_run));
	s->limbo.pool = NULL;
}

bool limbo_reserve(struct qcow2 *s, unsigned runs)
{
	struct limbo *l = &s->limbo;

	if (l->available < l->reserved + runs)
		return false;
	l->reserved += runs;
	return true;
}

void limbo_unreserve(struct qcow2 *s, unsigned runs)
{
	assert(s->limbo.reserved >= runs);
	s->limbo.reserved -= runs;
}

static struct limbo_run *run_new(struct limbo *l)
{
	struct limbo_run *run = l->free;

	assert(l->available);
	l->available--;
	if (run)
		l->free = run->next;
	else
		run = &l->pool[l->untouched++];
	return run;
}

static void run_free(struct limbo *l, struct limbo_run *run)
{
	run->next = l->free;
	l->free = run;
	l->available++;
}

void limbo_add(struct qcow2 *s, uint64_t first, uint64_t count)
{
	struct limbo *l = &s->limbo;
	struct limbo_run *run;
	uint64_t done;

	if (unlikely(qcow2_test_no_limbo)) {
		if (qcow2_free(s, first, count, &done) < 0)
			qcow2_leak(s, count - done);
		return;
	}
	l->clusters += count;
	l->seq++;
	node_wants_flush(s->node);
	run = container_of(l->last, struct limbo_run, next);
	/* The older part waits a little longer for the younger one, but not
	 * once something covers it: discards in a row would never let it go. */
	if (l->first && run->seq > max(l->grace_covers, l->durable) &&
	    run->first + run->count == first) {
		run->count += count;
		run->seq = l->seq;
		return;
	}
	run = run_new(l);
	*run = (struct limbo_run){
		.first = first, .count = count, .seq = l->seq,
	};
	*l->last = run;
	l->last = &run->next;
}

void limbo_add_entry(struct qcow2 *s, uint64_t entry)
{
	const struct qcow2_geometry *g = &s->geo;
	struct qcow2_packed p;
	uint64_t first, last;

	switch (qcow2_entry_kind(g, s->v3, entry)) {
	case QCOW2_NORMAL:
	case QCOW2_ZERO_ALLOCATED:
		limbo_add(s, qcow2_host_cluster(g, qcow2_entry_host(entry)),
			  1);
		break;
	case QCOW2_PACKED:
		/* its bytes hold a count of each cluster they touch */
		p = qcow2_entry_packed(g, entry);
		first = qcow2_host_cluster(g, p.offset);
		last = qcow2_host_cluster(g, p.offset + p.len - 1);
		limbo_add(s, first, last - first + 1);
		break;
	case QCOW2_UNALLOCATED:
	case QCOW2_ZERO_PLAIN:
	case QCOW2_BAD:
		break;
	}
}

/* From the loop of the thread that started it; not a coroutine: no lock. */
static void grace_ended(struct grace *grace)
{
	struct limbo *l = container_of(grace, struct limbo, grace);
	uintptr_t old = __atomic_exchange_n(&l->grace_done, GRACE_DONE,
					    __ATOMIC_ACQ_REL);

	/* nothing of l is touched any more: close may free it now */
	if (old != GRACE_RUNS)
		co_wake((struct co *)old);
}

void limbo_poll(struct qcow2 *s)
{
	struct limbo *l = &s->limbo;

	if (l->grace_running &&
	    __atomic_load_n(&l->grace_done, __ATOMIC_ACQUIRE) == GRACE_DONE) {
		l->grace_running = false;
		l->graced = max(l->graced, l->grace_covers);
	}
	if (l->grace_running || !l->first || l->seq <= l->graced)
		return;
	l->grace_running = true;
	l->grace_covers = l->seq;
	__atomic_store_n(&l->grace_done, GRACE_RUNS, __ATOMIC_RELEASE);
	grace_start(s->node, &l->grace, grace_ended);
}

/* Whether some of it could be released at once. */
static bool limbo_is_ripe(const struct qcow2 *s)
{
	const struct limbo *l = &s->limbo;

	return l->first && l->first->seq <= min(l->durable, l->graced);
}

/* Punches what nothing else counts. Without s->lock: this is I/O on data. What
 * cannot be punched is free all the same; for want of space it can later. */
static int punch(struct qcow2 *s, uint64_t first, uint64_t count)
{
	int ret;

	co_unlock(&s->lock);
	ret = co_edge_discard(qcow2_file(s), qcow2_host_offset(&s->geo, first),
			      count << s->geo.cluster_bits);
	co_lock(&s->lock);
	return ret == -ENOSPC ? ret : 0;
}

/* -ENOSPC: some of it has its space still. */
static int punch_run(struct qcow2 *s, const struct limbo_run *run)
{
	uint64_t first = run->first, end = run->first + run->count, refs;
	int ret = 0;

	while (first < end) {
		uint64_t n = 0;

		while (first + n < end &&
		       qcow2_refcount(s, first + n, &refs) == 0 && refs == 1)
			n++;
		if (n && punch(s, first, n) < 0)
			ret = -ENOSPC;
		first += n ? n : 1;
	}
	return ret;
}

static struct limbo_run *limbo_pop(struct limbo *l)
{
	struct limbo_run *run = l->first;

	l->first = run->next;
	if (!l->first)
		l->last = &l->first;
	return run;
}

/* The oldest ones, in their order. */
static void limbo_prepend(struct limbo *l, struct limbo_run *first,
			  struct limbo_run **last)
{
	if (!first)
		return;
	*last = l->first;
	if (!l->first)
		l->last = last;
	l->first = first;
}

/* OUTCOME_FLUSH: *run is what a flush has to come before; its holes stay. */
static int release_run(struct qcow2 *s, struct limbo_run *run)
{
	struct limbo *l = &s->limbo;
	uint64_t done;
	int ret = qcow2_free(s, run->first, run->count, &done);

	l->clusters -= done;
	run->first += done;
	run->count -= done;
	if (ret == OUTCOME_FLUSH)
		return ret;
	l->clusters -= run->count;
	qcow2_leak(s, run->count);
	run_free(l, run);
	return 0;
}

/*
 * The run is off the list while it is punched, and its clusters still have
 * their refcounts: they are not free before the punch has ended (Q12). One that
 * the file system has no space to punch waits for the next time, unless
 * somebody wants to write: he gets its blocks.
 */
void limbo_release(struct qcow2 *s, bool wanted)
{
	struct limbo_run *kept = NULL, **last = &kept;
	struct limbo *l = &s->limbo;
	int ret = 0;

	assert(co_mutex_held(&s->flush_lock));
	while (ret == 0 && limbo_is_ripe(s)) {
		struct limbo_run *run = limbo_pop(l);

		ret = s->pass_discard ? punch_run(s, run) : 0;
		if (ret == 0 || wanted)
			ret = release_run(s, run);
		if (ret < 0) {
			*last = run;
			last = &run->next;
		}
		if (ret == -ENOSPC)
			ret = 0;
	}
	limbo_prepend(l, kept, last);
}

void limbo_wait(struct qcow2 *s)
{
	struct limbo *l = &s->limbo;
	uintptr_t running = GRACE_RUNS;

	if (!l->grace_running)
		return;
	if (__atomic_compare_exchange_n(&l->grace_done, &running,
					(uintptr_t)co_self(), false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		co_wait();
}
