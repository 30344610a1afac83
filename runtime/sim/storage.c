/* SPDX-License-Identifier: MIT */
/*
 * storage.c - calls that wait for storage, simulated: they take a while, and
 * none is refused.
 */
#include "runtime/storage.h"

#include <string.h>

#include "runtime/thread.h"

struct storage *co_storage_call(struct storage *storage, void (*fn)(void *arg),
				void *arg)
{
	(void)storage;
	co_blocking(fn, arg);
	return NULL;
}

struct storage *co_storage_call_at(const char *path, void (*fn)(void *arg),
				   void *arg)
{
	(void)path;
	co_blocking(fn, arg);
	return NULL;
}

void co_storage_call_always(struct storage *storage, void (*fn)(void *arg),
			    void *arg)
{
	(void)storage;
	co_blocking(fn, arg);
}

const char *storage_tell(struct storage *storage, char text[STORAGE_TEXT_MAX])
{
	(void)storage;
	text[0] = '\0';
	return text;
}

const char *storage_why(int ret, char text[STORAGE_TEXT_MAX])
{
	(void)text;
	return strerror(-ret);
}

void storage_set_patience(uint64_t ns)
{
	(void)ns;
}
