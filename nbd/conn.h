/* SPDX-License-Identifier: MIT */
/*
 * conn.h - one connection in the transmission phase: its memory, its reader
 * and its writer. It belongs to one I/O thread from start to end, to main
 * before and after.
 *
 *	free --reader--> taken --slot_start--> in the graph --done--> ready
 *	  ^                                                             |
 *	  +------------------------- sent <--------writer---------------+
 *
 * A slot is in one of these states. Only "in the graph" is counted at the root
 * (A8): neither a client that stops in the middle of a request nor one that
 * does not read its replies holds up a drain.
 *
 * The memory is the connection's own, so what a client occupies no other
 * waits for.
 */
#ifndef NBD_CONN_H
#define NBD_CONN_H

#include "nbd/target.h"
#include "nbd/wire.h"

#define NBD_SLOTS 64u			/* requests at a time */
#define NBD_BYTES_MAX (64u << 20)	/* of their payloads together */
#define NBD_KEEP (16u << 20)		/* of memory, while it is not used */
#define NBD_KEEP_SLOT (128u << 10)
#define NBD_INPUT (128u << 10)		/* bytes read ahead */

struct nbd_slot {
	struct request req;
	struct nbd_conn *conn;
	struct nbd_slot *next;		/* free, or ready */
	struct nbd_request ask;
	char *mem;			/* room for NBD_PAYLOAD_MAX */
	uint32_t held;			/* bytes, of NBD_BYTES_MAX */
	uint32_t touched;		/* bytes of mem that are real */
	enum nbd_error error;
	struct iovec reply[2];		/* its parts */
	unsigned parts;
	char head[NBD_REPLY_HEAD_MAX];
};

/*
 * Its references are the messages that are still to come to the main thread,
 * from its start to the end of its coroutines, and that of a stop (`pending`):
 * it goes with the last one. Main finds it in its target's list, and keeps no
 * pointer across a wait.
 */
struct nbd_conn {
	/* constant */
	struct nbd_target *target;
	struct root *root;
	bool writable, writethrough;
	struct nbd_service service;
	struct io_thread *thread;
	char *memory;
	struct nbd_slot *slots;

	/* I/O thread */
	struct nbd_slot *free;
	struct nbd_slot *ready, **last_ready;
	struct co *reader;	/* waits for a slot; else NULL */
	struct co *writer;	/* waits for something ready; else NULL */
	unsigned busy;		/* slots that are not free */
	uint32_t bytes;		/* of their payloads */
	uint64_t touched;	/* of all slots */
	char *input;
	size_t input_at, input_len;
	bool exact;		/* read no further than what is asked for */
	bool read_over;		/* no more requests */
	bool closing;		/* asked to end, or cannot send */

	/* main */
	struct nbd_conn *next;
	struct message start, stop, stopped, ended;
	unsigned pending;	/* messages to come before it can go */
	bool stop_sent;
};

/* request.c, any thread: bytes of a slot's memory that it will use, of which
 * its payload has so many. */
uint32_t nbd_slot_bytes(const struct nbd_request *ask, uint64_t payload);
/* request.c, I/O thread: a request has been read, payload included. */
void nbd_slot_start(struct nbd_slot *slot);
/* conn.c: its answer is ready. */
void nbd_slot_ready(struct nbd_slot *slot);
/* Bytes of mem that are used from now on. */
void nbd_slot_touch(struct nbd_slot *slot, uint32_t bytes);

#endif
