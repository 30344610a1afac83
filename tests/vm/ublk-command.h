/* SPDX-License-Identifier: MIT */
/*
 * ublk-command.h - one command to the kernel's ublk driver, waited for: for
 * programs of the tests, which have nothing of ours in them and end where that
 * cannot be.
 */
#ifndef TESTS_VM_UBLK_COMMAND_H
#define TESTS_VM_UBLK_COMMAND_H

#include <err.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/ublk_cmd.h>
#include <stdlib.h>
#include <string.h>

struct ublk_control {
	struct io_uring ring;
	int fd;
};

static inline void ublk_control_open(struct ublk_control *c)
{
	int ret;

	c->fd = open("/dev/ublk-control", O_RDWR | O_CLOEXEC);
	if (c->fd < 0)
		err(1, "/dev/ublk-control");
	ret = io_uring_queue_init(4, &c->ring, IORING_SETUP_SQE128);
	if (ret < 0)
		errx(1, "io_uring: %s", strerror(-ret));
}

/* What the driver says: 0, or a negative errno. */
static inline int ublk_control_do(struct ublk_control *c, unsigned op,
				  unsigned device, void *buf, unsigned len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);
	struct ublksrv_ctrl_cmd *cmd;
	struct io_uring_cqe *cqe;
	int ret;

	if (!sqe)
		abort();
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, c->fd, NULL, 0, 0);
	sqe->cmd_op = op;
	cmd = (void *)sqe->cmd;
	*cmd = (struct ublksrv_ctrl_cmd) {
		.dev_id = device, .queue_id = UBLK_QUEUE_ID_NONE,
		.len = (unsigned short)len, .addr = (uintptr_t)buf,
	};
	ret = io_uring_submit_and_wait(&c->ring, 1);
	if (ret < 0)
		errx(1, "io_uring: %s", strerror(-ret));
	ret = io_uring_wait_cqe(&c->ring, &cqe);
	if (ret < 0)
		errx(1, "io_uring: %s", strerror(-ret));
	ret = cqe->res;
	io_uring_cqe_seen(&c->ring, cqe);
	return ret;
}

#endif
