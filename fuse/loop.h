/* SPDX-License-Identifier: MIT */
/*
 * loop.h - a loop device on a file: /dev/loopN, for kernels that have no other
 * way to make a disk of what a process serves.
 *
 * Main thread, coroutines. The file is on a mount of ours: each system call
 * that reads it waits for our own I/O threads, so they all run on helpers, and
 * none is waited for longer than the file makes progress.
 */
#ifndef FUSE_LOOP_H
#define FUSE_LOOP_H

#include "export/sole.h"
#include "graph/export.h"

struct loop {
	struct disk disk;	/* name empty: there is no loop device */
	const char *file;	/* its path, as users see it */
	bool writable, partition_scan;
	uint32_t wanted;	/* its number, or DEVICE_ID_ANY */
	uint32_t block_size;	/* bytes */
	/* The kernel's, another each time that the device is put on a file;
	 * path and number may be somebody else's by now. 0: not known. */
	uint64_t seq;
	dev_t dev;		/* of the file's file system */
	char name[64];		/* under /dev/blkgraph */
	bool stuck;		/* in the kernel, on its way out */
	bool attaching;		/* what makes it is late, and knows this */
	bool direct;		/* past the page cache of the file */
	const char *note;	/* what the user should know; static */
};

/*
 * Makes the device, called `name` under /dev/blkgraph; returns when it can be
 * used. abort: ends every request to the file with an error, for when the file
 * does not answer; called on a helper thread. On failure nothing is left, or it
 * is attaching still: then it stays where it is, and goes when it comes.
 */
int co_loop_attach(struct loop *loop, const char *name,
		   void (*abort)(struct loop *loop), struct error **err)
	MUST_CHECK;
/* C9: refused while somebody has it open, naming him. When it returns 0 the
 * kernel has written and closed the file. */
int co_loop_detach(struct loop *loop, struct error **err) MUST_CHECK;
/* The file has another size: so has the device. */
int co_loop_resize(struct loop *loop, struct error **err) MUST_CHECK;
/* Whether it is still on the file: somebody may have taken it away. */
bool co_loop_there(const struct loop *loop);
/* Nobody is to use it any more: it goes now, or when its last user closes it.
 * Who asks keeps the loop. */
void co_loop_let_go(const struct loop *loop);
/* Whoever uses it: it goes when he closes it. The file gives errors. */
void co_loop_abandon(struct loop *loop);

/* Blocking, for helper threads. */

/* Whether this machine has loop devices, and lets us. */
int loop_available(struct error **err) MUST_CHECK;
/* Of a dead daemon. 0 or a positive errno. */
int loop_clear(const char *disk) MUST_CHECK;
/* Whether it is on a file, and was put there as its number says. */
bool loop_is(const char *disk, uint64_t seq);

#endif
