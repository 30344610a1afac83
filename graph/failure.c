/* SPDX-License-Identifier: MIT */
/*
 * failure.c - see failure.h.
 */
#include "graph/failure.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "graph/root.h"

static void (*listener)(struct root *root);

static void failure_told(struct message *msg)
{
	struct failures *f = container_of(msg, struct failures, tell);
	const struct root_gate *gate = container_of(f, struct root_gate,
						    failures);

	__atomic_store_n(&f->telling, FAILURES_QUIET, __ATOMIC_SEQ_CST);
	/* in order with the gate's answer to the drain that frees the root */
	if (listener)
		listener(gate->root);
}

static bool failure_is(const struct failure *one, unsigned op, int error,
		       bool held)
{
	return one->op == op && one->error == error && one->held == held;
}

static bool failures_turn(struct failures *f, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(&f->telling, &from, to, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

void failure_note(const struct request *req, int res, bool held)
{
	struct failures *f = &req->gate->failures;
	struct failure *one = f->cause;
	uint32_t i = 0;

	if (req->op == REQ_STATUS ||
	    (req->op > REQ_FLUSH && res == -EOPNOTSUPP))
		return;
	while (i < f->causes && !failure_is(&f->cause[i], req->op, -res, held))
		i++;
	one = &f->cause[min(i, FAILURE_CAUSES - 1u)];
	if (i == f->causes && i < FAILURE_CAUSES) {
		one->op = req->op;
		one->error = -res;
		one->offset = req->offset;
		one->len = req->len;
		one->held = held;
		__atomic_store_n(&f->causes, i + 1, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&one->bytes, one->bytes + req->len, __ATOMIC_RELAXED);
	__atomic_store_n(&one->count, one->count + 1, __ATOMIC_RELEASE);
	rt_step();
	if (failures_turn(f, FAILURES_ASKED, FAILURES_TOLD)) {
		f->tell.fn = failure_told;
		thread_post(thread_by_index(MAIN_THREAD), &f->tell);
	}
}

void failure_set_listener(void (*failed)(struct root *root))
{
	listener = failed;
}

void root_failures_listen(struct root *root)
{
	for (unsigned i = 0; i < thread_count(); i++)
		if (root->threads >> i & 1)
			failures_turn(&root->gates[i].failures, FAILURES_QUIET,
				      FAILURES_ASKED);
}

static unsigned failure_add(const struct failure *from, struct failure *sum,
			    unsigned n)
{
	unsigned i = 0;

	while (i < n &&
	       !failure_is(&sum[i], from->op, from->error, from->held))
		i++;
	i = min(i, FAILURE_CAUSES - 1u);
	if (i == n)
		sum[n++] = (struct failure){
			.offset = from->offset, .len = from->len,
			.error = from->error, .op = from->op,
			.held = from->held,
		};
	sum[i].count += __atomic_load_n(&from->count, __ATOMIC_ACQUIRE);
	sum[i].bytes += __atomic_load_n(&from->bytes, __ATOMIC_RELAXED);
	return n;
}

unsigned root_failures(const struct root *root,
		       struct failure sum[FAILURE_CAUSES])
{
	unsigned n = 0;

	for (unsigned i = 0; i < thread_count(); i++) {
		const struct failures *f = &root->gates[i].failures;
		uint32_t causes = __atomic_load_n(&f->causes, __ATOMIC_ACQUIRE);

		for (uint32_t c = 0; c < causes; c++)
			n = failure_add(&f->cause[c], sum, n);
	}
	return n;
}

uint64_t root_failures_count(const struct root *root)
{
	struct failure sum[FAILURE_CAUSES];
	unsigned n = root_failures(root, sum);
	uint64_t count = 0;

	while (n--)
		count += sum[n].held ? 0 : sum[n].count;
	return count;
}
