/* SPDX-License-Identifier: MIT */
/*
 * co-sync.c - mutex, queue and group of coroutines.
 *
 * A mutex is handed over: the one that unlocks makes the first waiter the
 * owner, so nobody overtakes (A5). What a mutex holds is changed under its
 * guard, a spin lock around a few instructions: no call that could switch or
 * wait stands inside. A woken waiter of another thread is resumed by a message,
 * which its loop sees only after it has parked.
 */
#include "runtime/co.h"

#include "runtime/loop.h"

/* On the stack of the coroutine that waits. */
struct co_waiter {
	struct co_waiter *next;
	struct co *co;
	struct co_mutex *mutex;	/* of a queue's waiter: to lock again */
	struct message msg;
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	asm volatile("yield");
#endif
}

static void guard_lock(struct co_mutex *m)
{
	while (__atomic_exchange_n(&m->guard, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&m->guard, __ATOMIC_RELAXED))
			cpu_relax();
}

static void guard_unlock(struct co_mutex *m)
{
	__atomic_store_n(&m->guard, 0, __ATOMIC_RELEASE);
}

/* co_mutex_held reads it without the guard */
static void owner_set(struct co_mutex *m, struct co *co)
{
	__atomic_store_n(&m->owner, co, __ATOMIC_RELAXED);
}

static void waiter_resumed(struct message *msg)
{
	struct co_waiter *w = container_of(msg, struct co_waiter, msg);

	co_enter(w->co);
}

/* w is gone once its coroutine runs. */
static void waiter_resume(struct co_waiter *w)
{
	struct io_thread *t = w->co->thread;

	if (t == thread_self()) {
		co_queue_run(w->co);
		return;
	}
	w->msg.fn = waiter_resumed;
	thread_post(t, &w->msg);
}

void co_mutex_init(struct co_mutex *m)
{
	m->guard = 0;
	m->owner = NULL;
	m->first = NULL;
	m->last = &m->first;
}

void co_mutex_destroy(struct co_mutex *m)
{
	guard_lock(m);
	assert(!m->owner && !m->first);
	guard_unlock(m);
}

bool co_mutex_held(const struct co_mutex *m)
{
	struct co *co = co_self();

	return co && __atomic_load_n(&m->owner, __ATOMIC_RELAXED) == co;
}

void co_lock(struct co_mutex *m)
{
	struct co_waiter w = { .co = co_self() };

	assert(w.co);
	rt_may_wait();
	guard_lock(m);
	assert(m->owner != w.co);
	if (!m->owner) {
		owner_set(m, w.co);
		guard_unlock(m);
		return;
	}
	*m->last = &w;
	m->last = &w.next;
	guard_unlock(m);
	co_park("co_lock");
	assert(co_mutex_held(m));
}

void co_unlock(struct co_mutex *m)
{
	struct co_waiter *w;

	assert(co_mutex_held(m));
	rt_step();
	guard_lock(m);
	w = m->first;
	if (w) {
		m->first = w->next;
		if (!m->first)
			m->last = &m->first;
	}
	owner_set(m, w ? w->co : NULL);
	guard_unlock(m);
	if (w)
		waiter_resume(w);
}

void co_queue_init(struct co_queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

void co_queue_wait(struct co_queue *q, struct co_mutex *m)
{
	struct co_waiter w = { .co = co_self(), .mutex = m };

	*q->last = &w;
	q->last = &w.next;
	co_unlock(m);
	co_park("co_queue_wait");
	assert(co_mutex_held(m));
}

/*
 * The waker holds the mutex, so a woken waiter goes straight to the mutex's
 * own waiters instead of running only to block again.
 */
void co_queue_wake_one(struct co_queue *q)
{
	struct co_waiter *w = q->first;
	struct co_mutex *m;

	if (!w)
		return;
	m = w->mutex;
	assert(co_mutex_held(m));
	q->first = w->next;
	if (!q->first)
		q->last = &q->first;
	w->next = NULL;
	guard_lock(m);
	*m->last = w;
	m->last = &w->next;
	guard_unlock(m);
}

void co_queue_wake_all(struct co_queue *q)
{
	while (q->first)
		co_queue_wake_one(q);
}

void co_group_init(struct co_group *g)
{
	g->pending = 0;
	g->waiter = NULL;
}

void co_group_add(struct co_group *g)
{
	g->pending++;
}

void co_group_done(struct co_group *g)
{
	struct co *co = g->waiter;

	assert(g->pending);
	if (--g->pending || !co)
		return;
	g->waiter = NULL;
	co_queue_run(co);
}

void co_group_wait(struct co_group *g)
{
	if (!g->pending)
		return;
	assert(!g->waiter);
	g->waiter = co_self();
	co_park("co_group_wait");
	assert(!g->pending);
}
