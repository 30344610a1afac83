/* SPDX-License-Identifier: MIT */
/*
 * Reuse of host clusters: unlink, limbo, epochs, flush, reuse (A28).
 *
 * Models: one qcow2-like image with HOSTS host clusters and GUESTS guest
 * clusters, full at the start, so that every allocation after a discard
 * meets limbo.  One root served by two I/O threads; on each thread a pair of
 * counters with a parity, a count of waiting requests, and a gate.  Three
 * requests (two on thread 0, one on thread 1) each perform OPS operations,
 * each chosen freely: read, overwrite, discard, allocating write, flush.
 * Main runs grace periods and, meanwhile, one drain.
 *
 * SCARCE: one of the host clusters is never free, so that writes fail.
 *
 * Abstractions: every atomic block is what a coroutine does between two
 * yields, or under the allocation lock; memory is sequentially consistent (a
 * release store publishes, messages order).  A flush is a snapshot of the
 * mapping and one later step that makes it durable (flush.pml looks inside).
 * The entry busy[g] stands for everything that one request holds and another
 * may wait for: an allocation in flight, a serialising range, a job's range
 * lock.  A cluster carries flags instead of sequence numbers: graced (all
 * requests that could have seen it ended) and durable (its unlink is).
 *
 * Proven:
 *  - a cluster is reused or punched only when no request holds it and no
 *    durable or half-written mapping names it;
 *  - a punch never lands on a cluster that was given out again;
 *  - no deadlock of requests, grace periods and a drain;
 *  - a write fails for want of space only when limbo is empty;
 *  - a drain completes with nothing held.
 *
 * Mutants, each found by tests/model/run:
 *  NO_LIMBO        a freed cluster is free at once
 *  NO_GRACE        reuse waits for the flush only
 *  NO_DURABLE      reuse waits for the epochs only
 *  SINGLE_COUNTER  one counter per thread: completions are counted down
 *  NO_FLIP_WAIT    a flip does not wait for the counter that it will use
 *  LATE_GRACE      at its end a grace period covers all that is in limbo then
 *  LATE_DURABLE    at its end a flush covers all that is in limbo then
 *  STAY_IN_EPOCH   a waiter goes to the current epoch, not out of epochs
 *  KEEP_ENTRY      a waiter keeps what others may wait for
 *  FLUSH_WAITS     a flush waits for a grace period of its own
 *  GRACE_LOCKED    a grace period takes the change lock
 *  EARLY_FREE      a cluster is free before its punch has ended
 *  EAGER_ENOSPC    a write fails while clusters are in limbo
 *  WAITING_UNSEEN   a drain does not count waiting requests
 */

#ifndef OPS0
#define OPS0	2
#endif
#ifndef OPS1
#define OPS1	1
#endif
#ifndef OPS2
#define OPS2	1
#endif
#define THREADS	2
#define GUESTS	2
#define HOSTS	2

#define FREE	0
#define USED	1
#define LIMBO	2
#define PUNCH	3

#define READ	0
#define DISCARD	1
#define WRITE	2
#define FLUSH	3

#define NONE	HOSTS		/* no host cluster */

byte map[GUESTS];		/* in memory */
byte dmap[GUESTS];		/* durable */
byte snap[GUESTS];		/* being written by the flush */
bool busy[GUESTS];
byte state[HOSTS];
bool graced[HOSTS];
bool durable[HOSTS];
bool in_grace[HOSTS];		/* covered by the grace period that runs */
bool in_flush[HOSTS];		/* covered by the flush that runs */
byte held[HOSTS];		/* ghost: requests that resolved to it */
bool flushing;

byte inflight[4];		/* [thread * 2 + parity] */
byte parity[THREADS];
byte waiting[THREADS];
byte owed[THREADS];		/* SINGLE_COUNTER only */
bool closed[THREADS];
bool change_lock;

bool grace_wanted;
bool flip[THREADS];
bool flipped[THREADS];

#define COUNT(t, p)	inflight[(t) * 2 + (p)]
#define TOTAL(t)	(COUNT(t, 0) + COUNT(t, 1))

#define IN_LIMBO(c)	(state[c] == LIMBO || state[c] == PUNCH)
#define LIMBO_EMPTY	(!IN_LIMBO(0) && !IN_LIMBO(1))
#define ANY_FREE	(state[0] == FREE || state[1] == FREE)

#ifdef NO_GRACE
#define OLD(c)		(durable[c])
#elif defined(NO_DURABLE)
#define OLD(c)		(graced[c])
#else
#define OLD(c)		(durable[c] && graced[c])
#endif
#define RIPE(c)		(state[c] == LIMBO && OLD(c))
#define ANY_RIPE	(RIPE(0) || RIPE(1))

#define NEEDS_GRACE(c)	(state[c] == LIMBO && !graced[c] && !in_grace[c])
#define NEEDS_FLUSH(c)	(state[c] == LIMBO && !durable[c])

inline enter()
{
	atomic {
		!closed[t];
		ep = parity[t];
		COUNT(t, ep)++
	}
}

/* The last act of a request. */
inline leave()
{
	COUNT(t, ep)--;
#ifdef SINGLE_COUNTER
	if
	:: owed[t] > 0 -> owed[t]--
	:: else
	fi
#endif
}

inline unlink(g)
{
	c = map[g];
	map[g] = NONE;
	if
	:: c != NONE ->
#ifdef NO_LIMBO
		state[c] = FREE;
#else
		state[c] = LIMBO;
#endif
		graced[c] = false;
		durable[c] = false
	:: else
	fi;
	c = NONE
}

inline flush()
{
	atomic {
		!flushing;
		flushing = true;
		snap[0] = map[0];
		snap[1] = map[1];
		in_flush[0] = NEEDS_FLUSH(0);
		in_flush[1] = NEEDS_FLUSH(1)
	}
	atomic {
		dmap[0] = snap[0];
		dmap[1] = snap[1];
#ifdef LATE_DURABLE
		in_flush[0] = (state[0] == LIMBO);
		in_flush[1] = (state[1] == LIMBO);
#endif
		durable[0] = durable[0] || in_flush[0];
		durable[1] = durable[1] || in_flush[1];
		in_flush[0] = false;
		in_flush[1] = false;
		snap[0] = NONE;
		snap[1] = NONE;
		flushing = false
	}
}

/* What a cluster given out again must never be. */
inline check_unused(x)
{
	assert(held[x] == 0);
	assert(map[0] != x && map[1] != x);
	assert(dmap[0] != x && dmap[1] != x);
	assert(snap[0] != x && snap[1] != x)
}

/* Takes the ripe cluster that c names through its punch. */
inline reap()
{
	check_unused(c);
#ifdef EARLY_FREE
	state[c] = FREE
#else
	state[c] = PUNCH
#endif
}

inline use()
{
	atomic {
		held[c]--;
		c = NONE;
		leave()
	}
}

/*
 * Waits for limbo holding nothing: no mapping, no entry, no epoch.  It stays
 * counted for the drain.
 */
inline wait_limbo()
{
	atomic {
#ifndef KEEP_ENTRY
		busy[g] = false;
#endif
		leave();
#ifdef STAY_IN_EPOCH
		ep = parity[t];
		COUNT(t, ep)++
#else
		waiting[t]++
#endif
	}
	do
	:: atomic { ANY_FREE || ANY_RIPE || LIMBO_EMPTY -> break }
	:: atomic {
		(NEEDS_GRACE(0) || NEEDS_GRACE(1)) && !grace_wanted ->
		grace_wanted = true
	   }
	:: (NEEDS_FLUSH(0) || NEEDS_FLUSH(1)) && !flushing -> flush()
	od;
	atomic {
#ifndef STAY_IN_EPOCH
		waiting[t]--;
		ep = parity[t];
		COUNT(t, ep)++;
#endif
#ifndef KEEP_ENTRY
		!busy[g];
		busy[g] = true
#endif
	}
}

/* An allocating write; the entry of g is held from its start to its end. */
inline write()
{
	atomic { !busy[g]; busy[g] = true }
again:
	atomic {
		if
		:: map[g] != NONE ->
			c = map[g];
			held[c]++;
			busy[g] = false;
			goto overwrite
		:: map[g] == NONE && ANY_FREE ->
			c = (state[0] == FREE -> 0 : 1);
			check_unused(c);
			state[c] = USED;
			goto publish
		:: map[g] == NONE && !ANY_FREE && ANY_RIPE ->
			c = (RIPE(0) -> 0 : 1);
			reap();
			goto punch
#ifdef EAGER_ENOSPC
		:: map[g] == NONE && !ANY_FREE && !ANY_RIPE ->
#else
		:: map[g] == NONE && !ANY_FREE && LIMBO_EMPTY ->
#endif
			assert(LIMBO_EMPTY);
			busy[g] = false;
			leave();
			goto done
		:: else
		fi
	}
	wait_limbo();
	goto again;
punch:
	atomic {
		assert(state[c] == PUNCH || state[c] == FREE);
		state[c] = FREE;
		c = NONE;
		goto again
	}
publish:
	atomic {			/* data written meanwhile */
		assert(state[c] == USED);
		map[g] = c;
		c = NONE;
		busy[g] = false;
		leave();
		goto done
	}
overwrite:
	use();
done:	skip
}

proctype request(byte t; byte ops)
{
	byte ep;
	byte g;
	byte c = NONE;
	byte n;
	byte op;

	do
	:: n == ops -> break
	:: n < ops ->
		atomic {
			n++;
			select(g : 0 .. GUESTS - 1);
			select(op : READ .. FLUSH)
		}
		enter();
		if
		:: op == READ ->		/* or overwrite */
			atomic {
				c = map[g];
				if
				:: c == NONE -> leave(); goto next
				:: else -> held[c]++
				fi
			}
			use();
		:: op == DISCARD ->
			atomic { !busy[g] -> unlink(g); leave() }
		:: op == WRITE ->
			write()
		:: op == FLUSH ->
			flush();
#ifdef FLUSH_WAITS
			atomic { !grace_wanted -> grace_wanted = true }
			!grace_wanted && !in_grace[0] && !in_grace[1] &&
			!flip[0] && !flip[1];
#endif
			atomic { leave() }
		fi;
next:		skip
	od
}

/*
 * What an I/O thread does with a flip message: the counter to be used next
 * may still be the old one of another image's grace period.
 */
inline do_flip()
{
#ifdef SINGLE_COUNTER
	owed[t] = TOTAL(t);
	owed[t] == 0;
#else
	atomic {
#ifndef NO_FLIP_WAIT
		COUNT(t, 1 - parity[t]) == 0;
#endif
		old = parity[t];
		parity[t] = 1 - old
	}
	COUNT(t, old) == 0;
#endif
}

proctype flipper(byte t)
{
	byte old;

end:	do
	:: flip[t] ->
		do_flip();
		atomic {
			flip[t] = false;
			flipped[t] = true
		}
	od
}

#ifdef OTHER
/* One flip on thread t for another image that the same root reaches. */
proctype other_image(byte t)
{
	byte old;

	do_flip()
}
#endif

/* Main's coroutine of grace periods, one after the other. */
proctype grace()
{
end:	do
	:: grace_wanted ->
#ifdef GRACE_LOCKED
		atomic { !change_lock -> change_lock = true }
#endif
		atomic {
			grace_wanted = false;
			in_grace[0] = NEEDS_GRACE(0);
			in_grace[1] = NEEDS_GRACE(1);
			flip[0] = true;
			flip[1] = true
		}
		atomic {
			flipped[0] && flipped[1];
			flipped[0] = false;
			flipped[1] = false;
#ifdef LATE_GRACE
			in_grace[0] = (state[0] == LIMBO);
			in_grace[1] = (state[1] == LIMBO);
#endif
			graced[0] = graced[0] || in_grace[0];
			graced[1] = graced[1] || in_grace[1];
			in_grace[0] = false;
			in_grace[1] = false;
#ifdef GRACE_LOCKED
			change_lock = false
#endif
		}
	od
}

#ifdef DRAIN
#ifdef WAITING_UNSEEN
#define IDLE(t)	(TOTAL(t) == 0)
#else
#define IDLE(t)	(TOTAL(t) + waiting[t] == 0)
#endif

proctype drain()
{
	atomic { !change_lock -> change_lock = true }
	closed[0] = true;
	closed[1] = true;
	atomic {
		IDLE(0) && IDLE(1);
		assert(TOTAL(0) + TOTAL(1) + waiting[0] + waiting[1] == 0);
		assert(held[0] + held[1] == 0);
		assert(!busy[0] && !busy[1] && !flushing)
	}
	closed[0] = false;
	closed[1] = false;
	change_lock = false
}
#endif

init
{
	atomic {
		map[0] = 0; dmap[0] = 0; snap[0] = NONE;
		map[1] = 1; dmap[1] = 1; snap[1] = NONE;
		state[0] = USED;
		state[1] = USED;
#ifdef SCARCE
		/* metadata has it: no room for both guest clusters */
		map[1] = NONE; dmap[1] = NONE;
#endif
		run request(0, OPS0);
		run request(0, OPS1);
		run request(1, OPS2);
		run flipper(0);
		run flipper(1);
#ifdef OTHER
		run other_image(0);
#endif
#ifdef DRAIN
		run drain();
#endif
		run grace()
	}
}
