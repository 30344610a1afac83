/* SPDX-License-Identifier: MIT */
/*
 * column.c - tables: one list of columns gives text, JSON and help.
 */
#include "cli/column.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wchar.h>

#include "cli/cli.h"

static const struct column *column_find(const struct column *columns,
					const char *name, size_t len)
{
	for (const struct column *c = columns; c->name; c++)
		if (!strncasecmp(c->name, name, len) && !c->name[len])
			return c;
	return NULL;
}

static void table_add(struct table *table, const struct column *column)
{
	unsigned n = 0;

	while (table->shown[n])
		if (table->shown[n++] == column)
			return;
	table->shown[n] = column;
	table->shown[n + 1] = NULL;
}

static void column_unknown(const struct table *table, const char *name)
{
	char known[512] = "";
	struct guess guess = { NULL, 0 };
	size_t at = 0;

	for (const struct column *c = table->columns; c->name; c++) {
		guess_try(&guess, name, c->name);
		at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s",
				       at ? ", " : "", c->name);
	}
	if (guess.name)
		die(EXIT_USAGE, "%s: there is no column '%s'; did you mean "
		    "'%s'?", table->verb, name, guess.name);
	die(EXIT_USAGE, "%s: there is no column '%s', only %s", table->verb,
	    name, known);
}

void table_choose(struct table *table, const char *wanted)
{
	bool more = wanted && *wanted == '+';

	table->shown[0] = NULL;
	for (const struct column *c = table->columns; c->name; c++)
		if (c->usual && (!wanted || more))
			table_add(table, c);
	for (const char *at = wanted ? wanted + more : NULL; at; ) {
		size_t len = strcspn(at, ",");
		const struct column *c = column_find(table->columns, at, len);

		if (!len)
			die(EXIT_USAGE, "%s: --output is A,B,C or +A,B, of "
			    "column names, not '%s'", table->verb, wanted);
		if (!c)
			column_unknown(table, format("%.*s", (int)len, at));
		table_add(table, c);
		at = at[len] ? at + len + 1 : NULL;
	}
}

/* The row's value; NULL where it has none. */
static json_t *column_value(const struct column *c, json_t *row)
{
	const char *dot = strchr(c->path, '.');
	char *first;

	if (!dot)
		return json_object_get(row, c->path);
	first = format("%.*s", (int)(dot - c->path), c->path);
	row = json_object_get(row, first);
	free(first);
	return json_object_get(row, dot + 1);
}

/* To be freed. */
static char *column_text(const struct column *c, json_t *row)
{
	json_t *value = column_value(c, row);
	uint64_t number = (uint64_t)json_integer_value(value);
	char text[32];

	if (!value || json_is_null(value))
		return format("-");
	if (c->kind == COLUMN_TEXT)
		return printable(json_string_value(value));
	if (c->kind == COLUMN_BOOL)
		return format("%s", json_is_true(value) ? "yes" : "-");
	if (c->kind == COLUMN_SIZE)
		return format("%s", human_size(text, number));
	if (c->kind == COLUMN_TIME && !exact_sizes)
		return format("%s", human_time(text, number));
	return format("%llu", (unsigned long long)number);
}

int text_width(const char *text)
{
	const char *end = text + strlen(text);
	mbstate_t state = { 0 };
	int cells = 0;

	while (text < end) {
		wchar_t c = 0;
		size_t len = mbrtowc(&c, text, (size_t)(end - text), &state);
		bool odd = len == (size_t)-1 || len == (size_t)-2;

		cells += odd || wcwidth(c) < 0 ? 1 : wcwidth(c);
		text += odd ? 1 : len;
		if (odd)
			memset(&state, 0, sizeof(state));
	}
	return cells;
}

static bool column_is_right(const struct column *c)
{
	return c->kind == COLUMN_SIZE || c->kind == COLUMN_NUMBER ||
		c->kind == COLUMN_TIME;
}

static void print_cell(const struct column *c, const char *text, int wide,
		       bool last)
{
	int pad = wide - text_width(text);

	if (column_is_right(c))
		printf("%*s%s", pad, "", text);
	else
		printf("%s%*s", text, last ? 0 : pad, "");
	putchar(last ? '\n' : ' ');
}

void table_print(const struct table *table, json_t *rows)
{
	size_t count = json_array_size(rows), columns = 0;
	int wide[COLUMNS_MAX] = { 0 };
	char **cells;

	while (table->shown[columns])
		columns++;
	cells = checked(calloc(count * columns + 1, sizeof(*cells)));
	for (size_t i = 0; i < count * columns; i++) {
		size_t col = i % columns;

		cells[i] = column_text(table->shown[col],
				       json_array_get(rows, i / columns));
		if (text_width(cells[i]) > wide[col])
			wide[col] = text_width(cells[i]);
	}
	for (size_t i = 0; i < columns && table->headings; i++) {
		const char *name = table->shown[i]->name;

		if ((int)strlen(name) > wide[i])
			wide[i] = (int)strlen(name);
	}
	for (size_t i = 0; i < columns && table->headings; i++)
		print_cell(table->shown[i], table->shown[i]->name, wide[i],
			   i + 1 == columns);
	for (size_t i = 0; i < count * columns; i++) {
		size_t col = i % columns;

		print_cell(table->shown[col], cells[i], wide[col],
			   col + 1 == columns);
		free(cells[i]);
	}
	free(cells);
}

static char *lower(const char *name)
{
	char *text = checked(strdup(name));

	for (char *c = text; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return text;
}

static json_t *table_json(const struct table *table, json_t *rows)
{
	json_t *list = json_array(), *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		json_t *object = json_object();

		for (unsigned c = 0; table->shown[c]; c++) {
			json_t *value = column_value(table->shown[c], row);
			char *name = lower(table->shown[c]->name);

			json_object_set(object, name,
					value ? value : json_null());
			free(name);
		}
		json_array_append_new(list, object);
	}
	return list;
}

void table_help(const struct column *columns)
{
	printf("\nColumns (* usual):\n");
	for (const struct column *c = columns; c->name; c++)
		printf("  %c %-14s %s\n", c->usual ? '*' : ' ', c->name,
		       c->help);
}

void table_begin(struct table *table, const struct column *columns,
		 const struct args *args)
{
	*table = (struct table){
		.verb = args->verb->name,
		.columns = columns,
		.headings = !args_given(args, "noheadings"),
	};
	exact_sizes = args_given(args, "bytes");
	if (args_given(args, "output-all") && args_given(args, "output"))
		die(EXIT_USAGE, "%s: --output and --output-all exclude each "
		    "other", table->verb);
	table_choose(table, args_value(args, "output"));
	if (!args_given(args, "output-all"))
		return;
	for (const struct column *c = columns; c->name; c++)
		table_add(table, c);
}

void table_show(const struct table *table, const struct args *args,
		const char *name, json_t *rows)
{
	if (args_given(args, "json"))
		print_json(json_pack("{s:i,s:o}", "schema", 1, name,
				     table_json(table, rows)));
	else if (rows)
		table_print(table, rows);
}
