/* SPDX-License-Identifier: MIT */
/*
 * graph.c - blkgraph graph: the nodes below devices, as a tree, as JSON or as
 * a picture for dot(1).
 */
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

/* What the daemon knows, put together. */
struct picture {
	json_t *exports;	/* query-block-exports */
	json_t *nodes;		/* query-named-block-nodes */
	json_t *edges;		/* names instead of ids */
	const char *const *lines;
};

enum { LINE_MORE, LINE_LAST, LINE_PASS, LINE_NONE };

static const char *const utf8_lines[] = {
	"├─ ", "└─ ", "│  ", "   "
};
static const char *const ascii_lines[] = { "|- ", "`- ", "|  ", "   " };

/* --- what there is ------------------------------------------------------ */

static const char *name_of_id(json_t *things, uint64_t id)
{
	json_t *thing;
	size_t i;

	json_array_foreach(things, i, thing)
		if (get_uint(thing, "id") == id)
			return get_string(thing, "name");
	return "";
}

/* Edges between nodes, by their names; those of exports are left out. */
static json_t *node_edges(json_t *graph, json_t *nodes)
{
	json_t *things = json_object_get(graph, "nodes"), *edge;
	json_t *list = json_array();
	size_t i;

	json_array_foreach(json_object_get(graph, "edges"), i, edge) {
		const char *parent = name_of_id(things,
						get_uint(edge, "parent"));
		const char *child = name_of_id(things,
					       get_uint(edge, "child"));

		if (!find_by(nodes, "node-name", parent))
			continue;
		json_array_append_new(list, json_pack(
			"{s:s,s:s,s:s,s:O,s:O}", "parent", parent, "child",
			child, "name", get_string(edge, "name"),
			"perm", json_object_get(edge, "perm"),
			"shared-perm", json_object_get(edge, "shared-perm")));
	}
	return list;
}

static void picture_get(struct picture *p, enum connect_mode mode)
{
	json_t *graph;

	if (!client_connect(mode)) {
		p->exports = checked(json_array());
		p->nodes = checked(json_array());
		p->edges = checked(json_array());
		return;
	}
	p->exports = client_call("query-block-exports", NULL, NULL);
	p->nodes = client_call("query-named-block-nodes",
			       json_pack("{s:b}", "flat", 1), NULL);
	graph = client_call("x-debug-query-block-graph", NULL, NULL);
	p->edges = node_edges(graph, p->nodes);
	p->lines = strcmp(nl_langinfo(CODESET), "UTF-8") ? ascii_lines :
		utf8_lines;
}

/* --- limiting it to one device ------------------------------------------ */

static void mark_below(const struct picture *p, const char *name)
{
	json_t *node = find_by(p->nodes, "node-name", name), *edge;
	size_t i;

	if (!node || get_bool(node, "marked"))
		return;
	json_object_set_new(node, "marked", json_true());
	json_array_foreach(p->edges, i, edge)
		if (!strcmp(get_string(edge, "parent"), name))
			mark_below(p, get_string(edge, "child"));
}

static bool edge_is_marked(const struct picture *p, const json_t *edge)
{
	json_t *node = find_by(p->nodes, "node-name",
			       get_string(edge, "parent"));

	return get_bool(node, "marked");
}

/* Keeps the export, the nodes below it and the edges between them. */
static void picture_limit(struct picture *p, const char *name)
{
	json_t *exp = find_export(p->exports, name), *nodes = json_array();
	json_t *edges = json_array(), *one;
	size_t i;

	if (!exp)
		die(EXIT_NOT_FOUND, "there is no device '%s'", name);
	mark_below(p, get_string(exp, "node-name"));
	json_array_foreach(p->edges, i, one)
		if (edge_is_marked(p, one))
			json_array_append(edges, one);
	json_array_foreach(p->nodes, i, one)
		if (get_bool(one, "marked"))
			json_array_append(nodes, one);
	json_array_foreach(nodes, i, one)
		json_object_del(one, "marked");
	p->exports = json_pack("[O]", exp);
	p->nodes = nodes;
	p->edges = edges;
}

json_t *nodes_below(const char *device)
{
	struct picture p;

	picture_get(&p, CONNECT_ONLY);
	picture_limit(&p, device);
	return p.nodes;
}

/* --- drawing ------------------------------------------------------------ */

static void draw_node_text(const struct picture *p, json_t *node)
{
	uint64_t size = get_uint(json_object_get(node, "image"),
				 "virtual-size");
	const char *file = get_string(node, "file");
	char text[32];

	/* of a node that no single name opens: the tree says it better */
	if (!strncmp(file, "json:", strlen("json:")))
		file = "";
	printf("%s  %s  %s%s%s%s%s%s%s", get_string(node, "node-name"),
	       get_string(node, "drv"), human_size(text, size),
	       get_bool(node, "ro") ? "  read-only" : "",
	       get_bool(node, "implicit") ? "  implicit" : "",
	       *temporary_place(node) ? "  temporary" : "",
	       *file ? "  " : "", printable(file),
	       *file ? deleted_mark(p->nodes, node) : "");
}

static void draw_below(const struct picture *p, const char *name,
		       const char *indent);

static void draw_node(const struct picture *p, const char *edge,
		      const char *name, const char *indent, bool last)
{
	json_t *node = find_by(p->nodes, "node-name", name);
	char *deeper = format("%s%s", indent,
			      p->lines[last ? LINE_NONE : LINE_PASS]);

	printf("%s%s%s%s", indent, p->lines[last ? LINE_LAST : LINE_MORE],
	       edge, *edge ? ": " : "");
	draw_node_text(p, node);
	/* what several images share is drawn once */
	if (get_bool(node, "drawn")) {
		printf("  (as above)\n");
	} else {
		putchar('\n');
		json_object_set_new(node, "drawn", json_true());
		draw_below(p, name, deeper);
	}
	free(deeper);
}

static void draw_below(const struct picture *p, const char *name,
		       const char *indent)
{
	json_t *edge, *last = NULL;
	size_t i;

	json_array_foreach(p->edges, i, edge)
		if (!strcmp(get_string(edge, "parent"), name))
			last = edge;
	json_array_foreach(p->edges, i, edge)
		if (!strcmp(get_string(edge, "parent"), name))
			draw_node(p, get_string(edge, "name"),
				  get_string(edge, "child"), indent,
				  edge == last);
}

static void draw_export(const struct picture *p, json_t *exp)
{
	char text[32];

	printf("%s  %s  %s%s\n", get_string(exp, "device"),
	       get_string(exp, "id"), human_size(text, get_uint(exp, "size")),
	       get_bool(exp, "writable") ? "" : "  read-only");
	draw_node(p, "", get_string(exp, "node-name"), "", true);
}

/* Nodes that nothing is above of, and no device shows. */
static void draw_others(const struct picture *p)
{
	json_t *node;
	size_t i;

	json_array_foreach(p->nodes, i, node) {
		const char *name = get_string(node, "node-name");

		if (find_by(p->edges, "child", name) ||
		    find_by(p->exports, "node-name", name))
			continue;
		draw_node_text(p, node);
		putchar('\n');
		draw_below(p, name, "");
	}
}

/* --- for dot ------------------------------------------------------------ */

/* Quoted as dot wants it. */
static void print_quoted(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static void print_dot_edge(const char *from, const char *to, const char *label)
{
	printf("\t");
	print_quoted(from);
	printf(" -> ");
	print_quoted(to);
	printf(" [label=");
	print_quoted(label);
	printf("];\n");
}

static void print_dot(const struct picture *p)
{
	json_t *one;
	size_t i;

	printf("digraph blkgraph {\n");
	json_array_foreach(p->exports, i, one) {
		printf("\t");
		print_quoted(get_string(one, "device"));
		printf(" [shape=box];\n");
		print_dot_edge(get_string(one, "device"),
			       get_string(one, "node-name"), "");
	}
	json_array_foreach(p->nodes, i, one) {
		char *label = format("%s\n%s", get_string(one, "node-name"),
				     get_string(one, "drv"));

		printf("\t");
		print_quoted(get_string(one, "node-name"));
		printf(" [label=");
		print_quoted(label);
		printf("];\n");
		free(label);
	}
	json_array_foreach(p->edges, i, one)
		print_dot_edge(get_string(one, "parent"),
			       get_string(one, "child"),
			       get_string(one, "name"));
	printf("}\n");
}

/* graphviz's program draws what --dot prints. */
static int print_svg(const struct picture *p)
{
	char name[] = "dot", language[] = "-Tsvg";
	char *const words[] = { name, language, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], error, status;
	pid_t dot;

	if (pipe2(ends, O_CLOEXEC) || posix_spawn_file_actions_init(&actions) ||
	    posix_spawn_file_actions_adddup2(&actions, ends[0], 0))
		die(EXIT_ERROR, "graph: no pipe to dot: %s", strerror(errno));
	fflush(stdout);
	error = posix_spawnp(&dot, "dot", &actions, NULL, words, environ);
	if (error == ENOENT)
		die(EXIT_ERROR, "graph: --svg needs the program 'dot' of"
		    " graphviz, which is not installed; --dot does not");
	if (error)
		die(EXIT_ERROR, "graph: dot cannot be run: %s",
		    strerror(error));
	/* should it end before it has read all, its status says so */
	signal(SIGPIPE, SIG_IGN);
	dup2(ends[1], 1);
	close(ends[1]);
	print_dot(p);
	fflush(stdout);
	close(1);
	if (waitpid(dot, &status, 0) < 0 || status)
		die(EXIT_ERROR, "graph: dot has failed");
	return EXIT_DONE;
}

int verb_graph(const struct args *args)
{
	struct picture p;
	json_t *exp;
	size_t i;

	if (args_given(args, "json") && args_given(args, "dot"))
		die(EXIT_USAGE, "graph: --json and --dot exclude each other");
	if (args_given(args, "svg") &&
	    (args_given(args, "json") || args_given(args, "dot")))
		die(EXIT_USAGE, "graph: --svg and --%s exclude each other",
		    args_given(args, "json") ? "json" : "dot");
	exact_sizes = args_given(args, "bytes");
	picture_get(&p, args->count ? CONNECT_ONLY : CONNECT_IF_THERE);
	if (args->count)
		picture_limit(&p, device_name(args->operands[0]));
	if (args_given(args, "json")) {
		print_json(json_pack("{s:i,s:o,s:o,s:o}", "schema", 1,
				     "exports", p.exports, "nodes", p.nodes,
				     "edges", p.edges));
	} else if (args_given(args, "dot")) {
		print_dot(&p);
	} else if (args_given(args, "svg")) {
		return print_svg(&p);
	} else {
		json_array_foreach(p.exports, i, exp)
			draw_export(&p, exp);
		if (!args->count)
			draw_others(&p);
	}
	return EXIT_DONE;
}
