/* SPDX-License-Identifier: MIT */
/*
 * conn.c - a connection on its I/O thread: one coroutine reads requests, one
 * sends replies. One turn of the loop reads many requests by one recv and
 * sends all replies that are ready by one sendmsg; both ride with the file
 * I/O in one system call.
 *
 * The writer leaves last, when the reader has and every slot is free.
 */
#include "nbd/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "export/place.h"
#include "graph/hold.h"
#include "runtime/co.h"
#include "runtime/ring.h"

/* Payloads up to this come through the input buffer: a copy is cheaper than
 * a call. */
#define COPY_MAX (16u << 10)
/* of the ring: one request in each slot, reader, writer */
#define RING_OPS (NBD_SLOTS + 2)

/* ---- slots ---- */

static struct nbd_slot *conn_take_slot(struct nbd_conn *c, uint32_t bytes)
{
	struct nbd_slot *slot = c->free;

	if (!slot || (c->busy && c->bytes + bytes > NBD_BYTES_MAX))
		return NULL;
	c->free = slot->next;
	c->busy++;
	c->bytes += bytes;
	slot->held = bytes;
	return slot;
}

/* The reader only. NULL: no request may come any more. */
static struct nbd_slot *co_slot_get(struct nbd_conn *c, uint32_t bytes)
{
	struct nbd_slot *slot;

	while (!(slot = conn_take_slot(c, bytes))) {
		c->reader = co_self();
		co_wait();
	}
	return slot;
}

void nbd_slot_touch(struct nbd_slot *slot, uint32_t bytes)
{
	if (bytes <= slot->touched)
		return;
	slot->conn->touched += bytes - slot->touched;
	slot->touched = bytes;
}

/* What one large request made real is given back, if it is much in all. */
static void slot_trim(struct nbd_conn *c, struct nbd_slot *slot)
{
	if (c->touched <= NBD_KEEP || slot->touched <= NBD_KEEP_SLOT)
		return;
	madvise(slot->mem + NBD_KEEP_SLOT, slot->touched - NBD_KEEP_SLOT,
		MADV_DONTNEED);
	c->touched -= slot->touched - NBD_KEEP_SLOT;
	slot->touched = NBD_KEEP_SLOT;
}

static void slot_put(struct nbd_slot *slot)
{
	struct nbd_conn *c = slot->conn;

	slot_trim(c, slot);
	c->bytes -= slot->held;
	c->busy--;
	slot->next = c->free;
	c->free = slot;
	if (c->reader) {
		co_wake(c->reader);
		c->reader = NULL;
	}
}

static void wake_writer(struct nbd_conn *c)
{
	if (!c->writer)
		return;
	co_wake(c->writer);
	c->writer = NULL;
}

void nbd_slot_ready(struct nbd_slot *slot)
{
	struct nbd_conn *c = slot->conn;

	slot->next = NULL;
	*c->last_ready = slot;
	c->last_ready = &slot->next;
	wake_writer(c);
}

/* ---- the reader ---- */

/* len bytes in one piece, at most NBD_INPUT; NULL: the input ended. They stay
 * until the next call. */
static char *co_input(struct nbd_conn *c, size_t len)
{
	char *at = c->input + c->input_at;
	size_t have = c->input_len - c->input_at;

	if (have < len) {
		memmove(c->input, at, have);
		at = c->input;
		c->input_at = 0;
		c->input_len = have;
	}
	while (c->input_len - c->input_at < len) {
		size_t room = (c->exact ? len : NBD_INPUT) - c->input_len;
		ssize_t n = co_stream_recv(&c->service.stream,
					   c->input + c->input_len, room);

		if (n <= 0)
			return NULL;
		c->input_len += (size_t)n;
	}
	c->input_at += len;
	return at;
}

static bool co_read_payload(struct nbd_conn *c, char *mem, uint32_t len)
{
	size_t have = min(c->input_len - c->input_at, (size_t)len);
	const char *at;

	/* the next one is likely to be as large */
	c->exact = len > COPY_MAX;
	if (len <= COPY_MAX) {
		at = co_input(c, len);
		if (at)
			memcpy(mem, at, len);
		return at;
	}
	memcpy(mem, c->input + c->input_at, have);
	c->input_at += have;
	return co_stream_recv_all(&c->service.stream, mem + have,
				  len - have) == 0;
}

/* Reads one request and starts it; false: that was the last. */
static bool co_read_request(struct nbd_conn *c)
{
	const struct nbd_terms *terms = &c->service.terms;
	const char *head = co_input(c, nbd_request_size(terms));
	struct nbd_request ask;
	struct nbd_slot *slot;
	uint64_t payload;

	if (!head || !nbd_request_decode(head, terms, &ask) ||
	    ask.type == NBD_CMD_DISC)
		return false;
	payload = nbd_request_payload(&ask, terms);
	if (payload > NBD_PAYLOAD_MAX)
		return false;
	slot = co_slot_get(c, nbd_slot_bytes(&ask, payload));
	slot->ask = ask;
	c->exact = false;
	if (payload) {
		nbd_slot_touch(slot, (uint32_t)payload);
		if (!co_read_payload(c, slot->mem, (uint32_t)payload)) {
			slot_put(slot);
			return false;
		}
	}
	nbd_slot_start(slot);
	return true;
}

static void conn_read(void *arg)
{
	struct nbd_conn *c = arg;

	while (!c->closing && co_read_request(c))
		;
	c->read_over = true;
	root_holds_look(c->root);
	wake_writer(c);
}

/* ---- the writer ---- */

/* Takes what is ready; its parts to iov. */
static struct nbd_slot *gather(struct nbd_conn *c, struct iovec *iov,
			       size_t *count)
{
	struct nbd_slot *first = c->ready;

	*count = 0;
	for (struct nbd_slot *s = first; s; s = s->next)
		for (unsigned i = 0; i < s->parts; i++)
			iov[(*count)++] = s->reply[i];
	c->ready = NULL;
	c->last_ready = &c->ready;
	return first;
}

/* Nobody hears us: what is in flight ends, nothing else comes. */
static void conn_fail(struct nbd_conn *c)
{
	c->closing = true;
	nbd_stream_shutdown(&c->service.stream);
	root_holds_look(c->root);
}

static void co_send_ready(struct nbd_conn *c)
{
	struct iovec iov[NBD_SLOTS * 2];
	size_t count;
	struct nbd_slot *slot = gather(c, iov, &count), *next;

	if (!c->closing &&
	    co_stream_sendv(&c->service.stream, iov, count) < 0)
		conn_fail(c);
	for (; slot; slot = next) {
		next = slot->next;
		slot_put(slot);
	}
}

static void conn_write(void *arg)
{
	struct nbd_conn *c = arg;

	if (co_stream_send(&c->service.stream, c->service.first,
			   c->service.first_len) < 0)
		conn_fail(c);
	while (c->busy || !c->read_over) {
		if (c->ready) {
			co_send_ready(c);
			continue;
		}
		c->writer = co_self();
		co_wait();
	}
	/* the client learns at once that nothing more will come */
	nbd_stream_shutdown(&c->service.stream);
	ring_release(RING_OPS);
	thread_post(thread_by_index(MAIN_THREAD), &c->ended);
}

/* ---- messages to the I/O thread ---- */

static void conn_start(struct message *msg)
{
	struct nbd_conn *c = container_of(msg, struct nbd_conn, start);

	if (!ring_reserve(RING_OPS)) {
		thread_post(thread_by_index(MAIN_THREAD), &c->ended);
		return;
	}
	if (!co_spawn(conn_write, c)) {
		ring_release(RING_OPS);
		thread_post(thread_by_index(MAIN_THREAD), &c->ended);
		return;
	}
	if (co_spawn(conn_read, c))
		return;
	c->read_over = true;
	wake_writer(c);
}

static void conn_stop(struct message *msg)
{
	struct nbd_conn *c = container_of(msg, struct nbd_conn, stop);

	conn_fail(c);
	thread_post(thread_by_index(MAIN_THREAD), &c->stopped);
}

/* ---- main thread ---- */

static void conn_free(struct nbd_conn *c)
{
	if (c->memory)
		munmap(c->memory, (size_t)NBD_SLOTS * NBD_PAYLOAD_MAX);
	free(c->service.first);
	free(c->slots);
	free(c->input);
	free(c);
}

static void conn_unlink(struct nbd_conn *c)
{
	struct nbd_target *target = c->target;
	struct nbd_conn **at = &target->conns;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	target->count--;
	if (!target->count && target->closing)
		wait_event_set(&target->closed);
}

static void conn_message_came(struct nbd_conn *c)
{
	struct nbd_service service = c->service;

	if (--c->pending)
		return;
	nbd_stream_close(&service.stream);
	place_give_back(thread_index(c->thread), NBD_SLOTS);
	conn_unlink(c);
	conn_free(c);
	if (service.ended)
		service.ended(service.arg);
}

static void conn_ended(struct message *msg)
{
	conn_message_came(container_of(msg, struct nbd_conn, ended));
}

static void conn_stopped(struct message *msg)
{
	conn_message_came(container_of(msg, struct nbd_conn, stopped));
}

/* Address space, not memory: what is touched is bounded by NBD_BYTES_MAX and
 * NBD_KEEP. */
static bool conn_map(struct nbd_conn *c)
{
	size_t bytes = (size_t)NBD_SLOTS * NBD_PAYLOAD_MAX;
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return false;
	/* or the first byte of each slot would be 2 MiB */
	madvise(at, bytes, MADV_NOHUGEPAGE);
	c->memory = at;
	return true;
}

static struct nbd_conn *conn_new(struct nbd_target *target,
				 const struct nbd_service *service)
{
	struct nbd_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->slots = calloc(NBD_SLOTS, sizeof(*c->slots));
	c->input = malloc(NBD_INPUT);
	if (!c->slots || !c->input || !conn_map(c)) {
		conn_free(c);
		return NULL;
	}
	for (unsigned i = NBD_SLOTS; i--;) {
		struct nbd_slot *slot = &c->slots[i];

		slot->conn = c;
		slot->mem = c->memory + (size_t)i * NBD_PAYLOAD_MAX;
		slot->next = c->free;
		c->free = slot;
	}
	c->target = target;
	c->root = target->root;
	c->writable = target->writable;
	c->writethrough = target->writethrough;
	c->service = *service;
	c->last_ready = &c->ready;
	return c;
}

uint64_t nbd_target_threads(void)
{
	return ((1ull << (thread_count() - 1)) - 1) << 1;
}

uint32_t nbd_target_granularity(const struct node *node)
{
	uint32_t align = node->limits.align;

	return is_aligned(node->size, align) ? align : 1;
}

int nbd_target_serve(struct nbd_target *target,
		     const struct nbd_service *service, struct error **err)
{
	struct nbd_conn *c;
	unsigned thread;

	assert(thread_is_main());
	if (target->closing)
		return error_set(err, ESHUTDOWN,
				 "%s is going away", target->root->name);
	c = conn_new(target, service);
	if (!c)
		return error_set(err, ENOMEM, "no memory for a connection to "
				 "%s", target->root->name);
	c->start.fn = conn_start;
	c->stop.fn = conn_stop;
	c->stopped.fn = conn_stopped;
	c->ended.fn = conn_ended;
	place_take(1, NBD_SLOTS, &thread);
	c->thread = thread_by_index(thread);
	c->pending = 1;
	c->next = target->conns;
	target->conns = c;
	target->count++;
	thread_post(c->thread, &c->start);
	return 0;
}

bool co_nbd_target_close(struct nbd_target *target, uint64_t timeout_ns)
{
	target->closing = true;
	for (struct nbd_conn *c = target->conns; c; c = c->next) {
		if (c->stop_sent)
			continue;
		c->stop_sent = true;
		c->pending++;
		thread_post(c->thread, &c->stop);
	}
	return !target->count || co_wait_event(&target->closed, timeout_ns);
}
