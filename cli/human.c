/* SPDX-License-Identifier: MIT */
/*
 * human.c - sizes and times for people, and from them; JSON for programs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cli/cli.h"

bool exact_sizes;

const char *human_size(char text[32], uint64_t bytes)
{
	static const char units[] = "BKMGTPE";
	unsigned unit = 0;
	uint64_t whole = bytes, tenths = 0;

	if (exact_sizes) {
		snprintf(text, 32, "%llu", (unsigned long long)bytes);
		return text;
	}
	for (; whole >= 1024; unit++) {
		tenths = whole % 1024 * 10 / 1024;
		whole /= 1024;
	}
	if (tenths && whole < 100)
		snprintf(text, 32, "%u.%u%c", (unsigned)whole,
			 (unsigned)tenths, units[unit]);
	else
		snprintf(text, 32, "%u%c", (unsigned)whole, units[unit]);
	return text;
}

/* What stands behind a number, as bytes; 0: it is no unit. */
static uint64_t unit_bytes(const char *unit)
{
	static const char letters[] = "BKMGTPE";
	const char *letter = *unit ? strchr(letters, *unit & ~0x20) : letters;
	unsigned power;
	uint64_t bytes = 1;

	if (!letter)
		return 0;
	power = (unsigned)(letter - letters);
	if (!*unit || !unit[1] || (power && !strcasecmp(unit + 1, "iB")))
		return UINT64_C(1) << 10 * power;
	if (!power || strcasecmp(unit + 1, "B"))
		return 0;
	while (power--)
		bytes *= 1000;
	return bytes;
}

bool size_parse(const char *text, uint64_t *size)
{
	unsigned __int128 bytes, part = 0, scale = 1;
	uint64_t unit;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	bytes = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end == '.') {
		size_t digits = strspn(++end, "0123456789");

		if (!digits || digits > 18)
			return false;
		for (; digits--; end++, scale *= 10)
			part = part * 10 + (unsigned)(*end - '0');
	}
	unit = unit_bytes(end);
	/* no part of a byte */
	if (!unit || (scale > 1 && unit == 1))
		return false;
	bytes = bytes * unit + part * unit / scale;
	if (bytes > INT64_MAX)
		return false;
	*size = (uint64_t)bytes;
	return true;
}

const char *human_time(char text[32], uint64_t ns)
{
	if (ns < 1000000)
		snprintf(text, 32, "%.1f us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(text, 32, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(text, 32, "%.2f s", (double)ns / 1e9);
	return text;
}

const char *local_time(char text[32], time_t seconds)
{
	struct tm tm;

	if (!localtime_r(&seconds, &tm) ||
	    !strftime(text, 32, "%Y-%m-%d %H:%M:%S", &tm))
		return "-";
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
	char *text = checked(json_write(value, JSON_INDENT(2)));

	puts(text);
	free(text);
	json_decref(value);
}

char *pause_words(const json_t *result)
{
	unsigned long long requests = get_uint(result, "in-flight");
	char text[32];

	return format("I/O was held for %s, %llu request%s in flight",
		      human_time(text, get_uint(result, "pause-ns")), requests,
		      requests == 1 ? "" : "s");
}
