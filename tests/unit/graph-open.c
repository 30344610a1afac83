/* SPDX-License-Identifier: MIT */
/*
 * Opening: derived pointers and walks (G2-G5), names, options, backing files
 * of headers (C7, A26), cycles and depth, sharing (P3), errors.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

static char *quoted(const char *text)
{
	char *json = strdup(text), *c;

	for (c = json; *c; c++)
		if (*c == '\'')
			*c = '"';
	return json;
}

static unsigned count_nodes(void)
{
	unsigned n = 0;

	for (struct node *node = NULL; (node = node_next(node));)
		n++;
	return n;
}

/* Opening fails with this sentence and leaves nothing behind. */
static void refused(const char *text, const char *sentence)
{
	char *want = quoted(sentence), *got;
	unsigned before = count_nodes();

	got = toy_open_error(text);
	/* sentences hold quotes of both kinds; compare them as one kind */
	for (char *c = got; *c; c++)
		if (*c == '\'')
			*c = '"';
	CU_ASSERT_STRING_EQUAL(got, want);
	if (strcmp(got, want))
		fprintf(stderr, "got:  %s\nwant: %s\n", got, want);
	CU_ASSERT_EQUAL(count_nodes(), before);
	free(want);
	free(got);
}

SIM_TEST(test_shape)
{
	struct node *top, *filter, *mid, *base, *leaf;

	toy_start();
	top = toy_open("{'driver':'toy-format','node-name':'top',"
		"'file':{'driver':'raw','file':{'driver':'toy','node-name':"
		"'leaf'}},'backing':{'driver':'toy-writes','node-name':'flt',"
		"'image':{'driver':'toy-format','node-name':'mid','file':"
		"{'driver':'toy'},'backing':{'driver':'raw','node-name':'base'"
		",'file':{'driver':'toy','node-name':'basefile'}}}}}");
	filter = node_find("flt");
	mid = node_find("mid");
	base = node_find("base");
	leaf = node_find("leaf");
	/* G3 */
	CU_ASSERT_STRING_EQUAL(top->file->name, "file");
	CU_ASSERT_PTR_EQUAL(top->backing->child, filter);
	CU_ASSERT_PTR_NULL(filter->file);
	CU_ASSERT_PTR_EQUAL(filter->backing->child, mid);
	CU_ASSERT_PTR_EQUAL(top->file->child->file->child, leaf);
	CU_ASSERT_PTR_NULL(leaf->file);
	/* G4: meaning, not slots */
	CU_ASSERT_PTR_NULL(node_cow_child(filter));
	CU_ASSERT_PTR_EQUAL(node_filtered_child(filter), mid);
	CU_ASSERT_PTR_EQUAL(node_cow_child(top), filter);
	CU_ASSERT_PTR_NULL(node_filtered_child(top));
	CU_ASSERT_PTR_EQUAL(node_filtered_or_cow_child(filter), mid);
	CU_ASSERT_PTR_EQUAL(node_filtered_or_cow_child(top), filter);
	CU_ASSERT_PTR_EQUAL(node_primary_child(filter), mid);
	CU_ASSERT_PTR_EQUAL(node_primary_child(top), top->file->child);
	/* G5, and raw without a window is passed (G2) */
	CU_ASSERT_PTR_EQUAL(node_skip_filters(filter), mid);
	CU_ASSERT_PTR_EQUAL(node_skip_filters(top->file->child), leaf);
	CU_ASSERT_PTR_EQUAL(node_backing_next(top), mid);
	CU_ASSERT_PTR_EQUAL(node_backing_next(filter),
			    node_find("basefile"));
	CU_ASSERT_PTR_NULL(node_backing_next(base));
	/* 4.24: what children inherit */
	CU_ASSERT(!top->read_only && !leaf->read_only);
	CU_ASSERT(filter->read_only && mid->read_only && base->read_only);
	CU_ASSERT(!top->discard_unmap && leaf->discard_unmap);
	toy_let_go(top);
	CU_ASSERT_EQUAL(count_nodes(), 0);
	CU_ASSERT_EQUAL(toy_calls.opens, toy_calls.closes);
}

/* raw with a window is no filter (G2). */
SIM_TEST(test_raw_window)
{
	struct node *node;

	toy_start();
	node = toy_open("{'driver':'raw','offset':65536,'size':65536,'file':"
			 "{'driver':'toy'}}");
	CU_ASSERT_EQUAL(node->file->role, ROLE_DATA | ROLE_PRIMARY);
	CU_ASSERT_PTR_NULL(node_filtered_child(node));
	CU_ASSERT_EQUAL(node->size, 65536);
	toy_let_go(node);
}

SIM_TEST(test_options)
{
	struct node *node;

	toy_start();
	refused("{}", "Parameter 'driver' is missing");
	refused("{'driver':7}",
		"Invalid parameter type for 'driver', expected: string");
	refused("{'driver':'nfs'}",
		"Parameter 'driver' does not accept value 'nfs'");
	refused("{'driver':'toy','sise':1}", "Parameter 'sise' is unexpected");
	refused("{'driver':'toy','size':'1x'}",
		"Parameter 'size' expects a size, not '1x'");
	refused("{'driver':'toy','size':-1}",
		"Parameter 'size' expects a non-negative number"
		" below 2^64");
	refused("{'driver':'toy','size':'16777216T'}",
		"Parameter 'size' expects a size, not '16777216T'");
	refused("{'driver':'toy','align':4294967296}", "Parameter 'align' is"
		" 4294967296, but must be from 0 to 4294967295");
	refused("{'driver':'toy','read-only':3}",
		"Invalid parameter type for 'read-only', expected: boolean");
	refused("{'driver':'toy','discard':'maybe'}",
		"Parameter 'discard' does not accept value 'maybe'");
	refused("{'driver':'toy','cache':true}",
		"Invalid parameter type for 'cache', expected: object");
	refused("{'driver':'toy','cache':{'direkt':true}}",
		"Parameter 'direkt' is unexpected");
	refused("{'driver':'toy','node-name':'1a'}",
		"Invalid node-name: '1a'");
	refused("{'driver':'toy','node-name':'a b'}",
		"Invalid node-name: 'a b'");
	refused("{'driver':'toy','node-name':"
		"'a123456789012345678901234567890b'}", "Node name"
		" too long");
	refused("{'driver':'toy','force-share':true}", "force-share=on can"
		" only be used with read-only images");
	refused("{'driver':'raw'}",
		"A block device must be specified for \"file\"");
	refused("{'driver':'raw','file':3}",
		"Invalid parameter type for 'file', expected: BlockdevRef");
	refused("{'driver':'raw','file':'none'}",
		"Cannot find device='none' nor node-name='none'");
	refused("{'driver':'raw','file':{'driver':'raw','file':{'driver':"
		"'toy','bad':1}}}", "Parameter 'bad' is unexpected");
	node = toy_open("{'driver':'toy','node-name':'a','size':'64k',"
			 "'cache':{'direct':true,'no-flush':'on'}}");
	CU_ASSERT_EQUAL(node->size, 65536);
	CU_ASSERT(node->cache_direct && node->no_flush);
	refused("{'driver':'toy','node-name':'a'}",
		"Duplicate nodes with node-name='a'");
	toy_let_go(node);
	toy_wishes.name = "bad";
	toy_wishes.fail_open = -EIO;
	refused("{'driver':'toy-format','file':{'driver':'toy'},'backing':"
		"{'driver':'toy','node-name':'bad'}}",
		"Could not open backing file: toy 'bad' does not open");
	refused("{'driver':'toy-format','node-name':'bad','file':{'driver':"
		"'toy'}}", "toy 'bad' does not open");
	CU_ASSERT_EQUAL(toy_calls.opens, toy_calls.closes);
}

SIM_TEST(test_nesting)
{
	char json[1024] = "{'driver':'toy'}", next[1024 + 64];

	toy_start();
	for (unsigned i = 0; i < 30; i++) {
		snprintf(next, sizeof(next), "{'driver':'nop','file':%s}",
			 json);
		memcpy(json, next, sizeof(json));
	}
	refused(json, "Block nodes are nested deeper than 16");
}

SIM_TEST(test_monitor)
{
	json_t *options = json_pack("{s:s, s:s}", "driver", "toy",
				    "node-name", "a");
	struct error *err = NULL;
	struct node *node, *over;

	toy_start();
	node = node_add(options, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(node);
	node_put(node, "opener");
	over = toy_open("{'driver':'nop','file':'a'}");
	CU_ASSERT(node_del("a", &err) < 0);
	CU_ASSERT_STRING_EQUAL(err->text, "Block device a is in use");
	error_clear(&err);
	CU_ASSERT(node_del("b", &err) < 0);
	CU_ASSERT_STRING_EQUAL(err->text,
			       "Failed to find node with node-name='b'");
	error_clear(&err);
	CU_ASSERT(node_del(over->name, &err) < 0);
	error_clear(&err);
	/* closing the parent leaves what the monitor holds (G1) */
	toy_let_go(over);
	CU_ASSERT_PTR_NOT_NULL(node_find("a"));
	CU_ASSERT_EQUAL(node_del("a", &err), 0);
	CU_ASSERT_PTR_NULL(node_find("a"));
	json_object_del(options, "node-name");
	CU_ASSERT_PTR_NULL(node_add(options, &err));
	error_clear(&err);
	CU_ASSERT_EQUAL(count_nodes(), 0);
	json_decref(options);
}

/* ---- names in headers ---- */

#define OVERLAY(name, backing) \
	"{'driver':'toy-format','node-name':'" name "','file':{'driver':" \
	"'file','filename':'/dir/" name "'},'header-backing':'" backing "'}"

SIM_TEST(test_header)
{
	struct node *node, *base;

	toy_start();
	sim_file_create("/dir/top", 1 << 20);
	sim_file_create("/dir/base", 1 << 20);
	/* the simulation takes names as they are */
	sim_file_create("/dir/../other/base", 1 << 20);
	node = toy_open(OVERLAY("top", "base"));
	base = node_backing_next(node);
	CU_ASSERT_PTR_NOT_NULL_FATAL(base);
	/* relative to the overlay's directory (C7); probed: raw over file */
	CU_ASSERT_STRING_EQUAL(base->filename, "/dir/base");
	CU_ASSERT_STRING_EQUAL(node->backing->child->driver->name, "raw");
	CU_ASSERT(node->backing->child->guessed && base->read_only);
	CU_ASSERT_STRING_EQUAL(node->header_backing, "base");
	toy_let_go(node);
	node = toy_open(OVERLAY("top", "../other/base"));
	CU_ASSERT_STRING_EQUAL(node_backing_next(node)->filename,
			       "/dir/../other/base");
	toy_let_go(node);
	/* some tools say that it is a file */
	node = toy_open(OVERLAY("top", "file:base"));
	CU_ASSERT_STRING_EQUAL(node_backing_next(node)->filename,
			       "/dir/base");
	CU_ASSERT_STRING_EQUAL(node->header_backing, "file:base");
	toy_let_go(node);
	node = toy_open(OVERLAY("top", "file:/dir/base"));
	CU_ASSERT_STRING_EQUAL(node_backing_next(node)->filename,
			       "/dir/base");
	toy_let_go(node);
	refused(OVERLAY("top", "file:"), "The header of node 'top' names"
		" 'file:' as its backing file, which is no file");
	/* options decide where they say something */
	node = toy_open("{'driver':'toy-format','file':{'driver':'file',"
		"'filename':'/dir/top'},'header-backing':'nbd:evil',"
		"'backing':null}");
	CU_ASSERT_PTR_NULL(node->backing);
	toy_let_go(node);
	refused(OVERLAY("top", "nbd://evil/x"), "The header of node 'top'"
		" names 'nbd://evil/x' as its backing file; only plain local"
		" file names are opened from an image, so give the backing"
		" node explicitly");
	refused(OVERLAY("top", "json:{}"), "The header of node 'top' names"
		" 'json:{}' as its backing file; only plain local file names"
		" are opened from an image, so give the backing node"
		" explicitly");
	refused(OVERLAY("top", "gone"),
		"Could not open '/dir/gone': No such file or directory");
	refused("{'driver':'toy-format','node-name':'m','file':{'driver':"
		"'toy'},'header-backing':'base'}",
		"Cannot use relative backing file names for 'm'");
	refused("{'driver':'toy-format','node-name':'m','file':{'driver':"
		"'toy'},'header-backing':'/dir/base','header-format':'vmdk'}",
		"The header of node 'm' says that its backing file"
		" '/dir/base' has the format 'vmdk', which is not supported");
	/* itself is no backing */
	refused(OVERLAY("top", "top"), "Backing file '/dir/top' of node 'top'"
		" is an image above it in the same chain");
}

/* A guessed format opens no other file (A26). */
SIM_TEST(test_guessed)
{
	struct error *err = NULL;
	json_t *options;
	bool guessed;
	struct node *node;

	toy_start();
	sim_file_create("/dir/base", 1 << 20);
	sim_file_create("/dir/img", 1 << 20);
	sim_file_set("/dir/img", "QFI\xfb", 4);
	options = node_options_for_file("/dir/img", NULL, false, true,
					&guessed, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(options);
	CU_ASSERT(guessed);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(options,
				"driver")), "qcow2");
	json_decref(options);
	options = node_options_for_file("/dir/base", NULL, true, false,
					&guessed, &err);
	CU_ASSERT(guessed);
	node = node_open(options, NODE_GUESSED, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(node);
	CU_ASSERT(node->guessed && node->read_only && node->discard_unmap);
	CU_ASSERT_STRING_EQUAL(node->driver->name, "raw");
	toy_let_go(node);
	json_decref(options);
	options = node_options_for_file("/dir/base", "raw", true, false,
					&guessed, &err);
	CU_ASSERT(!guessed);
	json_decref(options);
	CU_ASSERT_PTR_NULL(node_options_for_file("/dir/none", "raw", true,
						 false, &guessed, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "Could not open '/dir/none': No such"
			       " file or directory");
	error_clear(&err);
	/* the toy stands for a format with a header */
	options = json_pack("{s:s, s:{s:s, s:s}, s:s}", "driver", "toy-format",
			    "file", "driver", "file", "filename", "/dir/img",
			    "header-backing", "base");
	CU_ASSERT_PTR_NULL(node_open(options, NODE_GUESSED, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "The format of '/dir/img' was"
		" guessed as 'toy-format' and the image names the backing file"
		" 'base'; to open it, give the format with -f toy-format");
	error_clear(&err);
	node = node_open(options, 0, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(node);
	toy_let_go(node);
	json_decref(options);
}

/* Two overlays of one base use one node, if attach asks for it (P3). */
SIM_TEST(test_shared)
{
	struct error *err = NULL;
	struct node *node[3];

	toy_start();
	sim_file_create("/dir/a", 1 << 20);
	sim_file_create("/dir/b", 1 << 20);
	sim_file_create("/dir/base", 1 << 20);
	for (unsigned i = 0; i < 3; i++) {
		json_t *options = json_pack("{s:s, s:{s:s, s:s}, s:s, s:s}",
			"driver", "toy-format", "file", "driver", "file",
			"filename", i ? "/dir/b" : "/dir/a",
			"header-backing", "base", "header-format", "raw");

		if (i == 2)
			json_object_set_new(options, "read-only", json_true());
		if (i == 2)
			toy_let_go(node[1]);
		node[i] = node_open(options, i < 2 ? NODE_SHARE : 0, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(node[i]);
		json_decref(options);
		if (i == 1) {
			CU_ASSERT_PTR_EQUAL(node[0]->backing->child,
					    node[1]->backing->child);
			CU_ASSERT_EQUAL(count_nodes(), 6);
		}
	}
	CU_ASSERT_PTR_NOT_EQUAL(node[0]->backing->child,
				node[2]->backing->child);
	toy_let_go(node[0]);
	toy_let_go(node[2]);
	CU_ASSERT_EQUAL(count_nodes(), 0);
}

/* A chain of 200 images opens and closes; one more is refused. */
static void body_depth(void *arg)
{
	unsigned length = *(unsigned *)arg;
	json_t *options = json_pack("{s:s}", "driver", "toy");
	struct error *err = NULL;
	struct node *node, *base;
	struct root *root;
	char buf[512];

	toy_start();
	for (unsigned i = 1; i < length; i++) {
		json_t *over = json_pack("{s:s, s:{s:s, s:s}, s:o}", "driver",
			"toy-format", "file", "driver", "toy", "size", "64k",
			"backing", options);

		options = over;
	}
	node = node_open(options, 0, &err);
	json_decref(options);
	CU_ASSERT_EQUAL(node != NULL, length <= NODE_CHAIN_MAX);
	if (node) {
		for (base = node; node_backing_next(base);)
			base = node_backing_next(base);
		toy_of(base)->data[0] = 5;
		root = toy_root("export 'e'", node, true, 512);
		toy_let_go(node);
		CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 512, buf, 0),
				0);
		CU_ASSERT_EQUAL(buf[0], 5);
		CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0),
				0);
		CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0),
				0);
		root_free(root);
	} else {
		error_clear(&err);
	}
	CU_ASSERT_EQUAL(count_nodes(), 0);
	CU_ASSERT_EQUAL(toy_calls.opens, toy_calls.closes);
}

static void test_depth(void)
{
	static unsigned lengths[] = { 1, 2, 199, 200, 201, 210 };

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++)
		test_run(1, 1, body_depth, &lengths[i]);
}

/* Queries show what is there. */
SIM_TEST(test_queries)
{
	struct node *node;
	struct root *root;
	json_t *nodes, *graph, *first;

	toy_start();
	sim_file_create("/dir/a", 1 << 20);
	node = toy_open("{'driver':'raw','node-name':'top','file':{'driver':"
			 "'file','filename':'/dir/a','node-name':'leaf'}}");
	root = toy_root("export 'e'", node, true, 512);
	nodes = graph_query_nodes(true);
	CU_ASSERT_EQUAL(json_array_size(nodes), 2);
	first = json_array_get(nodes, 0);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(first,
				"node-name")), "top");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(first,
				"file")), "/dir/a");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(
			first, "image"), "virtual-size")), 1 << 20);
	graph = graph_query_graph();
	CU_ASSERT_EQUAL(json_array_size(json_object_get(graph, "nodes")), 3);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(graph, "edges")), 2);
	json_decref(nodes);
	json_decref(graph);
	root_free(root);
}

TEST_MAIN("graph-open",
	  TEST(test_shape),
	  TEST(test_raw_window),
	  TEST(test_options),
	  TEST(test_nesting),
	  TEST(test_monitor),
	  TEST(test_header),
	  TEST(test_guessed),
	  TEST(test_shared),
	  TEST(test_depth),
	  TEST(test_queries))
