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
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "tests/vm/ublk-command.h"

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 100000 };
	struct ublksrv_ctrl_dev_info info;
	struct ublk_control control;
	time_t end = time(NULL) + 60;
	unsigned number, after;
	int ret;

	if (argc != 3)
		errx(2, "usage: ublk-delete NUMBER MICROSECONDS");
	number = (unsigned)strtoul(argv[1], NULL, 10);
	after = (unsigned)strtoul(argv[2], NULL, 10);
	ublk_control_open(&control);
	while (ublk_control_do(&control, UBLK_U_CMD_GET_DEV_INFO, number,
			       &info, sizeof(info)) < 0) {
		if (time(NULL) > end)
			errx(1, "no device came");
		nanosleep(&pause, NULL);
	}
	usleep(after);
	ret = ublk_control_do(&control, UBLK_U_CMD_DEL_DEV, number, NULL, 0);
	/* it may have gone by itself meanwhile */
	if (ret < 0 && ret != -ENODEV && ret != -EINVAL)
		errx(1, "DEL_DEV: %s", strerror(-ret));
	return 0;
}
