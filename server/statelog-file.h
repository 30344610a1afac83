/* SPDX-License-Identifier: MIT */
/*
 * statelog-file.h - the state log's two files: the one that counts, and a spare
 * of the same size that the next generation is written into. Both consist of
 * blocks that were written, so that on a full disk what needs no more room
 * (records of what goes, marks of a point of no return) is still written, and
 * durable.
 *
 * What always holds: the file under the log's own name holds a good generation
 * and whole records behind it; the spare is written and synced whole before
 * the two change names. What lies behind the last record is zero, or the torn
 * end of a write.
 *
 * Everything here blocks: helper threads, one call at a time.
 */
#ifndef SERVER_STATELOG_FILE_H
#define SERVER_STATELOG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct statelog_half {
	int fd;			/* -1: not there */
	uint64_t room;		/* bytes whose blocks are written */
	uint64_t used;		/* bytes that are not zero, at most */
};

struct statelog_file {
	char *path, *path_spare;
	struct statelog_half now, spare;
	bool made;		/* path is of our making */
	bool unsure;		/* a change of names may not be durable */
};

void statelog_file_init(struct statelog_file *f, const char *path);
/* remove: the files too. */
void statelog_file_close(struct statelog_file *f, bool remove);
void statelog_file_free(struct statelog_file *f);	/* closed before */

/*
 * Adds a record where it leaves `keep` bytes of room, in both files when
 * `whole` is what a generation would take now. 0; -ENOSPC: it does not fit; or
 * another negative errno: then what the file holds is not known, and it has to
 * be written anew.
 */
int statelog_file_append(struct statelog_file *f, const char *text, size_t len,
			 uint64_t whole, uint64_t keep)
	__attribute__((warn_unused_result));
/*
 * A new generation, with `keep` bytes of room left in both files: they grow
 * where that is not there. Failing leaves the old one as it was.
 */
int statelog_file_anew(struct statelog_file *f, const char *text, size_t len,
		       uint64_t keep) __attribute__((warn_unused_result));

/* For tests: asked before each system call that changes a file or a name; what
 * it returns, a positive errno, is what the call fails with. */
extern int (*statelog_file_fault)(const char *call);

#endif
