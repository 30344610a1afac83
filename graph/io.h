/* SPDX-License-Identifier: MIT */
/*
 * io.h - data operations on an edge, for drivers' coroutines and jobs.
 *
 * Any thread, coroutine. Any offset and length inside the child: splitting,
 * alignment, read-modify-write and emulation happen here, once (A12). 0 or a
 * negative errno. Inside a counted request, or at open and close when nobody
 * else uses the node.
 */
#ifndef GRAPH_IO_H
#define GRAPH_IO_H

#include "graph/node.h"

int co_edge_read(struct edge *edge, uint64_t offset, uint32_t len, void *buf)
	MUST_CHECK;
int co_edge_write(struct edge *edge, uint64_t offset, uint32_t len,
		  const void *buf, unsigned flags) MUST_CHECK;
int co_edge_zeroes(struct edge *edge, uint64_t offset, uint64_t len,
		   unsigned flags) MUST_CHECK;
int co_edge_discard(struct edge *edge, uint64_t offset, uint64_t len)
	MUST_CHECK;
/* Everything written through the child before, on any thread, is durable. */
int co_edge_flush(struct edge *edge) MUST_CHECK;
/* What the image below has from its backing images there becomes its own
 * (driver->fetch). Inside an operation; -ENOTSUP: it has none. */
int co_edge_fetch(struct edge *edge, uint64_t offset, uint32_t len) MUST_CHECK;
/* Bytes of the protocol node below, now (co_file_info), for formats. */
int co_edge_storage_size(struct edge *edge, uint64_t *size) MUST_CHECK;

/* Bytes on disk of the file that holds the node's own data; -ENOTSUP: there is
 * none. */
int co_node_disk_usage(struct node *node, uint64_t *bytes) MUST_CHECK;
/* The driver's contents, of a node that nobody else uses; main. */
int co_node_contents(struct node *node, struct json_t *object,
		     struct error **err) MUST_CHECK;

/* The same on a node from above; used by roots without an edge of a node. */
int co_node_read(struct node *node, uint64_t offset, uint32_t len, void *buf);
int co_node_write(struct node *node, uint64_t offset, uint32_t len,
		  const void *buf, unsigned flags);
int co_node_zeroes(struct node *node, uint64_t offset, uint64_t len,
		   unsigned flags);
int co_node_discard(struct node *node, uint64_t offset, uint64_t len);
int co_node_flush(struct node *node);

#endif
