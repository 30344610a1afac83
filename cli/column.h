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

/* Those of the verbs; each ends with name NULL. */
extern const struct column list_columns[], map_columns[], stats_columns[];

#define COLUMNS_MAX 32

struct table {
	const char *verb;		/* for its errors */
	const struct column *columns;	/* ends with name NULL */
	const struct column *shown[COLUMNS_MAX + 1];	/* ends with NULL */
	bool headings;
};

struct args;

/* wanted: "NAME,SIZE", "+ZC", or NULL for the usual ones. Dies on an unknown
 * name, naming the known ones. */
void table_choose(struct table *table, const char *wanted);
void table_print(const struct table *table, json_t *rows);
/* As the options --output, --bytes and --noheadings want it. */
void table_begin(struct table *table, const struct column *columns,
		 const struct args *args);
/* Prints it; with --json as the array `name` of an object. rows: NULL where
 * there is no daemon, and so nothing to show; not even headings. */
void table_show(const struct table *table, const struct args *args,
		const char *name, json_t *rows);
void table_help(const struct column *columns);

#endif
