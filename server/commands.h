/* SPDX-License-Identifier: MIT */
/*
 * commands.h - what the commands of command-table.c run. Each is a struct
 * command's run: main thread, coroutine, new reference or NULL with *err.
 *
 *	commands-server.c	the daemon itself
 *	chardev.c		ends that monitors talk on
 *	commands-block.c	nodes
 *	commands-filter.c	live insertion and removal of filters
 *	commands-snapshot.c	live snapshots, and transactions
 *	commands-throttle.c	limits of a disk in use
 *	commands-reopen.c	whether a disk in use is written to, and how
 *	commands-resize.c	another size for a disk in use
 *	commands-chain.c	which node is where, and which image names which
 *	commands-export.c	exports
 *	commands-job.c		jobs, and making images by one
 *	commands-stats.c	what has been counted
 *	commands-qom.c		objects as the protocol's tree of them
 *	object.c		objects: secrets, credentials
 *	commands-nbd.c		the NBD server
 *	attach.c		an image file as a device, in one step
 *	info.c			an image file, looked at and left alone
 *	map.c			what a disk consists of
 *	check.c			whether an image contradicts itself
 */
#ifndef SERVER_COMMANDS_H
#define SERVER_COMMANDS_H

#include <jansson.h>
#include <stdbool.h>

#include "graph/graph.h"
#include "runtime/error.h"

struct export;
struct node;
struct place;
struct root_counts;

json_t *cmd_query_version(json_t *args, struct error **err);
json_t *cmd_query_commands(json_t *args, struct error **err);
json_t *cmd_query_qmp_schema(json_t *args, struct error **err);
json_t *cmd_quit(json_t *args, struct error **err);

json_t *cmd_chardev_add(json_t *args, struct error **err);
json_t *cmd_chardev_remove(json_t *args, struct error **err);
json_t *cmd_query_chardev(json_t *args, struct error **err);
json_t *cmd_query_chardev_backends(json_t *args, struct error **err);

json_t *cmd_blockdev_add(json_t *args, struct error **err);
json_t *cmd_blockdev_del(json_t *args, struct error **err);
json_t *cmd_blockdev_reopen(json_t *args, struct error **err);
json_t *cmd_query_named_block_nodes(json_t *args, struct error **err);
json_t *cmd_query_block(json_t *args, struct error **err);
json_t *cmd_query_blockstats(json_t *args, struct error **err);
json_t *cmd_query_block_graph(json_t *args, struct error **err);

json_t *cmd_blockdev_snapshot(json_t *args, struct error **err);
json_t *cmd_blockdev_snapshot_sync(json_t *args, struct error **err);
json_t *cmd_transaction(json_t *args, struct error **err);
json_t *cmd_snapshot(json_t *args, struct error **err);

json_t *cmd_x_blockdev_change(json_t *args, struct error **err);
json_t *cmd_blockdev_replace(json_t *args, struct error **err);
json_t *cmd_change_backing_file(json_t *args, struct error **err);
json_t *cmd_insert(json_t *args, struct error **err);
json_t *cmd_remove(json_t *args, struct error **err);

json_t *cmd_reopen(json_t *args, struct error **err);
json_t *cmd_throttle(json_t *args, struct error **err);

json_t *cmd_block_resize(json_t *args, struct error **err);
json_t *cmd_resize(json_t *args, struct error **err);

json_t *cmd_block_export_add(json_t *args, struct error **err);
json_t *cmd_block_export_del(json_t *args, struct error **err);
json_t *cmd_query_block_exports(json_t *args, struct error **err);
json_t *cmd_quit_if_unused(json_t *args, struct error **err);
json_t *cmd_users(json_t *args, struct error **err);
json_t *cmd_resume(json_t *args, struct error **err);

json_t *cmd_nbd_server_start(json_t *args, struct error **err);
json_t *cmd_nbd_server_stop(json_t *args, struct error **err);

json_t *cmd_object_add(json_t *args, struct error **err);
json_t *cmd_object_del(json_t *args, struct error **err);

json_t *cmd_blockdev_create(json_t *args, struct error **err);
json_t *cmd_query_jobs(json_t *args, struct error **err);
json_t *cmd_job_pause(json_t *args, struct error **err);
json_t *cmd_job_resume(json_t *args, struct error **err);
json_t *cmd_job_cancel(json_t *args, struct error **err);
json_t *cmd_job_complete(json_t *args, struct error **err);
json_t *cmd_job_finalize(json_t *args, struct error **err);
json_t *cmd_job_dismiss(json_t *args, struct error **err);
/* Events of jobs, of exports and nodes go to clients from here on. */
void job_events_start(void);
void graph_events_start(void);

json_t *cmd_attach(json_t *args, struct error **err);
json_t *cmd_map(json_t *args, struct error **err);
json_t *cmd_check(json_t *args, struct error **err);
json_t *cmd_info(json_t *args, struct error **err);

json_t *cmd_qom_list(json_t *args, struct error **err);
json_t *cmd_qom_get(json_t *args, struct error **err);
json_t *cmd_qom_set(json_t *args, struct error **err);
json_t *cmd_qom_list_types(json_t *args, struct error **err);
json_t *cmd_qom_list_properties(json_t *args, struct error **err);

/* Shared by the above. */

/* What blkgraph-attach's "via" may be, and the type of export that it makes;
 * ends with via NULL. */
struct attach_way {
	const char *via, *type;
};
extern const struct attach_way attach_ways[];

/* Ends the NBD server, if there is one; what waits for its clients has a
 * deadline. Coroutine. */
int co_nbd_leave(uint64_t timeout_ns, struct error **err) MUST_CHECK;
/* What nbd-server-start was given; NULL: it does not run. */
const json_t *nbd_server_args(void);

/* By id, by device path ("/dev/ublkb0", "/dev/blkgraph/d0"); or NULL and
 * *err. */
struct export *export_by_name(const char *name, struct error **err);
/* What query-block-exports shows of one; new reference. May wait: the caller
 * refers to it. */
json_t *export_describe(struct export *exp);
/* export_del of one that was found. */
int co_export_end(struct export *exp, bool hard, struct error **loss,
		  struct error **err) MUST_CHECK;
/* What was found about its images when they were opened, to the log. */
void log_node_warning(const struct node *node);
/* node_open of an image file; errors name the file. */
struct node *open_image(json_t *options, unsigned flags, const char *filename,
			struct error **err);
/* The image file that "filename" and "format" name, read-only and shared with
 * whoever has it; chain: with its backing files. For co_open_by_deadline. */
struct node *open_to_look(json_t *args, bool chain, struct error **err);
/* As query-blockstats shows them; new reference. */
json_t *counts_describe(const struct root_counts *counts);
struct node *node_by_name(const char *name, struct error **err);
/* The node or export of that name, as the parent of a link: place->parent, or
 * *exp and place->root. */
int find_parent_place(const char *name, struct place *place,
		      struct export **exp, struct error **err) MUST_CHECK;
/* What blockdev-replace's arguments name: the new child, and the link. */
struct node *find_replacement(json_t *args, struct place *place,
			      struct export **exp, struct error **err);
/* Where a filter goes or is: above a node, for all of its parents, or for one
 * link. Good until the caller waits, or keeps references of its own. */
struct filter_place {
	struct node *node;
	struct link_of link;	/* parent NULL: all */
};
static inline const struct link_of *filter_link(const struct filter_place *p)
{
	return p->link.parent ? &p->link : NULL;
}
/* What blkgraph-insert's arguments name: a node to be above. */
int filter_place(json_t *args, struct filter_place *place, struct error **err)
	MUST_CHECK;
/* What blkgraph-remove's name: a filter. */
int filter_to_remove(json_t *args, struct filter_place *place,
		     struct error **err) MUST_CHECK;

/*
 * Whoever is refused a file's lock, or a permission on its node, because of a
 * device of ours is told which one: changes an error that is set. Main thread,
 * coroutine.
 */
void command_name_user(const char *filename, struct error **err);

#endif
