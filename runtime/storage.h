/* SPDX-License-Identifier: MIT */
/*
 * storage.h - calls that wait for storage, on helper threads, so many at a time
 * for each storage: one that is dead does not use up the helpers (A38).
 *
 * A storage is a mounted file system or a block device. Storages are never
 * freed: there are few. Any thread.
 */
#ifndef RUNTIME_STORAGE_H
#define RUNTIME_STORAGE_H

#include "runtime/thread.h"

struct storage;

/* Helpers that one storage has at most; more calls wait in line. */
#define STORAGE_CALLS_MAX 8u
#define STORAGE_TEXT_MAX 320

/*
 * Runs fn(arg) on a helper thread and waits for it, as co_blocking. Where as
 * many calls as may be are under way, and for so long none has come back, the
 * storage is silent: fn is not run, and the storage returned. Else NULL.
 * storage NULL: a call that waits for no storage. Coroutine.
 */
struct storage *co_storage_call(struct storage *storage, void (*fn)(void *arg),
				void *arg) MUST_CHECK;
/*
 * The same for what a path leads to: first finds out where it lies, without
 * asking a storage that is silent; a path that leads nowhere lies where it
 * ends. fn uses the path itself.
 */
struct storage *co_storage_call_at(const char *path, void (*fn)(void *arg),
				   void *arg) MUST_CHECK;
/* The same, but never refused: it waits in line. What must be done in the end,
 * closing above all. */
void co_storage_call_always(struct storage *storage, void (*fn)(void *arg),
			    void *arg);
/* Who it is and since when it is silent. Returns text. */
const char *storage_tell(struct storage *storage, char text[STORAGE_TEXT_MAX]);
/*
 * Why a call failed, for users: -ETIMEDOUT is the storage that refused this
 * coroutine's last call, asked before it waits for anything else; others are
 * strerror's. Returns text or a static one.
 */
const char *storage_why(int ret, char text[STORAGE_TEXT_MAX]);
/* From when on a storage is silent; default 10 s. Main thread, before others
 * call. */
void storage_set_patience(uint64_t ns);

#endif
