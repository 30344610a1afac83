/* SPDX-License-Identifier: MIT */
/*
 * disk-model.h - what each sector of a disk may hold: now, and after a cut.
 *
 * Every write puts a value of its own into its sectors; 0 is zeroes. A sector
 * keeps the changes since its last surely durable value:
 *
 *	certain change v	it holds v
 *	doubtful change v	it holds v or what it held before: a discard
 *				(v = 0), a write that failed or was cut off
 *
 * Requests in flight at the same time do not overlap: model_claim sees to it,
 * so the changes of a sector have one order. Only for one thread at a time (the
 * simulation's contexts, between waits).
 */
#ifndef TESTS_LIB_DISK_MODEL_H
#define TESTS_LIB_DISK_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_SECTOR 512u

struct model_change {
	uint32_t value;
	bool doubtful;
	bool in_flight;
	uint64_t done_at;	/* when it was acknowledged, by model->now */
};

struct model_sector {
	struct model_change *changes;	/* the first one is durable */
	unsigned count;
	bool claimed;
};

struct disk_model {
	uint64_t sectors;
	struct model_sector *at;
	uint64_t now;		/* counts acknowledgements */
	uint32_t next_value;
};

/* All sectors hold value 0, durable. */
void model_init(struct disk_model *m, uint64_t bytes);
void model_free(struct disk_model *m);
/* Before anything happens: what a sector holds at first. */
void model_set(struct disk_model *m, uint64_t sector, uint32_t value);

/* Takes sectors for one request; false when another has one of them. */
bool model_claim(struct disk_model *m, uint64_t sector, uint64_t count);
void model_unclaim(struct disk_model *m, uint64_t sector, uint64_t count);

/* A write of `value`, zeroes or a discard (value 0) of claimed sectors is
 * submitted; then it ends. durable: it had FUA. */
uint32_t model_new_value(struct disk_model *m);
void model_start(struct disk_model *m, uint64_t sector, uint64_t count,
		 uint32_t value, bool discard);
void model_end(struct disk_model *m, uint64_t sector, uint64_t count,
	       bool ok, bool durable);
/* Before a flush is submitted; when it succeeded, with what the first said. */
uint64_t model_flush_start(const struct disk_model *m);
void model_flush_end(struct disk_model *m, uint64_t at);

/* Whether a claimed sector may be read as this. */
bool model_allows_now(const struct disk_model *m, uint64_t sector,
		      const void *bytes);
/* Whether it may hold this after a power cut. */
bool model_allows_cut(const struct disk_model *m, uint64_t sector,
		      const void *bytes);
/* The bytes of a sector that holds value; and the value that bytes show, -1
 * when they are those of no value, or of another sector. */
void model_fill(uint64_t sector, uint32_t value, void *bytes);
int64_t model_value(uint64_t sector, const void *bytes);
/* A line about the sector for people: what it may hold. */
void model_describe(const struct disk_model *m, uint64_t sector, char *text,
		    uint64_t len);

#endif
