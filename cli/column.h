/* SPDX-License-Identifier: MIT */
/*
 * column.h - tables: one list of columns gives text, JSON and help.
 */
#ifndef CLI_COLUMN_H
#define CLI_COLUMN_H

#include <jansson.h>
#include <stdbool.h>

enum column_kind {
	COLUMN_TEXT,
	COLUMN_SIZE,	/* bytes: for people unless they want them exact */
	COLUMN_TIME,	/* ns, likewise */
	COLUMN_NUMBER,
	COLUMN_BOOL,	/* "yes", "-" */
};

struct column {
	const char *name;	/* upper case; in JSON lower case */
	enum column_kind kind;
	bool usual;		/* shown without -o */
	const char *path;	/* member, or member.member, of a row */
	const char *help;
};

#define COLUMNS_MAX 32

struct table {
	const struct column *columns;	/* ends with name NULL */
	const struct column *shown[COLUMNS_MAX + 1];	/* ends with NULL */
	bool exact, headings;
};

/* wanted: "NAME,SIZE", "+ZC", or NULL for the usual ones. Dies on an unknown
 * name, naming the known ones. */
void table_choose(struct table *table, const char *wanted);
void table_print(const struct table *table, json_t *rows);
/* A new array of objects with the columns shown as members. */
json_t *table_json(const struct table *table, json_t *rows);
void table_help(const struct column *columns);

#endif
