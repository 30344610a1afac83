/* SPDX-License-Identifier: MIT */
/*
 * Gate, in-flight count and drain of one export root (A8, A14, A15).
 *
 * Models: an export root served by two I/O threads.  Each thread owns its
 * gate, its count and its line of waiting requests, and learns of everything
 * by messages on one queue: a request delivered, storage done, a token for
 * the throttle, close and open from main.  Main drains and undrains as often
 * as it likes; a drain may pass its deadline, then main opens what it closed.
 * A throttle above everything lets a request go for a token and holds it
 * otherwise; a close sends what it holds back to the gate.  A thread has
 * buffers for POOL requests; one that finds none waits at the gate.  What the
 * throttle asks of a request is noted in it and asked once.  With READS the
 * last request of thread 0 is a read, of which it asks nothing; with BATCH so
 * many of a line start at once, the rest by a message of the thread to itself.
 *
 * Abstractions: a thread handles a message in one atomic step; requests are
 * numbered slots, delivered anew once answered; queues are first in, first
 * out and never full.  The two epoch counters and the count of who waits at a
 * node are one number here (limbo.pml has them apart).
 *
 * Proven (safety):
 *  - when main holds all answers, no request is counted on any thread, and
 *    until main opens none starts, runs or ends on the drained node;
 *  - requests of a thread leave the throttle in the order of their delivery,
 *    also those that went back to the gate;
 *  - a request is charged once, however often it goes back;
 *  - at most POOL run; nothing ever stands still (no deadlock).
 * Proven (liveness, weak fairness):
 *  - served: a delivered request is answered, with drains coming for ever
 *    or coming no more;
 *  - passes: a read is answered though no token ever comes for the writes that
 *    wait before it (READS, STOPPED_CLOCK);
 *  - drains: a drain completes when storage does, even if no token ever
 *    comes (STOPPED_CLOCK) and without help of the deadline (NO_DEADLINE).
 *
 * Mutants, each found by tests/model/run:
 *  SPLIT           the gate is tested in one step, the count taken in another
 *  COUNT_EARLY     the count is dropped before the request's last act
 *  ONE_ANSWER      main goes on when the first thread has answered
 *  OPEN_UNANSWERED main does not wait until the threads have opened, so an
 *                  answer to an old close is taken for one to the new
 *  KEEP_THROTTLED  a drain waits for what only time releases
 *  BACK_TO_TAIL    throttled requests go back to the end of the line
 *  FORGET_LINE     opening the gate does not start the line
 *  LOST_WAKE       freed buffers do not start the line
 *  FORGET_CHARGE   what goes back is charged again
 *  READ_BEHIND     a read waits behind throttled writes
 *  FORGET_MORE     no message starts the rest of a line
 *  OVERTAKE        who comes between two parts of a line passes the gate
 *  CHILD_AT_GATE   the second part of a request passes the gate again
 */

#ifndef SLOTS0
#define SLOTS0	2		/* requests of thread 0 */
#endif
#ifndef SLOTS1
#define SLOTS1	1
#endif
#ifndef POOL
#define POOL	2
#endif
#define SLOTS	(SLOTS0 + SLOTS1)
#ifdef READS
#define IS_READ(r)	(r == SLOTS0 - 1)
#else
#define IS_READ(r)	false
#endif
#ifdef BATCH
#define MORES	1
#else
#define BATCH	SLOTS
#define MORES	0
#endif

mtype = { SUBMIT, DONE, TOKEN, CLOSE, OPEN, COUNT, MORE };
mtype = { ZERO, OPENED };
mtype = { IDLE, SENT, WAITING, THROTTLED, STORAGE, ENDING };

chan inbox0 = [SLOTS + 3 + MORES] of { mtype, byte };
chan inbox1 = [SLOTS + 3 + MORES] of { mtype, byte };
chan answers = [4] of { mtype, byte };

mtype what[SLOTS];
bool noted[SLOTS];		/* what the throttle asks */
bool charged[SLOTS];		/* ghost: it was asked */
byte count[2];
bool token[2];			/* in the bucket or on its way */
bool ready[2];			/* in the bucket */
bool draining;
bool drained;			/* main has all answers */

/* Lets r pass the throttle. */
inline issue()
{
	order?x;
#ifndef SPLIT
	assert(x == r);
#endif
	assert(!drained);
	what[r] = STORAGE
}

inline throttle()
{
	assert(!drained);
	if
	:: !IS_READ(r) && !noted[r] ->
		assert(!charged[r]);
		noted[r] = true;
		charged[r] = true
	:: else
	fi;
	if
#ifndef READ_BEHIND
	:: IS_READ(r) -> what[r] = STORAGE
#endif
	:: ready[t] && len(slow) == 0 && !IS_READ(r) ->
		ready[t] = false;
		token[t] = false;
		issue()
	:: else ->
		what[r] = THROTTLED;
		slow!r
	fi
}

/* Past the gate. */
inline start()
{
#ifdef SPLIT
	inbox!COUNT,r
#else
	count[t]++;
	assert(count[t] <= POOL);
	throttle()
#endif
}

inline start_line()
{
	n = 0;
	do
	:: len(line) > 0 && count[t] < POOL && n < BATCH ->
		line?r;
		start();
		n++
	:: else -> break
	od;
	if
#ifndef FORGET_MORE
	:: len(line) > 0 && count[t] < POOL && !more ->
		more = true;
		inbox!MORE,0
#endif
	:: else
	fi;
	n = 0
}

/* What only time releases goes back, before those that came later. */
inline send_back()
{
#ifdef KEEP_THROTTLED
	skip
#else
	n = len(line);
	do
	:: len(slow) > 0 ->
		slow?r;
		what[r] = WAITING;
#ifdef FORGET_CHARGE
		noted[r] = false;
#endif
		line!r;
		count[t]--
	:: else -> break
	od;
#ifdef BACK_TO_TAIL
	n = 0;
#endif
	do
	:: n > 0 -> line?x; line!x; n--
	:: else -> break
	od
#endif
}

inline send(kind)
{
#ifdef OPEN_UNANSWERED
	if
	:: len(answers) < 2 && kind == ZERO -> answers!kind,t
	:: else
	fi
#else
	answers!kind,t
#endif
}

inline answer()
{
	if
	:: closed && count[t] == 0 && !answered ->
		answered = true;
		send(ZERO)
	:: else
	fi
}

proctype thread(byte t; chan inbox)
{
	chan line = [SLOTS] of { byte };	/* waiting at the gate */
	chan slow = [SLOTS] of { byte };	/* held by the throttle */
	chan order = [SLOTS] of { byte };	/* ghost: in order of delivery */
	bool closed;
	bool answered;
	bool more;	/* its message is on its way */
	byte r;
	byte x;
	byte n;

end:	do
	:: d_step {
		inbox?SUBMIT,r ->
		if
		:: IS_READ(r)
		:: else -> order!r
		fi;
		if
#ifdef OVERTAKE
		:: closed || count[t] == POOL ->
#else
		:: closed || len(line) > 0 || count[t] == POOL ->
#endif
			what[r] = WAITING;
			line!r
		:: else -> start()
		fi;
		r = 0; x = 0
	   }
	:: d_step {
		inbox?DONE,r ->
		assert(!drained);
#ifdef CHILD_AT_GATE
		if
		:: closed		/* waits, and stays counted */
		:: else ->
#endif
#ifndef COUNT_EARLY
		count[t]--;
#endif
		what[r] = IDLE;
		noted[r] = false;
		charged[r] = false;
		if
#ifdef LOST_WAKE
		:: false
#else
		/* else nobody is short of buffers */
		:: !closed && count[t] == POOL - 1 -> start_line()
#endif
		:: else -> answer()
		fi;
#ifdef CHILD_AT_GATE
		fi;
#endif
		r = 0; x = 0
	   }
#ifdef COUNT_EARLY
	:: d_step {
		inbox?ENDING,r ->
		count[t]--;
		answer();
		r = 0
	   }
#endif
#ifdef SPLIT
	:: d_step {
		inbox?COUNT,r ->
		count[t]++;
		throttle();
		r = 0; x = 0
	   }
#endif
	:: d_step {
		inbox?TOKEN,_ ->
		if
		:: len(slow) > 0 -> slow?r; token[t] = false; issue()
		:: else -> ready[t] = true
		fi;
		r = 0; x = 0
	   }
	:: d_step {
		inbox?CLOSE,_ ->
		closed = true;
		answered = false;
		send_back();
		answer();
		r = 0; x = 0
	   }
	:: d_step {
		inbox?OPEN,_ ->
		closed = false;
#ifndef FORGET_LINE
		start_line();
#endif
		r = 0; x = 0;
		send(OPENED)
	   }
	:: d_step {
		inbox?MORE,_ ->
		more = false;
		if
		:: !closed -> start_line()
		:: else
		fi;
		r = 0; x = 0
	   }
	od
}

/* The guest that sends request r, and the storage that completes it. */
proctype slot(byte r; chan inbox)
{
	do
	:: atomic { what[r] == IDLE -> what[r] = SENT; inbox!SUBMIT,r }
#ifdef COUNT_EARLY
	:: atomic { what[r] == STORAGE -> inbox!ENDING,r; what[r] = ENDING }
	:: atomic { what[r] == ENDING -> inbox!DONE,r; what[r] = SENT }
#else
	:: atomic { what[r] == STORAGE -> what[r] = ENDING; inbox!DONE,r }
#endif
	od
}

#ifndef STOPPED_CLOCK
proctype clock(byte t; chan inbox)
{
end:	do
	:: atomic { !token[t] -> token[t] = true; inbox!TOKEN,0 }
	od
}
#endif

proctype control()
{
	byte t;
	byte zero;		/* answers of the drain */
	byte opened;

	do
#ifndef STOPPED_CLOCK
	:: break		/* no more changes */
#endif
	:: draining = true;
		inbox0!CLOSE,0;
		inbox1!CLOSE,0;
		do
		:: answers?ZERO,t -> zero = zero | (1 << t)
#ifdef ONE_ANSWER
		:: zero != 0 ->
#else
		:: zero == 3 ->
#endif
			atomic {
				drained = true;
				draining = false;
				assert(count[0] == 0 && count[1] == 0)
			}
			drained = false;
			break
#ifndef NO_DEADLINE
		:: true -> break
#endif
		od;
		draining = false;
		zero = 0;
		inbox0!OPEN,0;
		inbox1!OPEN,0;
#ifndef OPEN_UNANSWERED
		do
		:: answers?OPENED,t -> opened++
		:: answers?ZERO,t	/* too late */
		:: atomic { opened == 2 -> opened = 0; t = 0; break }
		od
#endif
	od
}

init
{
	byte i;

	atomic {
		for (i : 0 .. SLOTS - 1) {
			what[i] = IDLE
		}
		run thread(0, inbox0);
		run thread(1, inbox1);
		for (i : 0 .. SLOTS - 1) {
			if
			:: i < SLOTS0 -> run slot(i, inbox0)
			:: else -> run slot(i, inbox1)
			fi
		}
#ifndef STOPPED_CLOCK
		run clock(0, inbox0);
		run clock(1, inbox1);
#endif
		run control();
		i = 0
	}
}

#ifdef SERVED
ltl served { [] ((what[0] == SENT) -> <> (what[0] == IDLE)) }
#endif
#ifdef PASSES
ltl passes { [] ((what[SLOTS0 - 1] == SENT) -> <> (what[SLOTS0 - 1] == IDLE)) }
#endif
#ifdef DRAINS
ltl drains { [] (draining -> <> drained) }
#endif
