/* SPDX-License-Identifier: MIT */
/*
 * Order of metadata and data on disk: what a power cut may leave (A24, A28,
 * A29).
 *
 * Models: a qcow2-like image whose one L2 table, not allocated at first, maps
 * GUESTS guest clusters to HOSTS host clusters.  A writer per guest cluster,
 * each on a thread of its own, performs operations chosen freely: write
 * (allocating or in place), FUA write, discard.  Two flushers flush:
 *	0  under the allocation lock: note what is dirty, copy the table
 *	1  write refcounts and a table that nothing on disk names; sync
 *	2  write the copy of a table that the disk names, or L1; sync
 *	3  unlinks that the copy has are durable
 * A cluster freed waits in limbo until its unlink is durable; then it is
 * punched and its refcount lowered.  A sync may fail once (FAILURES).
 *
 * The disk: for each sector a set of what it may hold after a cut now, and
 * what was written last.  Writing adds to the set, a sync leaves the last
 * value and what is still in flight.  Sectors are independent of each other,
 * so the sets stand for all subsets, orders and tears at once, and the check
 * after every step stands for a cut at every step.
 *
 * Abstractions: a sector holds a whole cluster or one table entry; epochs are
 * left out (limbo.pml); values are tags, one per operation.
 *
 * Proven, for a cut at any step:
 *  - no mapping that may be on disk names a table, refcount or data that may
 *    not be: a guest cluster reads as its last flushed value or one written,
 *    zeroed or discarded after it, never as junk or another's data;
 *  - a cluster that a mapping may name has its refcount;
 *  - a FUA write is durable when it is acknowledged;
 *  - the same after a flush that failed, on cached and direct files.
 *
 * Mutants, each found by tests/model/run:
 *  LIVE            phase 2 writes the table as it is by then, not the copy
 *  ONE_SYNC        no sync between the phases
 *  REFCOUNT_LATE   refcounts are written in phase 2
 *  TABLE_LATE      a new table is written in phase 2, with L1
 *  EARLY_PUBLISH   a mapping is published before its data is complete
 *  LATE_UNLINK     at its end a flush covers all unlinks made until then
 *  REUSE_AT_ONCE   a freed cluster does not wait for a flush
 *  REFCOUNT_EARLY  a refcount is lowered when the cluster is unlinked
 *  SYNCED_NOW      at its end a sync covers all writes made until then
 *  COUNT_LATE      a write is counted after its acknowledgement
 *  FUA_ALWAYS      FUA takes the fast path over undurable metadata
 *  FUA_COPIED      the same while a flush has copied but not written it
 *  DIRTY_LOST      a failed flush does not mark dirty again (FAILURES)
 *  STILL_NEW       after a failed L1 write its table counts as unnamed
 *                  (FAILURES)
 *  RETRY_CACHED    a later sync of a cached file is believed (FAILURES)
 */

#ifndef OPS0
#define OPS0	2
#endif
#ifndef OPS1
#define OPS1	1
#endif
#ifndef FLUSHES0
#define FLUSHES0 2
#endif
#ifndef FLUSHES1
#define FLUSHES1 0
#endif
#ifdef FAILURES
#define MAY_FAIL 1
#else
#define MAY_FAIL 0
#endif

#define GUESTS	2
#define HOSTS	2
#define NONE	HOSTS		/* in map: no host cluster */

/* values of data, one bit each; bits 1 to 6 are the operations */
#define ZERO	1
#define JUNK	128
/* values of table entries: bit h for host cluster h */
#define E_NONE	4
#define E_JUNK	8
/* values of L1 and refcounts */
#define NO	1
#define YES	2

/* may: what the sector may hold after a cut; now: written last */
byte data_may[HOSTS];
byte data_now[HOSTS];
byte data_fly[HOSTS];		/* submitted, not complete */
byte entry_may[GUESTS];
byte entry_now[GUESTS];
byte ref_may[HOSTS];
byte ref_now[HOSTS];
byte l1_may = NO;
byte l1_now = NO;
byte l2ref_may = NO;		/* the table's own refcount */
byte l2ref_now = NO;

/* memory */
byte map[GUESTS];
bool used[HOSTS];		/* refcounts */
bool limbo[HOSTS];
bool durable[HOSTS];		/* in limbo, and its unlink is durable */
bool in_flush[HOSTS];
bool map_dirty;
bool ref_dirty;
bool table_new = true;		/* nothing on disk can name the table */
bool undurable;			/* metadata that no flush has finished */
byte copy[GUESTS];

byte writes;			/* counted before acknowledgement */
byte synced;
bool flush_lock;
bool cached;			/* the file is: a failed sync loses pages */
bool lost;			/* it did */
bool failed;			/* and we know */
byte may_fail = MAY_FAIL;

/* what a guest cluster may read as after a cut now */
byte good[GUESTS];
byte last[GUESTS];		/* the acknowledged value */
byte pending[GUESTS];		/* the one not yet acknowledged, or 0 */
bool flushing[2];
byte good_then[4];		/* [flusher * 2 + guest]: once it is done */

inline check()
{
	d_step {
		for (k : 0 .. GUESTS - 1) {
			assert((l1_may & NO) == 0 || (good[k] & ZERO));
			if
			:: l1_may & YES ->
				assert((l2ref_may & NO) == 0);
				assert((entry_may[k] & E_JUNK) == 0);
				assert((entry_may[k] & E_NONE) == 0 ||
				       (good[k] & ZERO));
				for (h : 0 .. HOSTS - 1) {
					if
					:: entry_may[k] & (1 << h) ->
						assert((ref_may[h] & NO) == 0);
						assert((data_may[h] &
							~good[k]) == 0)
					:: else
					fi
				}
			:: else
			fi
		}
		k = 0;
		h = 0
	}
}

inline write_entries(live)
{
	for (k : 0 .. GUESTS - 1) {
		to = (live -> map[k] : copy[k]);
		entry_now[k] = (to == NONE -> E_NONE : 1 << to);
		entry_may[k] = entry_may[k] | entry_now[k]
	}
	to = 0;
	k = 0
}

inline write_refcounts()
{
	if
	:: ref_dirty ->
		for (h : 0 .. HOSTS - 1) {
			ref_now[h] = (used[h] -> YES : NO);
			ref_may[h] = ref_may[h] | ref_now[h]
		}
		h = 0;
		l2ref_now = YES;
		l2ref_may = l2ref_may | YES;
		ref_dirty = false
	:: else
	fi
}

/* Sets ok. */
inline sync()
{
	if
	:: may_fail > 0 ->
		may_fail--;
		lost = cached;
		ok = false
	:: true ->
		ok = true;
		d_step {
			if
			:: !lost ->
				for (h : 0 .. HOSTS - 1) {
					data_may[h] = data_now[h] | data_fly[h];
					ref_may[h] = ref_now[h]
				}
				for (k : 0 .. GUESTS - 1) {
					entry_may[k] = entry_now[k]
				}
				h = 0;
				k = 0;
				l1_may = l1_now;
				l2ref_may = l2ref_now
			:: else
			fi
		}
	fi
}

/* Punches and frees the clusters of limbo whose unlink is durable. */
inline reap()
{
	for (h : 0 .. HOSTS - 1) {
		if
		:: limbo[h] && durable[h] ->
			limbo[h] = false;
			durable[h] = false;
			used[h] = false;
			ref_dirty = true;
			data_now[h] = JUNK;
			data_may[h] = data_may[h] | JUNK
		:: else
		fi
	}
	h = 0
}

/* The operation's value is possible from now on. */
inline issue(value)
{
	d_step {
		pending[g] = value;
		good[g] = good[g] | value;
		good_then[g] = (flushing[0] -> good_then[g] | value : 0);
		good_then[2 + g] = (flushing[1] -> good_then[2 + g] | value : 0)
	}
}

inline acknowledge()
{
	last[g] = pending[g];
	pending[g] = 0
}

inline publish()
{
	map[g] = to;
	map_dirty = true;
	undurable = true
}

inline discard()
{
	issue(ZERO);
	atomic {
		to = map[g];
		if
		:: to != NONE ->
			limbo[to] = true;
			durable[to] = false;
#ifdef REUSE_AT_ONCE
			durable[to] = true;
#endif
#ifdef REFCOUNT_EARLY
			used[to] = false;
			ref_dirty = true;
#endif
			to = NONE;
			publish()
		:: else
		fi;
		to = 0
	}
}

#define FREE(h)	(!used[h] && !limbo[h])

inline write()
{
	issue(1 << tag);
	atomic {
		fua = false;
		fresh = false;
		reap();
		to = map[g];
		if
		:: to != NONE
		:: to == NONE && (FREE(0) || FREE(1)) ->
			to = (FREE(0) -> 0 : 1);
			used[to] = true;
			ref_dirty = true;
			fresh = true
		:: else ->
			/* no space: the write fails, its value may not stay */
			pending[g] = last[g];
			goto end
		fi;
		if
		:: true
#ifdef FUA_ALWAYS
		:: !fresh -> fua = true
#elif defined(FUA_COPIED)
		:: !fresh && !map_dirty -> fua = true
#else
		:: !fresh && !undurable -> fua = true
#endif
		fi;
		data_fly[to] = 1 << tag;
		data_may[to] = data_may[to] | (1 << tag);
#ifdef EARLY_PUBLISH
		if
		:: fresh -> publish(); fresh = false
		:: else
		fi;
#endif
		check()
	}
	atomic {
		data_fly[to] = 0;
		data_now[to] = 1 << tag;
		data_may[to] = (fua -> 1 << tag : data_may[to]);
		if
		:: fresh
		:: !fresh -> goto end
		fi
	}
	atomic { publish() }
end:	skip
}

proctype writer(byte g; byte ops)
{
	byte n;
	byte k;
	byte h;
	byte to;
	byte tag;
	bool fresh;
	bool fua;

	do
	:: n == ops -> break
	:: n < ops ->
		n++;
		tag = (g == 0 -> n : OPS0 + n);
		fua = false;
		if
		:: write()
		:: map[g] != NONE -> discard()
		fi;
#ifndef COUNT_LATE
		writes++;
#endif
		atomic {
			acknowledge();
			if
			:: fua ->
				good[g] = last[g];
				good_then[g] = (flushing[0] -> last[g] : 0);
				good_then[2 + g] = (flushing[1] -> last[g] : 0);
				check()
			:: else
			fi
		}
#ifdef COUNT_LATE
		writes++;
#endif
		d_step { to = 0; tag = 0; fua = false; fresh = false }
	od
}

/* Under flush_lock. Sets ok. */
inline flush_image()
{
	atomic {
		had_map = map_dirty;
		map_dirty = false;
		was_new = table_new;
		covers = writes;
		for (k : 0 .. GUESTS - 1) {
			copy[k] = map[k]
		}
		for (h : 0 .. HOSTS - 1) {
			in_flush[h] = limbo[h] && !durable[h]
		}
		k = 0;
		h = 0
	}
	atomic {
#ifndef REFCOUNT_LATE
		write_refcounts();
#endif
#ifndef TABLE_LATE
		if
		:: had_map && was_new -> write_entries(false)
		:: else
		fi;
#endif
		check()
	}
#ifdef ONE_SYNC
	ok = true;
#else
	atomic { sync(); check() }
#endif
	if
	:: ok && had_map ->
		atomic {
#ifdef REFCOUNT_LATE
			write_refcounts();
#endif
#ifdef TABLE_LATE
			write_entries(false);
#endif
			if
			:: was_new ->
				l1_now = YES;
				l1_may = l1_may | YES;
#ifndef STILL_NEW
				table_new = false
#endif
			:: else ->
#ifdef LIVE
				write_entries(true)
#else
				write_entries(false)
#endif
			fi;
			check()
		}
		atomic {
			sync();
			if
			:: ok -> table_new = false
			:: else
			fi;
			check()
		}
	:: else
	fi;
	atomic {
		if
		:: ok ->
			undurable = map_dirty;
#ifdef SYNCED_NOW
			synced = writes;
#else
			synced = covers;
#endif
			for (h : 0 .. HOSTS - 1) {
#ifdef LATE_UNLINK
				durable[h] = limbo[h];
#else
				durable[h] = durable[h] || in_flush[h];
#endif
				in_flush[h] = false
			}
		:: else ->
#ifndef DIRTY_LOST
			map_dirty = map_dirty || had_map;
#endif
			for (h : 0 .. HOSTS - 1) {
				in_flush[h] = false
			}
			failed = cached
		fi;
		copy[0] = 0;
		copy[1] = 0;
		covers = 0;
		had_map = false;
		was_new = false;
		h = 0
	}
}

#ifdef RETRY_CACHED
#define USELESS	false
#else
#define USELESS	failed
#endif

proctype flusher(byte f; byte flushes)
{
	byte k;
	byte h;
	byte covers;
	byte to;
	byte target;
	bool had_map;
	bool was_new;
	bool ok;

	do
	:: flushes == 0 -> break
	:: flushes > 0 ->
		d_step {
			flushes--;
			for (k : 0 .. GUESTS - 1) {
				good_then[f * 2 + k] = last[k] | pending[k]
			}
			k = 0;
			flushing[f] = true
		}
		target = writes;
		atomic { !flush_lock -> flush_lock = true }
		if
		:: USELESS -> ok = false
		:: !USELESS && synced >= target && !map_dirty -> ok = true
		:: !USELESS && (synced < target || map_dirty) ->
			flush_image()
		fi;
		flush_lock = false;
		atomic {
			if
			:: ok ->
				good[0] = good[0] & good_then[f * 2];
				good[1] = good[1] & good_then[f * 2 + 1];
				check()
			:: else
			fi;
			good_then[f * 2] = 0;
			good_then[f * 2 + 1] = 0;
			flushing[f] = false;
			target = 0;
			ok = false
		}
	od
}

init
{
	byte k;

	atomic {
		for (k : 0 .. HOSTS - 1) {
			data_may[k] = JUNK; data_now[k] = JUNK;
			ref_may[k] = NO; ref_now[k] = NO
		}
		for (k : 0 .. GUESTS - 1) {
			entry_may[k] = E_JUNK; entry_now[k] = E_JUNK;
			map[k] = NONE;
			good[k] = ZERO; last[k] = ZERO
		}
		k = 0;
#ifdef FAILURES
		if
		:: cached = true
		:: cached = false
		fi;
#endif
		run writer(0, OPS0);
		run writer(1, OPS1);
		run flusher(0, FLUSHES0);
		run flusher(1, FLUSHES1)
	}
}
