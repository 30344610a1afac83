/* SPDX-License-Identifier: MIT */
/*
 * ublk-features.c - print what the running kernel's ublk driver offers, as
 * GET_FEATURES tells it: one name per line, as in the headers without
 * UBLK_F_. A bit that we have no name for is printed as bit-N.
 *
 * The guest tests expect by these names, never by a kernel's version. Exit
 * status 1 and one line where there is no ublk driver or it cannot tell.
 */
#include <stdio.h>

#include "tests/vm/ublk-command.h"

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
	struct ublk_control control;
	uint64_t features = 0;
	int ret;

	ublk_control_open(&control);
	ret = ublk_control_do(&control, UBLK_U_CMD_GET_FEATURES,
			      UBLK_DEV_ID_ANY, &features, UBLK_FEATURES_LEN);
	if (ret < 0)
		errx(1, "GET_FEATURES: %s", strerror(-ret));
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
