/* SPDX-License-Identifier: MIT */
/*
 * disk.c - see disk.h.
 */
#include "tests/lib/disk.h"

#include <assert.h>
#include <jansson.h>
#include <string.h>

#include "tests/lib/crew.h"

static const struct root_ops disk_root_ops = {
	.kind = "export",
	.gated = true,
};

int disk_open(struct disk *d, const char *options, unsigned perm,
	      unsigned flags, struct error **err)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	json_error_t where;
	json_t *o = json_loads(options, 0, &where);

	assert(o);
	d->node = node_open(o, flags, err);
	json_decref(o);
	if (!d->node)
		return -1;
	d->root = root_new(&disk_root_ops, d, "the test", d->node, perm,
			   PERM_ALL, 512, 2, err);
	(void)!co_node_put(d->node, "opener", &ignored);
	return d->root ? 0 : -1;
}

void disk_close(struct disk *d)
{
	root_free(d->root);
}

struct one_request {
	struct disk *disk;
	struct request req;
	int res;
};

static void one_run(void *arg)
{
	struct one_request *one = arg;

	one->res = co_root_submit(one->disk->root, &one->req);
}

int disk_request(struct disk *d, enum req_op op, unsigned flags,
		 uint64_t offset, uint32_t len, void *buf)
{
	struct one_request one = {
		.disk = d,
		.req = {
			.op = (uint8_t)op,
			.flags = (uint8_t)flags,
			.offset = offset,
			.len = len,
			.buf = buf,
			.fixed = IO_NOT_FIXED,
		},
	};
	struct crew crew = { .working = 0 };
	struct crew_member member;

	crew_start(&crew, &member, 1, one_run, &one);
	crew_wait(&crew);
	return one.res;
}

char *disk_open_error(const char *options, unsigned perm)
{
	struct error *err = NULL;
	struct disk d;
	char *text;

	if (disk_open(&d, options, perm, 0, &err) == 0) {
		disk_close(&d);
		return NULL;
	}
	text = strdup(err->text);
	error_clear(&err);
	return text;
}
