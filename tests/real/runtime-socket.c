/* SPDX-License-Identifier: MIT */
/*
 * runtime-socket.c - sockets over the ring: large sends in pieces, the end of
 * input, and shutdown as what ends all waiting.
 */
#include "tests/lib/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/co.h"
#include "runtime/socket.h"
#include "runtime/thread.h"

#define BIG (8u << 20)

static int pair[2];
static struct co_group group;
static ssize_t ended;

static void make_pair(void)
{
	int small = 4096;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static void close_pair(void)
{
	close(pair[0]);
	close(pair[1]);
}

static void send_big(void *arg)
{
	char *data = arg;
	struct iovec iov[3] = {
		{ .iov_base = data, .iov_len = 1 },
		{ .iov_base = data, .iov_len = 0 },
		{ .iov_base = data + 1, .iov_len = BIG - 1 },
	};

	CU_ASSERT_EQUAL(co_sendv(pair[0], iov, 3), 0);
	shutdown(pair[0], SHUT_WR);
	co_group_done(&group);
}

static void all_of_it_arrives(void)
{
	unsigned char *out = malloc(BIG), *in = malloc(BIG);
	size_t len = 0;
	ssize_t n;

	make_pair();
	for (size_t i = 0; i < BIG; i++)
		out[i] = (unsigned char)(i * 31 >> 7);
	co_group_init(&group);
	co_group_add(&group);
	CU_ASSERT_TRUE_FATAL(co_spawn(send_big, out));
	while ((n = co_recv(pair[1], in + len, BIG - len)) > 0)
		len += (size_t)n;
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(len, BIG);
	CU_ASSERT_EQUAL(memcmp(in, out, BIG), 0);
	co_group_wait(&group);
	free(in);
	free(out);
	close_pair();
}

static void receive_one(void *arg)
{
	char c;

	(void)arg;
	ended = co_recv(pair[1], &c, 1);
	co_group_done(&group);
}

static void shutdown_ends_waiting(void)
{
	make_pair();
	co_group_init(&group);
	co_group_add(&group);
	ended = 1;
	CU_ASSERT_TRUE_FATAL(co_spawn(receive_one, NULL));
	CU_ASSERT_EQUAL(ended, 1);
	shutdown(pair[1], SHUT_RDWR);
	co_group_wait(&group);
	CU_ASSERT_EQUAL(ended, 0);
	close_pair();
}

/* SIGPIPE would end this program. */
static void nobody_listens(void)
{
	char data[4] = "abc";
	struct iovec iov = { .iov_base = data, .iov_len = 4 };

	make_pair();
	close(pair[1]);
	CU_ASSERT_EQUAL(co_sendv(pair[0], &iov, 1), -EPIPE);
	close(pair[0]);
}

static void run_all(void *arg)
{
	(void)arg;
	all_of_it_arrives();
	shutdown_ends_waiting();
	nobody_listens();
	runtime_quit();
}

static void sockets(void)
{
	struct runtime_options opts = { .io_threads = 1 };
	struct error *err = NULL;

	CU_ASSERT_EQUAL_FATAL(runtime_start(&opts, NULL, &err), 0);
	runtime_run(run_all, NULL);
	runtime_stop();
}

TEST_MAIN("runtime-socket", TEST(sockets))
