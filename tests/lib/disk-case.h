/* SPDX-License-Identifier: MIT */
/*
 * disk-case.h - one qcow2 image in the simulation: its geometry, its first
 * contents and what two threads do to it all follow from a seed.
 *
 *	disk_case_make -> disk_case_work -> disk_case_verify ... -> _free
 *
 * work runs the mixed requests on a runtime of its own, with the power cut or
 * the faults that the caller set up; verify opens what is left on the next
 * runtime, checks it and compares every sector with the model. A failure is
 * told by the return value and in text.
 */
#ifndef TESTS_LIB_DISK_CASE_H
#define TESTS_LIB_DISK_CASE_H

#include "tests/lib/crew.h"
#include "tests/lib/disk-model.h"
#include "tests/lib/qcow2-image.h"

#define CASE_IMAGE "/sim/disk.qcow2"
#define CASE_BASE "/sim/base.raw"

struct root;
struct node;
struct io;

struct disk_case {
	uint64_t seed;
	/* chosen by the seed; a caller may change them before make */
	struct image_spec spec;
	uint64_t base_size;		/* bytes of the backing file */
	unsigned odds[5];		/* of enum image_cluster; sum 100 */
	uint64_t holes_from;		/* clusters from here on are holes */
	uint64_t hot, hot_count;	/* clusters that most requests go to */
	bool direct;			/* O_DIRECT, with this alignment */
	uint32_t align;
	unsigned workers, ops;		/* of each thread; of a worker */
	uint64_t l2_cache, refcount_cache; /* bytes; 0: the driver's default */
	/* what the run is put through */
	uint64_t cut_at;		/* write or sync, or 0 */
	uint64_t limit;			/* bytes of the file, or 0 */
	uint64_t space;			/* pages that the file may take up
					 * more than at first; UINT64_MAX */
	uint64_t device;		/* the image is on a block device with
					 * this much room for it to grow, full
					 * of junk; or 0 */
	bool faults;			/* requests may fail */
	/* The work runs with "backing": null, the rest with the base that the
	 * header names: what was changed hides it, the rest shows it. */
	bool without_base;
	bool copies;			/* a copy-on-read filter is above it */
	/* Requests overlap: a sector holds anything that was ever written to
	 * this very sector, or zeroes. Else each has its sectors to itself. */
	bool overlap;
	/* main, coroutine: before the first request, after the last one */
	void (*before)(struct disk_case *c, struct node *node);
	void (*after)(struct disk_case *c);
	void *arg;

	struct disk_model model;
	struct root *root;
	uint64_t writes;		/* sim_write_count at the end */
	unsigned done, errors;		/* requests */
	bool opened, cut_off, verifying, bad;
	char text[400];
};

/* Fills in what follows from the seed; no file is made yet. */
void disk_case_init(struct disk_case *c, uint64_t seed);
/* Makes the files and the model. */
void disk_case_make(struct disk_case *c);
/* False: something was read that cannot be, or failed and must not. */
bool disk_case_work(struct disk_case *c);
/*
 * After a cut, or after work ended: the image as it lies there has no errors,
 * it opens, every sector holds what it may, the driver's own check finds no
 * error and leaves none. clean: it was closed in order, so there are no leaks.
 */
bool disk_case_verify(struct disk_case *c, bool clean);
void disk_case_free(struct disk_case *c);
/* "seed 7: v3 clusters 4096 refcount 16 lazy backing direct 512" */
void disk_case_describe(const struct disk_case *c, char *text, size_t len);

/* Opens CASE_IMAGE; NULL with the sentence in c->text. Main, coroutine. */
struct node *disk_case_open(struct disk_case *c);

/*
 * Dumps the image (and its backing file) into a directory under $TMPDIR and
 * runs qemu-img check; false with its output in c->text when it finds more
 * than leaks.
 */
bool disk_case_qemu_check(struct disk_case *c);
/* Whether qemu-img is there. */
bool qemu_img_exists(void);

#endif
