/* SPDX-License-Identifier: MIT */
/*
 * ublk-features.c - print what the running kernel's ublk driver offers, as
 * GET_FEATURES tells it: one name per line, as in the headers without
 * UBLK_F_. A bit that we have no name for is printed as bit-N.
 *
 * The guest tests expect by these names, never by a kernel's version. Exit
 * status 1 and one line where there is no ublk driver or it cannot tell.
 */
#include <err.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/ublk_cmd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[64] = {
	"SUPPORT_ZERO_COPY", "URING_CMD_COMP_IN_TASK", "NEED_GET_DATA",
	"USER_RECOVERY", "USER_RECOVERY_REISSUE", "UNPRIVILEGED_DEV",
	"CMD_IOCTL_ENCODE", "USER_COPY", "ZONED", "USER_RECOVERY_FAIL_IO",
	"UPDATE_SIZE", "AUTO_BUF_REG", "QUIESCE", "PER_IO_DAEMON",
	"BUF_REG_OFF_DAEMON", "BATCH_IO", "INTEGRITY", "SAFE_STOP_DEV",
	"NO_AUTO_PART_SCAN", "SHMEM_ZC", "IO_DESC_SIZE",
};

int main(void)
{
	struct ublksrv_ctrl_cmd *cmd;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	uint64_t features = 0;
	int fd, ret;

	fd = open("/dev/ublk-control", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, "/dev/ublk-control");
	ret = io_uring_queue_init(4, &ring, IORING_SETUP_SQE128);
	if (ret < 0)
		errx(1, "io_uring: %s", strerror(-ret));
	sqe = io_uring_get_sqe(&ring);
	if (!sqe)
		abort();
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = UBLK_U_CMD_GET_FEATURES;
	cmd = (void *)sqe->cmd;
	*cmd = (struct ublksrv_ctrl_cmd) {
		.dev_id = UBLK_DEV_ID_ANY, .queue_id = UBLK_QUEUE_ID_NONE,
		.len = UBLK_FEATURES_LEN, .addr = (uintptr_t)&features,
	};
	ret = io_uring_submit_and_wait(&ring, 1);
	if (ret < 0)
		errx(1, "io_uring: %s", strerror(-ret));
	ret = io_uring_wait_cqe(&ring, &cqe);
	if (ret < 0)
		errx(1, "io_uring: %s", strerror(-ret));
	if (cqe->res < 0)
		errx(1, "GET_FEATURES: %s", strerror(-cqe->res));
	for (int bit = 0; bit < 64; bit++) {
		if (!(features >> bit & 1))
			continue;
		if (names[bit])
			puts(names[bit]);
		else
			printf("bit-%d\n", bit);
	}
	return 0;
}
