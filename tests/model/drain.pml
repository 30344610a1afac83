/* SPDX-License-Identifier: MIT */
/*
 * One drain and the roots that it closed, with edges moving meanwhile (A5,
 * A14, A18).
 *
 * Models: an overlay A over an image B, a second image C, a filter F not yet
 * in use; ROOTS export roots that start on A, B or C or do not exist; a job's
 * root without a gate, on A, B or C.  Main makes CHANGES changes, one after
 * the other.  Each names a node, closes the roots that reach it, waits (or
 * passes its deadline), then takes up to STEPS steps, chosen freely and with
 * waits between them: insert the filter above the named node for all its
 * parents or for one root, take it out, attach a root, move a root, detach a
 * root; then it commits or undoes everything, and opens.  A guest per root
 * sends requests that walk edge by edge; the job begins operations, each a
 * request here (job.pml has more of them).
 *
 * Abstractions: a gate is one flag and one count per root (gate.pml shows how
 * they work on threads); main's steps between two waits are atomic; edges
 * form chains; permissions never refuse.
 *
 * Proven:
 *  - an edge changes only when no counted request can read it;
 *  - no request is on the named node from the end of the wait to the undrain,
 *    the job's neither, whose root closes when it is idle;
 *  - undrain opens each root of its list once, each of them closed and still
 *    there; afterwards no root is closed, whatever moved, also after undo or
 *    a deadline.
 *
 * Mutants, each found by tests/model/run:
 *  RECOMPUTE       undrain opens what reaches the named node by then
 *  ATTACH_OPEN     a root attached by a change starts open
 *  ATTACH_UNLISTED a root attached by a change is closed, not listed
 *  MOVE_OPEN       a root moved from elsewhere is not closed first
 *  CLOSE_TWICE     a root moved within the drained part is listed again
 *  DETACH_LISTED   a root that goes away stays in the list
 *  ONE_ROLE        the backing role is not followed when closing
 *  UNDO_UNLISTED   undo forgets the roots that the change itself closed late
 *  JOB_PASSES      an operation of a root without a gate begins while drained
 */

#ifndef CHANGES
#define CHANGES	2
#endif
#ifndef STEPS
#define STEPS	2
#endif
#define ROOTS	2

#define B	0
#define C	1
#define A	2
#define F	3
#define NODES	4
#define NONE	4

#define BOTTOM(n)	((n) <= C)

byte child[NODES];
byte root[ROOTS];
bool closed[ROOTS];
byte count[ROOTS];
byte list[ROOTS];		/* how often the drain's list has each root */
byte named = NONE;
byte job_at;			/* the job's root */
bool job_stopped;		/* has answered the drain, being idle */
bool job_busy;			/* an operation is under way */
bool quiet;			/* all counts are zero, edges may change */

/* The shape before the change, for undo. */
byte old_child[NODES];
byte old_root[ROOTS];
byte old_job;

/* Sets hit: does root r reach node n? */
inline reach(r, n)
{
	hit = false;
	p = root[r];
	do
	:: p == NONE -> break
	:: p == n -> hit = true; break
	:: p != n && p != NONE ->
#ifdef ONE_ROLE
		p = (p == F -> child[p] : NONE)
#else
		p = (BOTTOM(p) -> NONE : child[p])
#endif
	od;
	p = 0
}

inline close_root(r)
{
	if
	:: !closed[r] ->
		closed[r] = true;
		list[r]++
	:: else ->
#ifdef CLOSE_TWICE
		list[r]++
#else
		skip
#endif
	fi
}

/* No counted request may read the edges that come next. */
inline assert_quiet(n)
{
	for (i : 0 .. ROOTS - 1) {
		p = root[i];
		do
		:: p == NONE -> break
		:: p == n -> assert(count[i] == 0); break
		:: p != n && p != NONE ->
			p = (BOTTOM(p) -> NONE : child[p])
		od
	}
	p = job_at;
	do
	:: p == NONE -> break
	:: p == n -> assert(!job_busy); break
	:: p != n && p != NONE ->
		p = (BOTTOM(p) -> NONE : child[p])
	od;
	i = 0;
	p = 0
}

inline open_list()
{
	d_step {
		quiet = false;
		for (i : 0 .. ROOTS - 1) {
#ifdef RECOMPUTE
			if
			:: root[i] != NONE ->
				reach(i, named);
				if
				:: hit -> list[i] = 1
				:: else -> list[i] = 0
				fi
			:: else
			fi;
#endif
			do
			:: list[i] > 0 ->
				assert(root[i] != NONE);
				assert(closed[i]);
				closed[i] = false;
				list[i]--
			:: else -> break
			od
		}
		for (i : 0 .. ROOTS - 1) {
			assert(!closed[i])
		}
		i = 0;
		p = 0;
		hit = false;
		job_stopped = false;
		named = NONE
	}
}

/* All parents of the named node go to F, F to the node. */
inline insert_all()
{
	assert_quiet(named);
	for (i : 0 .. ROOTS - 1) {
		root[i] = (root[i] == named -> F : root[i])
	}
	job_at = (job_at == named -> F : job_at);
	child[A] = (child[A] == named -> F : child[A]);
	child[F] = named;
	i = 0
}

inline insert_one(r)
{
	assert(count[r] == 0);
	child[F] = root[r];
	root[r] = F
}

inline remove()
{
	assert_quiet(F);
	for (i : 0 .. ROOTS - 1) {
		root[i] = (root[i] == F -> child[F] : root[i])
	}
	job_at = (job_at == F -> child[F] : job_at);
	child[A] = (child[A] == F -> child[F] : child[A]);
	child[F] = NONE;
	i = 0
}

/* Closed wherever it lands, so that undo need not wait for its requests. */
inline attach(r, n)
{
	root[r] = n;
#ifdef ATTACH_OPEN
	skip
#elif defined(ATTACH_UNLISTED)
	closed[r] = true
#else
	close_root(r)
#endif
}

inline detach(r)
{
	closed[r] = false;
#ifndef DETACH_LISTED
	list[r] = 0;
#endif
	root[r] = NONE
}

inline undo()
{
	job_at = old_job;
	old_job = 0;
	for (i : 0 .. ROOTS - 1) {
		if
		:: old_root[i] == NONE && root[i] != NONE -> detach(i)
		:: old_root[i] != NONE && root[i] == NONE ->
			/* a detach takes effect at commit only */
			assert(false)
		:: else -> root[i] = old_root[i]
		fi;
#ifdef UNDO_UNLISTED
		reach(i, named);
		list[i] = (hit && list[i] > 0 -> 1 : 0);
#endif
	}
	for (i : 0 .. NODES - 1) {
		child[i] = old_child[i];
		old_child[i] = 0
	}
	i = 0
}

#define IN_USE(n)	(n != F || child[F] != NONE)

proctype control()
{
	byte changes;
	byte steps;
	byte i;
	byte p;
	byte r;
	byte n;
	byte kind;
	bool hit;
	bool final;		/* a step was taken that is never undone */

	do
	:: changes == CHANGES -> break
	:: changes < CHANGES ->
		/* name a node, close what reaches it */
		atomic {
			changes++;
			if
			:: named = A
			:: named = B
			:: child[F] != NONE -> named = F
			fi;
			for (i : 0 .. ROOTS - 1) {
				old_root[i] = root[i];
				reach(i, named);
				if
				:: hit -> close_root(i)
				:: else
				fi
			}
			for (i : 0 .. NODES - 1) {
				old_child[i] = child[i]
			}
			old_job = job_at;
			p = job_at;
			do
			:: p == NONE || p == named -> break
			:: else -> p = (BOTTOM(p) -> NONE : child[p])
			od;
			i = 0;
			hit = false
		}
		if
		:: p == NONE
		:: atomic { p != NONE && !job_busy ->
#ifndef JOB_PASSES
			job_stopped = true
#endif
		   }
		:: true -> goto open
		fi;
		p = 0;
		if
		:: (list[0] == 0 || count[0] == 0) &&
		   (list[1] == 0 || count[1] == 0) -> quiet = true
		:: true -> goto open		/* the deadline */
		fi;
step:
		atomic {
			if
			:: steps == STEPS || final -> goto commit
			:: steps < STEPS && !final -> steps++
			fi;
			select(r : 0 .. ROOTS - 1);
			if
			:: true -> goto commit
			:: child[F] == NONE && named != F ->
				insert_all();
				goto step
			:: child[F] == NONE && root[r] == named ->
				insert_one(r);
				goto step
			:: child[F] != NONE && named == F ->
				remove();
				goto commit
			:: root[r] == NONE ->
				select(n : 0 .. NODES - 1);
				if
				:: IN_USE(n) -> attach(r, n)
				:: else
				fi;
				n = 0;
				goto step
			:: root[r] != NONE ->
				select(n : 0 .. NODES - 1);
				if
				:: !IN_USE(n) -> n = 0; goto step
				:: else
				fi;
#ifndef MOVE_OPEN
				close_root(r)
#endif
			:: root[r] != NONE && closed[r] && count[r] == 0 ->
				/* the last step: commit frees it */
				detach(r);
				final = true;
				goto commit
			fi
		}
		/* a root of elsewhere joins the list, then it moves */
#ifndef MOVE_OPEN
		count[r] == 0;
#endif
		atomic {
			assert(count[r] == 0);
			root[r] = n;
			n = 0;
			goto step
		}
commit:	skip;
		d_step {
			r = 0;
			n = 0;
			steps = 0
		}
		if
		:: true
		:: !final -> d_step { undo(); hit = false }
		fi;
		final = false;
open:	skip;
		open_list()
	od
}

proctype guest(byte r)
{
	byte at;

end:	do
	:: atomic {
		root[r] != NONE && !closed[r] ->
		count[r]++;
		at = root[r];
		assert(!quiet || at != named)
	   }
	   do
	   :: atomic {
		!BOTTOM(at) ->
		at = child[at];
		assert(at != NONE);
		assert(!quiet || at != named)
	      }
	   :: atomic {
		BOTTOM(at) ->
		assert(!quiet || at != named);
		at = 0;
		count[r]--;
		break
	      }
	   od
	od
}

proctype job()
{
	byte at;

end:	do
	:: atomic {
		!job_stopped ->
		job_busy = true;
		at = job_at;
		assert(!quiet || at != named)
	   }
	   do
	   :: atomic {
		!BOTTOM(at) ->
		at = child[at];
		assert(at != NONE);
		assert(!quiet || at != named)
	      }
	   :: atomic { BOTTOM(at) -> at = 0; job_busy = false; break }
	   od
	od
}

init
{
	byte i;

	atomic {
		child[B] = NONE;
		child[C] = NONE;
		child[A] = B;
		child[F] = NONE;
		for (i : 0 .. ROOTS - 1) {
			if
			:: root[i] = A
			:: root[i] = B
			:: root[i] = C
			:: i > 0 -> root[i] = NONE
			fi
		}
		if
		:: job_at = A
		:: job_at = B
		:: job_at = C
		fi;
		for (i : 0 .. ROOTS - 1) {
			run guest(i)
		}
		run job();
		run control();
		i = 0
	}
}
