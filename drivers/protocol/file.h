/* SPDX-License-Identifier: MIT */
/*
 * file.h - the state of a file or host_device node, shared by file.c (requests
 * and life), file-lock.c (permissions as byte locks, P3) and file-create.c.
 */
#ifndef DRIVERS_PROTOCOL_FILE_H
#define DRIVERS_PROTOCOL_FILE_H

#include "graph/node.h"
#include "runtime/io.h"

enum file_locking { FILE_LOCKING_AUTO, FILE_LOCKING_ON, FILE_LOCKING_OFF };

struct file_opts {
	char *filename;
	bool temporary;		/* filename is a directory */
	int locking;		/* enum file_locking */
	int aio;		/* accepted; io_uring does it all */
};

/* How a descriptor was opened. */
struct file_mode {
	bool writable, direct;
};

struct file_state {
	/* immutable after open */
	struct file *first;	/* holds every lock until close */
	struct file_mode first_mode;

	/* changes under a drain, when the node is reopened; io, and its mode,
	 * also to a descriptor that writes less, when nobody writes */
	struct file *io;	/* atomic: what requests use */
	struct file_mode io_mode;
	struct file_info info;	/* of io */

	/* main thread: questions about io under way, and who waits for none */
	unsigned asking;
	struct co *closer;

	/* main thread: bits of PERM_*; unshared is ~shared */
	struct file_locks *locks;		/* NULL: it locks nothing */
	unsigned perm, unshared;		/* committed */
	unsigned new_perm, new_unshared;	/* between check and commit */
};

/* Decides whether this node locks at all. */
int file_lock_open(struct node *node, struct error **err) MUST_CHECK;
int file_perm_check(struct node *node, unsigned perm, unsigned shared,
		    struct error **err) MUST_CHECK;
void file_perm_commit(struct node *node);
void file_perm_abort(struct node *node);
void file_perm_let_go(struct node *node);
/* Before the file is closed; its locks end with it. */
void file_lock_close(struct node *node);
/* For a file without a node: until it is closed nobody else uses it. */
int file_lock_alone(struct file *f, struct error **err) MUST_CHECK;

/* file-create.c */
extern const struct option file_create_options[];
struct file_create {
	char *filename;
	uint64_t size;
	int preallocation;
	bool nocow;
};
int file_create(const void *opts, struct edge *edge, struct error **err);

#endif
