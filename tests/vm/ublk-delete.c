/* SPDX-License-Identifier: MIT */
/*
 * ublk-delete.c - delete the next ublk device of that number as soon as there
 * is one, so many microseconds after it came: a start is refused at the step
 * that it has come to.
 *
 *	ublk-delete NUMBER MICROSECONDS
 *
 * Exit status 0 when it has gone, 1 and one line when none came in a minute or
 * it could not be deleted.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/ublk_cmd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int command(struct io_uring *ring, int fd, unsigned op, unsigned number,
		   void *buf, unsigned len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct ublksrv_ctrl_cmd *cmd;
	struct io_uring_cqe *cqe;
	int ret;

	if (!sqe)
		abort();
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = op;
	cmd = (void *)sqe->cmd;
	*cmd = (struct ublksrv_ctrl_cmd) {
		.dev_id = number, .queue_id = UBLK_QUEUE_ID_NONE,
		.len = (unsigned short)len, .addr = (uintptr_t)buf,
	};
	ret = io_uring_submit_and_wait(ring, 1);
	if (ret < 0)
		errx(1, "io_uring: %s", strerror(-ret));
	ret = io_uring_wait_cqe(ring, &cqe);
	if (ret < 0)
		errx(1, "io_uring: %s", strerror(-ret));
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 100000 };
	struct ublksrv_ctrl_dev_info info;
	struct io_uring ring;
	unsigned number, after;
	time_t end = time(NULL) + 60;
	int fd, ret;

	if (argc != 3)
		errx(2, "usage: ublk-delete NUMBER MICROSECONDS");
	number = (unsigned)strtoul(argv[1], NULL, 10);
	after = (unsigned)strtoul(argv[2], NULL, 10);
	fd = open("/dev/ublk-control", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, "/dev/ublk-control");
	ret = io_uring_queue_init(4, &ring, IORING_SETUP_SQE128);
	if (ret < 0)
		errx(1, "io_uring: %s", strerror(-ret));
	while (command(&ring, fd, UBLK_U_CMD_GET_DEV_INFO, number, &info,
		       sizeof(info)) < 0) {
		if (time(NULL) > end)
			errx(1, "no device came");
		nanosleep(&pause, NULL);
	}
	usleep(after);
	ret = command(&ring, fd, UBLK_U_CMD_DEL_DEV, number, NULL, 0);
	if (ret < 0 && ret != -ENODEV && ret != -EINVAL)
		errx(1, "DEL_DEV: %s", strerror(-ret));
	return 0;
}
