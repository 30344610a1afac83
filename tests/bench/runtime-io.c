/* SPDX-License-Identifier: MIT */
/*
 * What the real runtime costs: random 4 KiB reads of one file through
 * io_submit, message round trips between two threads, coroutine switches.
 *
 *   runtime-io FILE [DEPTH [SECONDS]]
 *
 * The file is opened with O_DIRECT if that works. Prints one line each.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/buffer.h"
#include "runtime/co.h"
#include "runtime/io.h"

#define BLOCK 4096u
#define DEPTH_MAX 512
#define ROUND_TRIPS 10000
#define SWITCHES 2000000

static struct {
	const char *path;
	unsigned depth;
	uint64_t ns;
} args;

static struct {
	struct file *file;
	struct io io[DEPTH_MAX];
	uint64_t blocks, deadline, done, random;
	unsigned in_flight;
	struct co *co;
} b;

/* User instructions of this thread; -1 where the machine does not count. */
static int counter_open(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static uint64_t counter_read(int fd)
{
	uint64_t v = 0;

	if (fd < 0 || read(fd, &v, sizeof(v)) != sizeof(v))
		return 0;
	return v;
}

static uint64_t cpu_ns(bool user)
{
	struct rusage ru;
	struct timeval tv;

	getrusage(RUSAGE_THREAD, &ru);
	tv = user ? ru.ru_utime : ru.ru_stime;
	return (uint64_t)tv.tv_sec * 1000000000 + (uint64_t)tv.tv_usec * 1000;
}

static void read_next(struct io *io);

static void read_done(struct io *io, int res)
{
	if (res != (int)BLOCK) {
		fprintf(stderr, "read: %d\n", res);
		exit(1);
	}
	b.in_flight--;
	/* the clock is read once in a while only, to not measure itself */
	if (++b.done % 64 || clock_ns() < b.deadline)
		read_next(io);
	else
		b.deadline = 0;
	if (!b.in_flight)
		co_wake(b.co);
}

static void read_next(struct io *io)
{
	if (!b.deadline)
		return;
	b.random = b.random * 6364136223846793005 + 1442695040888963407;
	io->offset = (b.random >> 33) % b.blocks * BLOCK;
	b.in_flight++;
	io_submit(io);
}

static void read_all(void)
{
	int fd = counter_open();
	uint64_t count = counter_read(fd), user = cpu_ns(true);
	uint64_t kernel = cpu_ns(false), start = clock_ns();

	b.deadline = start + args.ns;
	b.co = co_self();
	for (unsigned i = 0; i < args.depth; i++) {
		b.io[i] = (struct io){
			.file = b.file, .op = IO_READ, .len = BLOCK,
			.buf = buffer_get(BLOCK), .fixed = IO_NOT_FIXED,
			.done = read_done,
		};
		read_next(&b.io[i]);
	}
	co_wait();
	printf("randread: depth %u, %.0f IOPS, per request: %.0f ns user, "
	       "%.0f ns kernel, %.0f user instructions%s\n", args.depth,
	       (double)b.done * 1e9 / (double)(clock_ns() - start),
	       (double)(cpu_ns(true) - user) / (double)b.done,
	       (double)(cpu_ns(false) - kernel) / (double)b.done,
	       (double)(counter_read(fd) - count) / (double)b.done,
	       fd < 0 ? " (no counter)" : "");
	for (unsigned i = 0; i < args.depth; i++)
		buffer_put(b.io[i].buf, BLOCK);
	if (fd >= 0)
		close(fd);
}

static struct message ping;
static struct co *ping_co;
static unsigned pings;

static void ping_home(struct message *msg)
{
	(void)msg;
	co_wake(ping_co);
}

static void ping_away(struct message *msg)
{
	msg->fn = ping_home;
	thread_post(thread_by_index(MAIN_THREAD), msg);
}

static void ping_all(void)
{
	uint64_t start = clock_ns();

	ping_co = co_self();
	for (pings = 0; pings < ROUND_TRIPS; pings++) {
		ping.fn = ping_away;
		thread_post(thread_by_index(1), &ping);
		co_wait();
	}
	printf("message round trip: %.0f ns\n",
	       (double)(clock_ns() - start) / ROUND_TRIPS);
}

static void yielder(void *arg)
{
	co_wake(arg);
}

static void switch_all(void)
{
	uint64_t start = clock_ns();

	for (unsigned i = 0; i < SWITCHES; i++) {
		if (!co_spawn(yielder, co_self()))
			exit(1);
		co_wait();
	}
	printf("spawn and two switches: %.1f ns\n",
	       (double)(clock_ns() - start) / SWITCHES);
}

static void body(void *arg)
{
	struct file_info info;
	int rc;

	(void)arg;
	rc = co_file_open(args.path, O_RDONLY | O_DIRECT, 0, &b.file);
	if (rc == -EINVAL)
		rc = co_file_open(args.path, O_RDONLY, 0, &b.file);
	if (rc < 0 || co_file_info(b.file, &info) < 0 ||
	    info.size < BLOCK) {
		fprintf(stderr, "cannot use %s\n", args.path);
		exit(1);
	}
	b.blocks = info.size / BLOCK;
	read_all();
	ping_all();
	switch_all();
	co_file_close(b.file);
	runtime_quit();
}

int main(int argc, char **argv)
{
	struct runtime_options opts = { .io_threads = 1 };
	struct error *err = NULL;

	if (argc < 2)
		return 2;
	args.path = argv[1];
	args.depth = argc > 2 ? (unsigned)atoi(argv[2]) : 32;
	args.ns = (uint64_t)(argc > 3 ? atoi(argv[3]) : 2) * 1000000000;
	if (!args.depth || args.depth > DEPTH_MAX)
		return 2;
	if (runtime_start(&opts, NULL, &err)) {
		fprintf(stderr, "%s\n", err->text);
		return 1;
	}
	runtime_run(body, NULL);
	runtime_stop();
	return 0;
}
