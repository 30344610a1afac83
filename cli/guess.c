/* SPDX-License-Identifier: MIT */
/*
 * guess.c - which of the words that there are was meant by one that is not.
 */
#include <ctype.h>
#include <string.h>

#include "cli/cli.h"

#define WORD_MAX 20u
/* farther is no guess any more */
#define FARTHEST 2u

static bool same_letter(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* How many letters differ, are missing or too many; capitals do not count. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[WORD_MAX + 1], before, above;
	size_t la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	for (unsigned j = 0; j <= lb; j++)
		row[j] = j;
	for (unsigned i = 1; i <= la; i++) {
		before = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			unsigned best = before +
				!same_letter(a[i - 1], b[j - 1]);

			above = row[j];
			if (above + 1 < best)
				best = above + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			before = above;
			row[j] = best;
		}
	}
	return row[lb];
}

void guess_try(struct guess *guess, const char *word, const char *name)
{
	unsigned d = distance(word, name);

	/* of a number, and of what has nothing else in common, is no guess */
	if (isdigit((unsigned char)*word) || d > FARTHEST ||
	    d + 1 >= strlen(word) || (guess->name && d >= guess->distance))
		return;
	guess->name = name;
	guess->distance = d;
}
