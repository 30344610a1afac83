/* SPDX-License-Identifier: MIT */
/*
 * graph.c - blkgraph graph: the nodes below devices, as a tree, as JSON or as
 * a picture for dot(1).
 *
 * Watched, it lives long: what each look asks for is freed, and a tree is made
 * anew only where something that it shows has changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

/* What the daemon knows, put together. */
struct picture {
	json_t *exports;	/* query-block-exports */
	json_t *nodes;		/* query-named-block-nodes */
	json_t *edges;		/* names instead of ids; exports' have none */
	const char *const *lines;
	int width;		/* of the terminal; 0: there is none */
	bool permissions, limits;	/* are shown */
};

/* How often a graph that is watched is looked at: events tell of some changes
 * alone. */
#define WATCH_MS 500

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

/* Of "export 'd0'". */
static void root_permissions(json_t *exports, const char *root,
			     const json_t *edge)
{
	json_t *exp;
	size_t i;

	json_array_foreach(exports, i, exp) {
		char *name = format("export '%s'", get_string(exp, "id"));

		if (!strcmp(root, name)) {
			json_object_set(exp, "perm",
					json_object_get(edge, "perm"));
			json_object_set(exp, "shared-perm",
					json_object_get(edge, "shared-perm"));
		}
		free(name);
	}
}

/* Edges between nodes, by their names; those of exports are left out, but to
 * find what an export may do. */
static json_t *node_edges(json_t *graph, json_t *nodes, json_t *exports)
{
	json_t *things = json_object_get(graph, "nodes"), *edge;
	json_t *list = json_array();
	size_t i;

	json_array_foreach(json_object_get(graph, "edges"), i, edge) {
		const char *parent = name_of_id(things,
						get_uint(edge, "parent"));
		const char *child = name_of_id(things,
					       get_uint(edge, "child"));

		if (!find_by(nodes, "node-name", parent)) {
			root_permissions(exports, parent, edge);
			continue;
		}
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
	p->edges = node_edges(graph, p->nodes, p->exports);
	json_decref(graph);
	p->lines = strcmp(nl_langinfo(CODESET), "UTF-8") ? ascii_lines :
		utf8_lines;
}

static void picture_free(struct picture *p)
{
	json_decref(p->exports);
	json_decref(p->nodes);
	json_decref(p->edges);
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
	exp = json_pack("[O]", exp);
	picture_free(p);
	p->exports = exp;
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

/* "perm=rw-s shared=r-u-" of an edge, or of an export. */
static void draw_permissions(FILE *line, const json_t *edge)
{
	static const struct { const char *name; char letter; } all[] = {
		{ "consistent-read", 'r' }, { "write", 'w' },
		{ "write-unchanged", 'u' }, { "resize", 's' },
	};
	static const char *const which[] = { "perm", "shared-perm" };

	for (size_t i = 0; i < 2; i++) {
		json_t *perms = json_object_get(edge, which[i]), *perm;
		char text[5] = "----";
		size_t k;

		json_array_foreach(perms, k, perm)
			for (size_t a = 0; a < 4; a++)
				if (!strcmp(json_string_value(perm),
					    all[a].name))
					text[a] = all[a].letter;
		fprintf(line, "%s=%s", i ? " shared" : "  perm", text);
	}
}

/* What the line has room for of a file's name: its end says most. */
static void draw_file(const struct picture *p, const char *line,
		      const char *file)
{
	int room = p->width - text_width(line) - 2;
	const char *rest = file;

	if (!p->width || text_width(file) <= room || room < 10) {
		printf("%s  %s\n", line, file);
		return;
	}
	while (text_width(rest) > room - 3) {
		rest++;
		/* to where the next character begins */
		while ((*rest & 0xc0) == 0x80)
			rest++;
	}
	printf("%s  ...%s\n", line, rest);
}

/* before: what stands before its name; edge: what leads to it, or NULL. */
static void draw_node_line(const struct picture *p, const char *before,
			   const json_t *edge, json_t *node, bool again)
{
	uint64_t size = get_uint(json_object_get(node, "image"),
				 "virtual-size");
	const char *drv = get_string(node, "drv");
	bool implicit = get_bool(node, "implicit");
	bool filter = driver_is_filter(drv);
	const char *file = get_string(node, "file");
	char *text = NULL, human[32];
	size_t len;
	FILE *line = checked(open_memstream(&text, &len));

	/* of a node that no single name opens: the tree says it better */
	if (!strncmp(file, "json:", strlen("json:")))
		file = "";
	fprintf(line, "%s%s  %s  %s%s%s%s%s", before,
		get_string(node, "node-name"), drv, human_size(human, size),
		get_bool(node, "ro") ? "  read-only" : "",
		implicit ? "  implicit" : "",
		!filter ? "" : implicit ? " filter" : "  filter",
		*temporary_place(node) ? "  temporary" : "");
	if (p->limits && *get_string(node, "group"))
		fprintf(line, "  %s, of group '%s'", limits_words(node),
			get_string(node, "group"));
	if (p->permissions && edge)
		draw_permissions(line, edge);
	if (again)
		fprintf(line, "  (as above)");
	if (fclose(line))
		checked(NULL);
	if (*file)
		draw_file(p, text, format("%s%s", printable(file),
					  deleted_mark(p->nodes, node)));
	else
		puts(text);
	free(text);
}

static void draw_below(const struct picture *p, const char *name,
		       const char *indent);

/* edge: what leads to the node of that name; role: its name, or "". */
static void draw_node(const struct picture *p, const json_t *edge,
		      const char *role, const char *name, const char *indent,
		      bool last)
{
	json_t *node = find_by(p->nodes, "node-name", name);
	char *deeper = format("%s%s", indent,
			      p->lines[last ? LINE_NONE : LINE_PASS]);
	char *before = format("%s%s%s%s", indent,
			      p->lines[last ? LINE_LAST : LINE_MORE], role,
			      *role ? ": " : "");
	bool again = get_bool(node, "drawn");

	/* what several images share is drawn once */
	draw_node_line(p, before, edge, node, again);
	if (!again) {
		json_object_set_new(node, "drawn", json_true());
		draw_below(p, name, deeper);
	}
	free(before);
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
			draw_node(p, edge, get_string(edge, "name"),
				  get_string(edge, "child"), indent,
				  edge == last);
}

static void draw_export(const struct picture *p, json_t *exp)
{
	char text[32];

	printf("%s  %s  %s%s\n", get_string(exp, "device"),
	       get_string(exp, "id"), human_size(text, get_uint(exp, "size")),
	       get_bool(exp, "writable") ? "" : "  read-only");
	draw_node(p, exp, "", get_string(exp, "node-name"), "", true);
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
		draw_node_line(p, "", NULL, node, false);
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

static void draw_all(const struct picture *p, bool others)
{
	json_t *exp;
	size_t i;

	json_array_foreach(p->exports, i, exp)
		draw_export(p, exp);
	if (others)
		draw_others(p);
}

/* --- watching it ------------------------------------------------------- */

/* Columns; 0: what is printed goes to no terminal. */
static int terminal_width(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 ? 0 : size.ws_col;
}

/* All that a tree depends on; what is counted is left out. */
static json_t *picture_shown(const struct picture *p)
{
	json_t *exports = json_array(), *exp;
	size_t i;

	json_array_foreach(p->exports, i, exp)
		json_array_append_new(exports, json_pack(
			"{s:O*,s:O*,s:O*,s:O*,s:O*,s:O*,s:O*}",
			"device", json_object_get(exp, "device"),
			"id", json_object_get(exp, "id"),
			"size", json_object_get(exp, "size"),
			"writable", json_object_get(exp, "writable"),
			"node-name", json_object_get(exp, "node-name"),
			"perm", json_object_get(exp, "perm"),
			"shared-perm", json_object_get(exp, "shared-perm")));
	return checked(json_pack("{s:o,s:o,s:o,s:i}", "exports", exports,
				 "nodes", json_deep_copy(p->nodes), "edges",
				 json_deep_copy(p->edges), "width", p->width));
}

static void on_interrupt(int signal)
{
	(void)signal;
	_exit(EXIT_DONE);
}

/* Until it is interrupted, or the device or the daemon has gone. */
static void __attribute__((noreturn))
watch(struct picture *p, const char *device)
{
	json_t *before = NULL;

	signal(SIGINT, on_interrupt);
	for (;; client_wait(WATCH_MS)) {
		json_t *now;

		picture_get(p, CONNECT_ONLY);
		if (device)
			picture_limit(p, device);
		p->width = terminal_width();
		now = picture_shown(p);
		if (!json_equal(now, before)) {
			/* to the first line, and nothing below; elsewhere a
			 * line between what was and what is */
			printf("%s", p->width ? "\033[H\033[J" :
			       before ? "\n" : "");
			draw_all(p, !device);
			if (fflush(stdout))
				die(EXIT_ERROR, "cannot write: %s",
				    strerror(errno));
			json_decref(before);
			before = json_incref(now);
		}
		json_decref(now);
		picture_free(p);
	}
}

/* Of words that ask for another thing than a tree, the first. */
static const char *other_form(const struct args *args)
{
	static const char *const forms[] = { "json", "dot", "svg" };

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (args_given(args, forms[i]))
			return forms[i];
	return NULL;
}

/* What the tree alone shows, or does. */
static void refuse_without_tree(const struct args *args)
{
	static const char *const own[] = { "watch", "limits", "permissions" };
	const char *form = other_form(args);

	for (size_t i = 0; form && i < sizeof(own) / sizeof(own[0]); i++)
		if (args_given(args, own[i]))
			die(EXIT_USAGE, "graph: --%s and --%s exclude each "
			    "other", own[i], form);
}

int verb_graph(const struct args *args)
{
	struct picture p = {
		.permissions = args_given(args, "permissions"),
		.limits = args_given(args, "limits"),
	};
	const char *device = args->count ? device_name(args->operands[0]) :
		NULL;

	if (args_given(args, "json") && args_given(args, "dot"))
		die(EXIT_USAGE, "graph: --json and --dot exclude each other");
	if (args_given(args, "svg") &&
	    (args_given(args, "json") || args_given(args, "dot")))
		die(EXIT_USAGE, "graph: --svg and --%s exclude each other",
		    args_given(args, "json") ? "json" : "dot");
	refuse_without_tree(args);
	exact_sizes = args_given(args, "bytes");
	if (args_given(args, "watch"))
		watch(&p, device);
	picture_get(&p, device ? CONNECT_ONLY : CONNECT_IF_THERE);
	if (device)
		picture_limit(&p, device);
	p.width = terminal_width();
	if (args_given(args, "json")) {
		print_json(json_pack("{s:i,s:o,s:o,s:o}", "schema", 1,
				     "exports", p.exports, "nodes", p.nodes,
				     "edges", p.edges));
	} else if (args_given(args, "dot")) {
		print_dot(&p);
	} else if (args_given(args, "svg")) {
		return print_svg(&p);
	} else {
		draw_all(&p, !device);
	}
	return EXIT_DONE;
}
