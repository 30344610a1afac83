/* SPDX-License-Identifier: MIT */
/*
 * human.c - sizes and times for people, JSON for programs.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

const char *human_size(char text[16], uint64_t bytes)
{
	static const char units[] = "BKMGTPE";
	unsigned unit = 0;
	uint64_t whole = bytes, tenths = 0;

	for (; whole >= 1024; unit++) {
		tenths = whole % 1024 * 10 / 1024;
		whole /= 1024;
	}
	if (tenths && whole < 100)
		snprintf(text, 16, "%u.%u%c", (unsigned)whole,
			 (unsigned)tenths, units[unit]);
	else
		snprintf(text, 16, "%u%c", (unsigned)whole, units[unit]);
	return text;
}

const char *human_time(char text[16], uint64_t ns)
{
	if (ns < 1000000)
		snprintf(text, 16, "%.1f us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(text, 16, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(text, 16, "%.2f s", (double)ns / 1e9);
	return text;
}

char *printable(const char *text)
{
	char *copy = checked(strdup(text));

	for (char *c = copy; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	return copy;
}

void print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(value);
}
