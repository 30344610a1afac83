/* SPDX-License-Identifier: MIT */
/*
 * ref.c - who has which reference, in builds with a sanitizer (ref.h). Any
 * thread, each with counts of its own.
 */
#include "runtime/ref.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef REF_NOTES

struct ref_note {
	const char *owner, *file;
	int line;
	struct ref_note *next;
};

void ref_note(struct ref *ref, const char *owner, const char *file, int line)
{
	struct ref_note *note = malloc(sizeof(*note));

	if (!note)
		abort();
	*note = (struct ref_note){ owner, file, line, ref->notes };
	ref->notes = note;
}

void ref_unnote(struct ref *ref, const char *owner)
{
	struct ref_note **at = &ref->notes, *note;

	while (*at && strcmp((*at)->owner, owner))
		at = &(*at)->next;
	note = *at;
	if (!note)
		ref_blame(ref, owner);
	*at = note->next;
	free(note);
}

void ref_blame(const struct ref *ref, const char *what)
{
	fprintf(stderr, "%s: %u references\n", what, ref->count);
	for (const struct ref_note *n = ref->notes; n; n = n->next)
		fprintf(stderr, "\t%s, taken at %s:%d\n", n->owner, n->file,
			n->line);
	abort();
}

#endif
