/* SPDX-License-Identifier: MIT */
/*
 * qcow2-image.h - what qcow2-read.c and qcow2-write.c share: the input is an
 * image file; its last bytes also say what is done to it.
 */
#ifndef FUZZ_QCOW2_IMAGE_H
#define FUZZ_QCOW2_IMAGE_H

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/format/qcow2/check.h"
#include "graph/graph.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/qcow2-mutate.h"

#define PATH "/sim/fuzz.qcow2"
#define REQUEST_MAX 16384u	/* bytes */

/* Small caches: they are filled, and memory for them is mapped each time. */
#define OPTIONS(more) \
	"{\"driver\": \"qcow2\", \"node-name\": \"disk\", \"backing\": null," \
	" \"l2-cache-size\": 16384, \"refcount-cache-size\": 16384," \
	" \"discard\": \"unmap\"" more ", \"file\": {\"driver\": \"file\"," \
	" \"discard\": \"unmap\", \"filename\": \"" PATH "\"}}"
#define READ_ONLY ", \"read-only\": true"

struct input {
	const uint8_t *data;
	size_t size;
	size_t used;		/* from the end */
};

/* The next byte of what is to be done. */
static inline uint8_t next_byte(struct input *in)
{
	return in->data[in->size - 1 - in->used++ % in->size];
}

/* Any place of the disk, but mostly near its start or its end. */
static inline uint64_t next_offset(struct input *in, uint64_t size)
{
	uint8_t how = next_byte(in);
	uint64_t at = next_byte(in) * UINT64_C(512);

	if (how & 2)
		at <<= how >> 2 & 31;
	at %= size;
	return how & 1 ? align_down(size - 1 - at, 512) : at;
}

/* A range of the disk that is one request, 0 where the disk has no sector. */
static inline uint32_t next_range(struct input *in, const struct disk *d,
				  uint64_t *offset)
{
	uint64_t size = align_down(d->node->size, 512);
	uint32_t len = 512u * (1 + next_byte(in) % (REQUEST_MAX / 512));

	if (!size)
		return 0;
	*offset = next_offset(in, size);
	return (uint32_t)min(size - *offset, (uint64_t)len);
}

/* One request on the calling I/O thread. */
static inline int request(struct disk *d, enum req_op op, unsigned flags,
			  uint64_t offset, uint32_t len, void *buf)
{
	struct request req = {
		.op = (uint8_t)op,
		.flags = (uint8_t)flags,
		.offset = offset,
		.len = len,
		.buf = buf,
		.fixed = IO_NOT_FIXED,
	};

	return co_root_submit(d->root, &req);
}

struct job {
	struct input *in;
	struct disk disk;
	void (*fn)(struct input *in, struct disk *d);
};

static inline void job_run(void *arg)
{
	struct job *job = arg;

	job->fn(job->in, &job->disk);
}

/* What an image says about itself is as hostile as the rest. */
static inline void list_contents(struct node *node)
{
	json_t *object = json_object();
	struct error *err = NULL;

	node->driver->info(node, object);
	if (co_node_contents(node, object, &err) < 0)
		error_clear(&err);
	assert(!err);
	json_decref(object);
}

/*
 * Opens the image, asks what it says about itself, checks it where clean asks
 * for it (whether the check could be made and found no error), runs fn, if any,
 * on an I/O thread, and closes it. False: it did not open.
 */
static inline bool open_and_run(struct input *in, const char *options,
				unsigned perm, bool *clean,
				void (*fn)(struct input *in, struct disk *d))
{
	struct qcow2_check check = { .errors = 0 };
	struct job job = { .in = in, .fn = fn };
	struct crew_member member;
	struct crew crew = { .working = 0 };
	struct error *err = NULL;

	if (disk_open(&job.disk, options, perm, 0, &err) < 0) {
		assert(err && err->text[0]);
		error_clear(&err);
		return false;
	}
	list_contents(job.disk.node);
	if (clean)
		*clean = qcow2_check(job.disk.node->file, NULL, &check) == 0 &&
			 !check.errors;
	if (fn) {
		crew_start(&crew, &member, 1, job_run, &job);
		crew_wait(&crew);
	}
	disk_close(&job.disk);
	assert(!node_next(NULL));
	return true;
}

#endif
