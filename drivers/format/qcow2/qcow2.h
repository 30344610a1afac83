/* SPDX-License-Identifier: MIT */
/*
 * qcow2.h - the map of this folder, and the state of an open image.
 *
 *	disk.h		on-disk numbers and constants	  pure
 *	addr.h		geometry, positions in tables	  pure
 *	l2.h		what an entry says		  pure
 *	refcount.h	refcounts of all widths		  pure
 *	header.h	the header			  pure
 *	cache.h		slices in memory
 *	meta.h		which clusters hold metadata
 *	lookup.c	guest offset -> host, without a lock; map, read
 *	tables.c	L1 and L2: loading slices, new tables
 *	refs.c		reftable and refcount blocks
 *	space.c		metadata has its space in the file (A40)
 *	alloc.c		host clusters taken and given back
 *	write.c		allocating writes, copy on write
 *	discard.c	zeroes and discard
 *	limbo.c		unlinked clusters until they may be used again (A28)
 *	flush.c		metadata to disk in the order of A24
 *	compressed.c	compressed clusters
 *	bounce.c	memory for copies
 *	check.h		the checker; rebuild.c refcounts anew
 *	lost.c		what lies behind the end of the file
 *	backing.c	the name of the image below is changed
 *	create.h	a new image
 *	resize.c	another size for one that is open
 *	driver.c	open, close, and the table of operations
 *
 * Documentation/qcow2.md has the numbered invariants (Q1, ...).
 *
 * Locks, in the order in which they are taken:
 *	flush_lock	one flush or release of limbo at a time; held across I/O
 *	lock		everything marked "lock" below; held across loads and
 *			the writes of new tables, never across data I/O or a
 *			wait for memory
 *	scratch_lock	the last resort of bounce buffers; held across data I/O,
 *			never together with lock
 */
#ifndef QCOW2_QCOW2_H
#define QCOW2_QCOW2_H

#include <errno.h>

#include "drivers/format/qcow2/cache.h"
#include "drivers/format/qcow2/header.h"
#include "drivers/format/qcow2/l2.h"
#include "drivers/format/qcow2/meta.h"
#include "graph/epoch.h"
#include "graph/io.h"
#include "graph/wait.h"
#include "runtime/co.h"

#define BLANK_BYTES 65536u

struct qcow2_opts {
	bool lazy_refcounts;
	/* bytes; 0: the default */
	uint64_t cache_size, l2_cache_size, refcount_cache_size;
	uint64_t l2_cache_entry_size;	/* accepted; see addr.h */
	bool pass_discard;
};

/* Guest clusters that an allocating write works on: others that touch them
 * wait until it ends (Q6). On its coroutine's stack. */
struct busy {
	uint64_t first, last;	/* guest clusters */
	struct co_queue waiters;
	struct busy *next;
};

/* Host clusters unlinked and not yet free; from a pool. */
struct limbo_run {
	uint64_t first, count;	/* host clusters */
	uint64_t seq;
	struct limbo_run *next;
};

struct limbo {
	/* lock */
	struct limbo_run *pool;		/* all of them */
	unsigned pool_count, untouched;
	struct limbo_run *free;
	unsigned available;		/* runs that limbo_add could take */
	unsigned reserved;		/* of these, promised to writes */
	struct limbo_run *first, **last; /* ascending seq */
	uint64_t clusters;		/* in limbo or being punched */
	uint64_t seq;			/* of the newest unlink */
	uint64_t durable, graced;	/* newest unlink that is ... */
	uint64_t grace_covers;		/* of the running grace period */
	bool grace_running;
	struct grace grace;
	/* atomic: 0 running, 1 done, else the coroutine that waits in close */
	uintptr_t grace_done;
};

/* A copy of metadata on its way to disk. */
struct snap {
	uint64_t host;
	struct slice *slice;	/* NULL: a chunk of L1 or of the reftable */
	uint8_t *from;
	uint32_t len;
	uint32_t chunk;
};

/* Memory for all metadata that can be dirty at once, touched as needed. */
struct flush_area {	/* flush_lock */
	struct snap *snaps;
	uint8_t *copies;
	size_t mapped;
	uint32_t snap_count, snap_max;
	size_t copied, copies_max;	/* bytes */
};

struct qcow2 {
	/* immutable after open */
	struct node *node;
	struct qcow2_geometry geo;
	bool v3;
	bool pass_discard;
	uint64_t capacity;	/* host clusters; UINT64_MAX: the file grows */
	const uint8_t *blank;	/* BLANK_BYTES zeroes, aligned for O_DIRECT */
	bool lazy;		/* lazy refcounts wanted */
	bool lost;		/* data is missing (Q16); so it is read-only */

	/* any thread, atomic */
	struct be64 *l1;	/* l1_entries, and room for the largest */
	struct meta_set meta;
	uint64_t gen;		/* changes of the mapping so far */
	uint64_t durable_gen;	/* of these, on disk */
	bool fast_writes;	/* nothing has to be done before a write */
	bool corrupt;		/* found out since open; writes fail */
	bool header_unsure;	/* a change of sector 0 failed: another than
				 * memory's may be on disk; flush_lock */
	uint64_t end;		/* byte of the file: data that starts there or
				 * behind it is lost (Q16); only grows */

	struct co_mutex lock;
	/* lock */
	struct qcow2_header header;	/* as on disk */
	uint8_t *sector;	/* sector 0 as on disk */
	uint64_t l1_changes;	/* so far */
	struct slice_cache l2, refs;
	uint64_t retire_seq;	/* of the slices of l2 taken from readers */
	uint8_t *l1_state;	/* by entry, enum l1_state */
	uint8_t *l1_dirty;	/* by chunk of slice_size */
	uint8_t *l1_claimed;	/* by chunk: the file has its space (Q17) */
	unsigned l1_dirty_count;
	struct be64 *reftable;	/* room for the largest */
	uint64_t reftable_entries;
	uint64_t reftable_offset; /* header's, or where the new one lies */
	uint8_t *reftable_dirty; /* by chunk of slice_size */
	uint8_t *reftable_claimed; /* by chunk */
	uint8_t *table_buf;	/* a cluster, for new refcount blocks */
	unsigned reftable_dirty_count;
	uint64_t hint;		/* no host cluster below is free */
	uint64_t virgin;	/* host clusters from here on read as zeroes */
	uint64_t leaked;	/* clusters given up since open; atomic */
	struct busy *busy;
	struct busy *loading;	/* first: slice number */
	struct co_queue pins;	/* waiting for a slice to be unpinned */
	struct limbo limbo;

	struct co_mutex flush_lock;
	struct flush_area area;

	struct co_mutex scratch_lock;
	uint8_t *scratch;	/* SCRATCH_BYTES */

	void *tables;		/* all fixed tables in one mapping */
	size_t tables_mapped;
};

enum l1_state {
	L1_LINKED,	/* on disk as in memory */
	L1_NEW,		/* not on disk: the table is unreachable there */
	L1_FLUSHING,	/* on its way */
};

/* The tests' switch: freed clusters are used again at once. */
extern bool qcow2_test_no_limbo;

/* Under s->lock, atomic: queries read the bits without it. */
static inline void qcow2_set_incompatible(struct qcow2 *s, uint64_t bit,
					  bool on)
{
	uint64_t bits = s->header.incompatible;

	__atomic_store_n(&s->header.incompatible, on ? bits | bit : bits & ~bit,
			 __ATOMIC_RELAXED);
}

/* Under s->lock: nothing names these, and nobody gets them any more. Shown by
 * info; a check of the closed image finds them. */
static inline void qcow2_leak(struct qcow2 *s, uint64_t clusters)
{
	__atomic_store_n(&s->leaked, s->leaked + clusters, __ATOMIC_RELAXED);
}

static inline struct edge *qcow2_file(const struct qcow2 *s)
{
	return s->node->file;
}

/* Whether part of the metadata is not on disk yet (A29). */
static inline bool qcow2_is_undurable(const struct qcow2 *s)
{
	uint64_t durable = __atomic_load_n(&s->durable_gen, __ATOMIC_ACQUIRE);

	return durable != __atomic_load_n(&s->gen, __ATOMIC_ACQUIRE);
}

/*
 * Results inside this folder that are no errors but say what an operation
 * stopped for. No errno is among them, and none leaves: what an operation
 * answers goes through qcow2_answer.
 */
enum outcome {
	OUTCOME_AGAIN = -0x20000, /* the lock was given up, and is held again:
				 * everything may be different */
	OUTCOME_FLUSH,		/* what is dirty must be on disk first */
	OUTCOME_LIMBO,		/* what it wants to have is in limbo */
	OUTCOME_NO_BLOCK,	/* that refcount block does not exist */
	OUTCOME_NO_ENTRY,	/* nor does its entry in the reftable */
};

/* --- lookup.c: any thread, no lock --- */

struct qcow2_run {
	enum qcow2_kind kind;
	bool missing;		/* the slice is not in memory */
	bool writable;		/* NORMAL: in place */
	uint64_t entry;		/* of the first cluster */
	uint64_t host;		/* NORMAL: byte of the file */
	uint32_t len;		/* bytes it holds for */
};

/* What [offset, offset + len) is, or a prefix of it. */
void qcow2_lookup(const struct qcow2 *s, uint64_t offset, uint32_t len,
		  struct qcow2_run *run);
/* Whether an L2 slice just read names what is behind the file's end (Q16):
 * lookups look closer then. Under the lock. */
bool qcow2_has_beyond(const struct qcow2 *s, const struct slice *slice);
/* Whether an entry names metadata (Q15): unlinking it would free that. */
bool qcow2_entry_hits_metadata(const struct qcow2 *s, uint64_t entry);
void qcow2_map(struct node *node, struct map *map);
int64_t qcow2_read(struct node *node, uint64_t offset, uint32_t len,
		   void *buf);
int qcow2_status(struct node *node, struct extent *extent);
/* What lies behind the image: the backing file, zeroes past its end. */
int qcow2_read_backing(const struct qcow2 *s, uint64_t offset, uint32_t len,
		       void *buf) MUST_CHECK;

/* --- tables.c: coroutines --- */

/* Brings the slice of an allocated L2 table in. 0, or a negative errno. */
int qcow2_load_slice(struct qcow2 *s, uint64_t number) MUST_CHECK;
/*
 * Lock held. The slice for a guest offset, its table created when it has none
 * and `create`. *out NULL without error: there is no table. OUTCOME_AGAIN,
 * _FLUSH, _LIMBO.
 */
int qcow2_get_slice(struct qcow2 *s, uint64_t offset, bool create,
		    struct slice **out) MUST_CHECK;
/* Lock held: stores one entry of a slice for everybody to see. */
void qcow2_set_entry(struct qcow2 *s, struct slice *slice, uint32_t index,
		     uint64_t entry);
void qcow2_unpin(struct qcow2 *s, struct slice *slice);

/* --- refs.c: lock held, coroutines --- */

/*
 * The slice with a host cluster's refcount. OUTCOME_NO_BLOCK, _NO_ENTRY;
 * OUTCOME_FLUSH: all slices are dirty.
 */
int qcow2_ref_slice(struct qcow2 *s, uint64_t cluster, struct slice **out)
	MUST_CHECK;
/* Makes the refcount block for `cluster`, in that cluster. */
int qcow2_ref_block_create(struct qcow2 *s, uint64_t cluster) MUST_CHECK;
/* Moves the reftable to a larger place at the end of the file. */
int qcow2_reftable_grow(struct qcow2 *s) MUST_CHECK;
int qcow2_refcount(struct qcow2 *s, uint64_t cluster, uint64_t *out)
	MUST_CHECK;

/* --- space.c: lock held, coroutines (Q17) --- */

/* Zeroes to the whole cluster. */
int qcow2_blank_cluster(struct qcow2 *s, uint64_t cluster) MUST_CHECK;
/* Whether the slice_size bytes, as they were read, may be a hole's in part. */
bool qcow2_may_be_hole(const struct qcow2 *s, const void *bytes);
/* Before a clean slice is changed: writes it as it is where the file may have
 * a hole. 0, -ENOSPC, or another error of the file. */
int qcow2_claim_slice(struct qcow2 *s, struct slice *slice) MUST_CHECK;
/* The same before entry `index` of L1 or the reftable is changed: `table` is
 * where in the file it lies. */
int qcow2_claim_chunk(struct qcow2 *s, uint64_t table, const struct be64 *bytes,
		      uint8_t *claimed, uint64_t index) MUST_CHECK;

/* --- alloc.c --- */

struct qcow2_extent {
	uint64_t first, count;	/* host clusters */
	bool virgin;		/* reads as zeroes */
};

/*
 * Lock held, coroutine. A run of up to `want` host clusters, refcount one
 * each. -ENOSPC: there is no space, and nothing in limbo; OUTCOME_LIMBO,
 * OUTCOME_FLUSH.
 */
int qcow2_alloc(struct qcow2 *s, uint64_t want, struct qcow2_extent *out)
	MUST_CHECK;
/* Lock held, coroutine. Lowers refcounts by one of clusters that nothing names
 * any more. What cannot be lowered is leaked. OUTCOME_FLUSH: only *done
 * of them. */
int qcow2_free(struct qcow2 *s, uint64_t first, uint64_t count,
	       uint64_t *done);
/*
 * No lock held. What an operation that ended with `ret` answers the graph: a
 * length, an errno, or, after what can be done about an outcome was done,
 * STEER_AGAIN or STEER_WAIT (A28). The one way out for outcomes.
 */
int64_t qcow2_answer(struct qcow2 *s, int64_t ret) MUST_CHECK;
/* Marks the image corrupt and fails all later writes. Any lock state: `locked`
 * says whether lock is held. Returns -EIO. */
int qcow2_corrupt(struct qcow2 *s, bool locked);

/* --- write.c, discard.c, resize.c: driver operations --- */

int64_t qcow2_write(struct node *node, uint64_t offset, uint32_t len,
		    const void *buf, unsigned flags);
int64_t qcow2_zeroes(struct node *node, uint64_t offset, uint32_t len,
		     unsigned flags);
int64_t qcow2_discard(struct node *node, uint64_t offset, uint32_t len);
int64_t qcow2_fetch(struct node *node, uint64_t offset, uint32_t len);
int qcow2_resize(struct node *node, uint64_t from, uint64_t to,
		 struct error **err);
/* What has to happen before the first write of an image. 0 or errno. */
int qcow2_begin_write(struct qcow2 *s) MUST_CHECK;
/* Lock held. Waits while an allocating write works on these guest clusters:
 * true if it waited (everything may be different now). */
bool qcow2_wait_busy(struct qcow2 *s, uint64_t first, uint64_t last);
/* buf NULL: zeroes. */
int64_t qcow2_write_data(struct qcow2 *s, uint64_t offset, uint32_t len,
			 const uint8_t *buf) MUST_CHECK;

/* --- lost.c --- */

/* In open, coroutine. 1: the tables name something at or behind s->end, and
 * the disk's first such byte, or that of its table, is *guest. 0: nothing that
 * the refcounts know of. Or a negative errno. */
int qcow2_find_lost(struct qcow2 *s, uint64_t *guest) MUST_CHECK;

/* --- limbo.c --- */

int limbo_init(struct qcow2 *s) MUST_CHECK;
void limbo_destroy(struct qcow2 *s);
/* Lock held, from here on unless said otherwise. */
bool limbo_reserve(struct qcow2 *s, unsigned runs);
void limbo_unreserve(struct qcow2 *s, unsigned runs);
/* Puts unlinked clusters in; a reserved run must be left. */
void limbo_add(struct qcow2 *s, uint64_t first, uint64_t count);
/* The entry's host clusters; entry as it was before it was unlinked. */
void limbo_add_entry(struct qcow2 *s, uint64_t entry);
/* Notices the end of a grace period; starts the next one where needed. */
void limbo_poll(struct qcow2 *s);
/* Punches and frees what is ripe. flush_lock held too; gives up the lock
 * meanwhile. wanted: also what the file has no space to punch. */
void limbo_release(struct qcow2 *s, bool wanted);
/* No lock held, when nobody writes any more: waits for the running grace
 * period. */
void limbo_wait(struct qcow2 *s);

/* --- flush.c --- */

int flush_area_init(struct qcow2 *s) MUST_CHECK;
void flush_area_destroy(struct qcow2 *s);
int qcow2_flush(struct node *node);
/* No lock held. Also what a flush may leave (lowered refcounts; with lazy
 * refcounts all of them). */
int qcow2_flush_all(struct qcow2 *s) MUST_CHECK;
/* The same, flush_lock held. */
int qcow2_flush_held(struct qcow2 *s) MUST_CHECK;
/* flush_lock held: sector 0 says what memory says, before what it names may
 * change. 0 or errno; then header_unsure stays. */
int qcow2_settle_header(struct qcow2 *s) MUST_CHECK;
/* Lock held: whether a writer has to flush before it makes more dirty. */
bool qcow2_is_crowded(const struct qcow2 *s);
/* Lock held: writes sector 0 from s->header. */
int qcow2_write_header(struct qcow2 *s) MUST_CHECK;

/* --- backing.c --- */

/* The driver's set_backing. */
int qcow2_set_backing(struct node *node, const char *name, const char *format,
		      struct error **err) MUST_CHECK;

/* --- compressed.c --- */

/* Bytes of memory that qcow2_unpack needs besides the cluster. */
uint32_t qcow2_unpack_bytes(const struct qcow2_geometry *g);
/* Reads and unpacks a compressed cluster to out (a cluster's size). */
int qcow2_unpack(struct qcow2 *s, uint64_t entry, uint8_t *out, uint8_t *work)
	MUST_CHECK;
/* Pure: 0 if `in` unpacks to exactly out_len bytes, else -EIO. */
int qcow2_inflate(enum qcow2_compression type, const uint8_t *in,
		  uint32_t in_len, uint8_t *out, uint32_t out_len,
		  uint8_t *work, uint32_t work_len) MUST_CHECK;

/* --- bounce.c --- */

struct bounce {
	uint8_t *mem;
	uint32_t len;
	bool scratch;
};

#define SCRATCH_BYTES (16u << 20)

/* Coroutine, without s->lock. Memory of this thread's budget, or the image's
 * own last resort; never fails, waits only for another request's I/O. */
void qcow2_bounce_get(struct qcow2 *s, uint32_t len, struct bounce *b);
void qcow2_bounce_put(struct qcow2 *s, struct bounce *b);

#endif
