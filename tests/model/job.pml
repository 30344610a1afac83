/* SPDX-License-Identifier: MIT */
/*
 * Jobs under a drain: range locks, roots without gate, asking jobs to stop
 * (A16).
 *
 * Models: a node with one lockable range; GUESTS guest requests that enter by
 * a gated export root and lock the range for their write; JOBS jobs, each on
 * a thread of its own, that copy again and again: lock the range, read, write,
 * unlock, the read and the write being counted requests of an ungated job
 * root.  A user pauses and resumes jobs; the first job sometimes makes a graph
 * change of its own.  Main drains and undrains for ever.
 *
 * An operation takes both roots of its job at once, so one flag stands for both.
 *
 * Abstractions: the range lock is one queue, first in, first out; threads and
 * messages are left out (gate.pml has them), an atomic step is what a thread
 * does between two yields; storage always completes.
 *
 * Proven (safety):
 *  - no deadlock: a guest counted in flight may wait for a job's range lock,
 *    while the drain waits for that guest;
 *  - when a drain completes no guest is counted, no job is inside an
 *    operation and the range is free, and until the undrain none starts;
 *  - a job that the user paused does not run because a drain ended.
 * Proven (liveness, weak fairness):
 *  - drains: a drain completes, whether users resume or not;
 *  - served: a guest's request is answered, with drains and jobs for ever.
 *
 * Mutants, each found by tests/model/run:
 *  JOB_GATE        job roots have a gate
 *  STOP_INSIDE     a job stops in the middle of an operation
 *  PAUSE_INSIDE    a job is paused in the middle of an operation
 *  REQUESTS_ONLY   a drain waits for a job's requests, not its operation
 *  NOT_ASKED       a drain does not ask jobs to stop
 *  SPLIT           a job looks at the wish to stop, then becomes busy
 *  ONE_BY_ONE      it becomes busy on its two roots with a wait between them
 *  ONE_FLAG        the end of a drain resumes what a user paused
 *  BUSY_FOR_CHANGE a job that waits for the change lock counts as busy
 */

#define GUESTS	2
#define JOBS	2
#define ALL	(GUESTS + JOBS)

chan range = [ALL] of { byte };	/* the head holds it, the rest wait */

bool closed;			/* the export root's gate */
bool at_gate[GUESTS];
byte guests;			/* counted at the export root */
byte requests[JOBS];		/* counted at each job root */
bool busy[JOBS];		/* from start to end of an operation */
bool half[JOBS];		/* ONE_BY_ONE: on the first root only */
bool stop[JOBS];		/* asked by a drain */
bool paused[JOBS];		/* by the user */
bool change_lock;
bool draining;
bool drained;
bool waiting;			/* guest 0, from delivery to answer */

#ifdef ONE_FLAG
#define MAY_RUN	(!stop[j])
#else
#define MAY_RUN	(!stop[j] && !paused[j])
#endif

proctype guest(byte id)
{
	do
	:: waiting = (id == 0 -> true : waiting);
	   atomic {
		if
		:: closed -> at_gate[id] = true
		:: else -> guests++
		fi
	   }
	   !at_gate[id];
	   range!id;
	   atomic { range?[eval(id)] -> assert(!drained) }
	   atomic { range?eval(id); assert(!drained) }
	   atomic {
		guests--;
		waiting = (id == 0 -> false : waiting)
	   }
	od
}

/* One request of job j. */
inline request()
{
#ifdef JOB_GATE
	atomic { !closed -> requests[j]++; assert(!drained) }
#else
	atomic { requests[j]++; assert(!drained) }
#endif
	atomic { assert(!drained); requests[j]-- }
}

proctype job(byte j)
{
	byte id = GUESTS + j;

end:	do
#ifdef SPLIT
	:: MAY_RUN ->
	   busy[j] = true;
#elif defined(ONE_BY_ONE)
	:: atomic { MAY_RUN -> half[j] = true }
	   atomic { MAY_RUN -> half[j] = false; busy[j] = true }
#else
	:: atomic { MAY_RUN -> busy[j] = true; assert(!paused[j]) }
#endif
	   range!id;
	   range?[eval(id)];
	   request();
#ifdef STOP_INSIDE
	   if
	   :: atomic { stop[j] -> busy[j] = false }
	      atomic { !stop[j] -> busy[j] = true }
	   :: else
	   fi;
#endif
#ifdef PAUSE_INSIDE
	   if
	   :: paused[j] -> !paused[j]
	   :: else
	   fi;
#endif
	   request();
	   atomic { range?eval(id); assert(!drained); busy[j] = false }
	:: j == 0 ->			/* a change of its own */
#ifdef BUSY_FOR_CHANGE
	   atomic { MAY_RUN -> busy[j] = true }
#endif
	   atomic { !change_lock -> change_lock = true }
	   atomic {
		change_lock = false;
#ifdef BUSY_FOR_CHANGE
		busy[j] = false
#endif
	   }
	od
}

/* Pauses for as long as he likes. */
proctype user()
{
end:	do
#ifdef ONE_FLAG
	:: atomic { paused[0] = true; stop[0] = true }
	:: atomic { paused[0] = false; stop[0] = false }
#else
	:: atomic { !paused[0] -> paused[0] = true }
	:: atomic { !paused[1] -> paused[1] = true }
	:: atomic { paused[0] -> paused[0] = false; break }
	:: atomic { paused[1] -> paused[1] = false; break }
	:: break
#endif
	od
}

#ifdef REQUESTS_ONLY
#define IDLE(j)	(requests[j] == 0)
#else
#define IDLE(j)	(!busy[j] && !half[j] && requests[j] == 0)
#endif

proctype control()
{
	do
	:: atomic { !change_lock -> change_lock = true; draining = true }
	   closed = true;
#ifndef NOT_ASKED
	   stop[0] = true;
	   stop[1] = true;
#endif
	   atomic {
		guests == 0 && IDLE(0) && IDLE(1) ->
		drained = true;
		draining = false;
		assert(!busy[0] && !busy[1]);
		assert(empty(range))
	   }
	   drained = false;
	   stop[0] = false;
	   stop[1] = false;
	   atomic {
		closed = false;
		guests = guests + at_gate[0] + at_gate[1];
		at_gate[0] = false;
		at_gate[1] = false
	   }
	   change_lock = false
	od
}

init
{
	atomic {
		run guest(0);
		run guest(1);
		run job(0);
		run job(1);
		run user();
		run control()
	}
}

#ifdef SERVED
ltl served { [] (waiting -> <> !waiting) }
#endif
#ifdef DRAINS
ltl drains { [] (draining -> <> drained) }
#endif
