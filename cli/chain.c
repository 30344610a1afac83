/* SPDX-License-Identifier: MIT */
/*
 * chain.c - which image a device shows, whatever filters are above it (G5): of
 * the list that query-named-block-nodes gives.
 */
#include <string.h>

#include "cli/cli.h"

bool driver_is_filter(const char *driver)
{
	size_t len = strlen(driver);
	const char *at = FILTERS;

	for (; at; at = strchr(at, '|')) {
		at += *at == '|';
		if (!strncmp(at, driver, len) && (!at[len] || at[len] == '|'))
			return true;
	}
	return false;
}

static bool shows_another(const json_t *node)
{
	return get_bool(node, "implicit") ||
	       driver_is_filter(get_string(node, "drv"));
}

/* What a filter filters, or the file of a format; NULL: it has neither. */
static json_t *below(json_t *nodes, const json_t *node)
{
	json_t *children = json_object_get(node, "children");
	json_t *child = find_by(children, "child", "file");

	if (!child && shows_another(node))
		child = json_array_get(children, 0);
	return find_by(nodes, "node-name", get_string(child, "node-name"));
}

json_t *filtered_node(json_t *nodes, const json_t *node)
{
	return shows_another(node) ? below(nodes, node) : NULL;
}

const char *temporary_place(const json_t *node)
{
	return get_string(node, "temporary");
}

/* Whoever asks for an image means none that is thrown away. */
json_t *image_node(json_t *nodes, const char *name)
{
	json_t *node = find_by(nodes, "node-name", name), *next = node;

	while (next) {
		node = next;
		next = shows_another(node) ? below(nodes, node) :
			*temporary_place(node) ? backing_node(nodes, node) :
			NULL;
	}
	return node;
}

json_t *backing_node(json_t *nodes, const json_t *image)
{
	json_t *child = find_by(json_object_get(image, "children"), "child",
				"backing");

	return find_by(nodes, "node-name", get_string(child, "node-name"));
}

const char *deleted_mark(json_t *nodes, const json_t *node)
{
	for (; node; node = below(nodes, node))
		if (get_bool(json_object_get(node, "image"), "deleted"))
			return " (deleted)";
	return "";
}

char *image_file(json_t *nodes, const json_t *image)
{
	const char *file = get_string(image, "file");
	const json_t *node = image;

	/* one that no single name opens has a file all the same */
	while (!strncmp(file, "json:", strlen("json:")) &&
	       (node = below(nodes, node)))
		file = get_string(node, "file");
	return format("%s%s", file, deleted_mark(nodes, image));
}

void add_image(json_t *row, json_t *nodes)
{
	json_t *image = image_node(nodes, get_string(row, "node-name"));

	if (!image)
		return;
	json_object_set(row, "format", json_object_get(image, "drv"));
	json_object_set_new(row, "file", json_text(format("%s%s",
			    image_file(nodes, image), get_bool(row,
			    "temporary") ? " (temporary)" : "")));
}
