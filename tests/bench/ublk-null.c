/* SPDX-License-Identifier: MIT */
/*
 * ublk-null.c - a bare ublk server that answers every request at once: what
 * the kernel's interface costs when nothing is behind it, to measure against.
 *
 *	ublk-null [-q QUEUES] [-d DEPTH] [-m copy|user-copy|auto-buf] [-p]
 *
 * One thread and one ring per queue; -p pins each to one CPU. copy: the kernel
 * copies to and from a buffer per tag. user-copy: pread and pwrite on ublkcN.
 * auto-buf: zero copy, the bytes are never touched. Prints the device's path
 * when it is usable, serves until SIGTERM or SIGINT, then deletes it. Wrong
 * or refused: one line and exit status 1.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/ublk_cmd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define IO_MAX (512u * 1024)

static struct ublksrv_ctrl_dev_info info = {
	.nr_hw_queues = 1, .queue_depth = 128, .max_io_buf_bytes = IO_MAX,
	.dev_id = UBLK_DEV_ID_ANY,
};
static int char_fd;
static bool pin;
static struct io_uring control_ring;
static int control_fd;

/* A command entry; neither ring can be full: one entry for each tag. */
static struct io_uring_sqe *command(struct io_uring *ring, int fd, unsigned op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		abort();
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = op;
	return sqe;
}

static int control(unsigned op, void *addr, unsigned len, uint64_t data)
{
	struct io_uring_sqe *sqe = command(&control_ring, control_fd, op);
	struct ublksrv_ctrl_cmd *cmd = (void *)sqe->cmd;
	struct io_uring_cqe *cqe;
	int res;

	*cmd = (struct ublksrv_ctrl_cmd) {
		.dev_id = info.dev_id, .queue_id = UBLK_QUEUE_ID_NONE,
		.len = (uint16_t)len, .addr = (uintptr_t)addr, .data = { data },
	};
	io_uring_submit(&control_ring);
	while (io_uring_wait_cqe(&control_ring, &cqe) == -EINTR)
		;
	res = cqe->res;
	io_uring_cqe_seen(&control_ring, cqe);
	return res;
}

static void fetch(struct io_uring *ring, unsigned op, uint16_t q, uint16_t tag,
		  int result, char *buf)
{
	struct io_uring_sqe *sqe = command(ring, char_fd, op);
	struct ublksrv_io_cmd *cmd = (void *)sqe->cmd;

	sqe->user_data = tag;
	if (info.flags & UBLK_F_AUTO_BUF_REG)
		sqe->addr = ublk_auto_buf_addr(tag, 0);
	cmd->q_id = q;
	cmd->tag = tag;
	cmd->result = result;
	cmd->addr = info.flags & UBLK_F_USER_COPY ? 0 : (uintptr_t)buf;
}

static int answer(const struct ublksrv_io_desc *d, uint16_t q, uint16_t tag,
		  char *buf)
{
	unsigned op = d->op_flags & UBLK_IO_OP_MASK;
	size_t len = (size_t)d->nr_sectors * 512;
	off_t at = (off_t)ublk_data_offset(q, tag);

	if (op > UBLK_IO_OP_WRITE)
		return 0;
	if (info.flags & UBLK_F_AUTO_BUF_REG ||
	    !(info.flags & UBLK_F_USER_COPY))
		return (int)len;
	return (int)(op == UBLK_IO_OP_READ ? pwrite(char_fd, buf, len, at)
					   : pread(char_fd, buf, len, at));
}

static void *serve(void *arg)
{
	uint16_t q = (uint16_t)(uintptr_t)arg, depth = info.queue_depth;
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN,
	};
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	cpu_set_t cpu;
	unsigned head, n, live = depth;
	char *bufs = aligned_alloc(4096, (size_t)depth * IO_MAX);
	const struct ublksrv_io_desc *descs =
		mmap(NULL, depth * sizeof(*descs), PROT_READ,
		     MAP_SHARED | MAP_POPULATE, char_fd,
		     (off_t)ublk_desc_offset(q, (uint64_t)getpagesize()));

	CPU_ZERO(&cpu);
	CPU_SET(q, &cpu);
	if (pin && sched_setaffinity(0, sizeof(cpu), &cpu))
		err(1, "cannot pin queue %u", q);
	if (io_uring_queue_init_params(depth, &ring, &params) ||
	    (info.flags & UBLK_F_AUTO_BUF_REG &&
	     io_uring_register_buffers_sparse(&ring, depth)) ||
	    descs == MAP_FAILED || !bufs)
		err(1, "cannot prepare queue %u", q);
	io_uring_register_ring_fd(&ring);
	for (uint16_t tag = 0; tag < depth; tag++)
		fetch(&ring, UBLK_U_IO_FETCH_REQ, q, tag, 0,
		      bufs + (size_t)tag * IO_MAX);
	while (live) {
		io_uring_submit_and_wait(&ring, 1);
		n = 0;
		io_uring_for_each_cqe(&ring, head, cqe) {
			uint16_t tag = (uint16_t)cqe->user_data;
			char *buf = bufs + (size_t)tag * IO_MAX;

			n++;
			if (cqe->res == UBLK_IO_RES_OK)
				fetch(&ring, UBLK_U_IO_COMMIT_AND_FETCH_REQ, q,
				      tag, answer(&descs[tag], q, tag, buf),
				      buf);
			else
				live--;
		}
		io_uring_cq_advance(&ring, n);
	}
	return NULL;
}

static void options(int argc, char **argv)
{
	static const char *const modes[] = { "copy", "user-copy", "auto-buf" };
	static const uint64_t flags[] = {
		0, UBLK_F_USER_COPY, UBLK_F_USER_COPY | UBLK_F_AUTO_BUF_REG,
	};
	unsigned m;
	int c;

	while ((c = getopt(argc, argv, "q:d:m:p")) != -1) {
		if (c == 'q') {
			info.nr_hw_queues = (uint16_t)atoi(optarg);
		} else if (c == 'd') {
			info.queue_depth = (uint16_t)atoi(optarg);
		} else if (c == 'p') {
			pin = true;
		} else if (c == 'm') {
			for (m = 0; m < 3 && strcmp(optarg, modes[m]); m++)
				;
			if (m == 3)
				errx(1, "'%s' is no mode", optarg);
			info.flags = flags[m];
		} else {
			exit(1);
		}
	}
}

int main(int argc, char **argv)
{
	struct ublk_params params = {
		.len = sizeof(params), .types = UBLK_PARAM_TYPE_BASIC,
		.basic = {
			.logical_bs_shift = 9, .physical_bs_shift = 12,
			.io_opt_shift = 12, .io_min_shift = 9,
			.max_sectors = IO_MAX / 512,
			.dev_sectors = (250ULL << 30) / 512,
		},
	};
	uint64_t wanted;
	pthread_t threads[64];
	char path[32];
	sigset_t quit;
	int sig, res;

	options(argc, argv);
	wanted = info.flags;
	sigemptyset(&quit);
	sigaddset(&quit, SIGTERM);
	sigaddset(&quit, SIGINT);
	pthread_sigmask(SIG_BLOCK, &quit, NULL);
	control_fd = open("/dev/ublk-control", O_RDWR | O_CLOEXEC);
	if (control_fd < 0 || io_uring_queue_init(4, &control_ring,
						  IORING_SETUP_SQE128))
		err(1, "/dev/ublk-control");
	res = control(UBLK_U_CMD_ADD_DEV, &info, sizeof(info), 0);
	if (res)
		errx(1, "ADD_DEV: %s", strerror(-res));
	if ((info.flags & wanted) != wanted || info.nr_hw_queues > 64) {
		control(UBLK_U_CMD_DEL_DEV_ASYNC, NULL, 0, 0);
		errx(1, "the kernel offers features %#llx only", info.flags);
	}
	res = control(UBLK_U_CMD_SET_PARAMS, &params, sizeof(params), 0);
	snprintf(path, sizeof(path), "/dev/ublkc%u", info.dev_id);
	char_fd = open(path, O_RDWR | O_CLOEXEC);
	if (res || char_fd < 0)
		err(1, "%s: SET_PARAMS %d, open", path, res);
	for (uintptr_t q = 0; q < info.nr_hw_queues; q++)
		if (pthread_create(&threads[q], NULL, serve, (void *)q))
			errx(1, "no thread");
	res = control(UBLK_U_CMD_START_DEV, NULL, 0, (uint64_t)getpid());
	if (res)
		errx(1, "START_DEV: %s", strerror(-res));
	printf("/dev/ublkb%u\n", info.dev_id);
	fflush(stdout);
	sigwait(&quit, &sig);
	control(UBLK_U_CMD_STOP_DEV, NULL, 0, 0);
	for (unsigned q = 0; q < info.nr_hw_queues; q++)
		pthread_join(threads[q], NULL);
	close(char_fd);
	return control(UBLK_U_CMD_DEL_DEV_ASYNC, NULL, 0, 0) ? 1 : 0;
}
