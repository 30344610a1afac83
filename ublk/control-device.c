/* SPDX-License-Identifier: MIT */
/*
 * control-device.c - opening /dev/ublk-control, loading the driver where it is
 * not there. Blocking: runs on helper threads only.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "export/module.h"
#include "ublk/control.h"

#define CONTROL_PATH "/dev/ublk-control"

int ublk_control_device(bool load, struct error **err)
{
	int rc, fd = open(CONTROL_PATH, O_RDWR | O_CLOEXEC);

	if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO) &&
	    load) {
		rc = module_load("ublk_drv", "ublk", err);
		if (rc)
			return rc;
		fd = open(CONTROL_PATH, O_RDWR | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			return error_set(err, ENOENT,
					 "the kernel has ublk, but "
					 CONTROL_PATH " did not appear: is "
					 "/dev a devtmpfs?");
	}
	if (fd >= 0)
		return fd;
	if (errno == EACCES || errno == EPERM)
		return error_set(err, errno, "no permission to open "
				 CONTROL_PATH ": ublk devices need root");
	return error_set(err, errno, "cannot open " CONTROL_PATH ": %s",
			 strerror(errno));
}
