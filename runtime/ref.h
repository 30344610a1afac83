/* SPDX-License-Identifier: MIT */
/*
 * ref.h - the count of references to something that lives across waits (A32).
 *
 * A count belongs to one thread. An owner says who it is in one word when it
 * takes a reference, and the same when it drops it. Builds with a sanitizer
 * keep a note of each: who, and where it was taken; they stop when a reference
 * is dropped that nobody of that name has, and ref_blame prints what is left.
 */
#ifndef RUNTIME_REF_H
#define RUNTIME_REF_H

#include <stdbool.h>

#include "runtime/compiler.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REF_NOTES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define REF_NOTES 1
#endif
#endif

struct ref_note;

/* Zeroed: nobody has any. */
struct ref {
	unsigned count;
#ifdef REF_NOTES
	struct ref_note *notes;		/* latest first */
#endif
};

#ifdef REF_NOTES
void ref_note(struct ref *ref, const char *owner, const char *file, int line);
void ref_unnote(struct ref *ref, const char *owner);
/* Prints who has references to `what`, and ends the process. */
void ref_blame(const struct ref *ref, const char *what);
#else
static inline void ref_note(struct ref *ref, const char *owner,
			    const char *file, int line)
{
	(void)ref;
	(void)owner;
	(void)file;
	(void)line;
}

static inline void ref_unnote(struct ref *ref, const char *owner)
{
	(void)ref;
	(void)owner;
}

static inline void ref_blame(const struct ref *ref, const char *what)
{
	(void)ref;
	(void)what;
}
#endif

static inline void ref_take(struct ref *ref, const char *owner,
			    const char *file, int line)
{
	ref->count++;
	ref_note(ref, owner, file, line);
}

#define ref_get(ref, owner) ref_take(ref, owner, __FILE__, __LINE__)

/* True: that was the last one. */
static inline bool ref_put(struct ref *ref, const char *owner)
{
	assert(ref->count);
	ref_unnote(ref, owner);
	return --ref->count == 0;
}

#endif
