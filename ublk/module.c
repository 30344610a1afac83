/* SPDX-License-Identifier: MIT */
/*
 * module.c - opening /dev/ublk-control, loading the driver where it is not
 * there. Blocking: runs on helper threads only.
 */
#include <errno.h>
#include <fcntl.h>
#include <libkmod.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ublk/control.h"

#define CONTROL_PATH "/dev/ublk-control"
#define MODULE_NAME "ublk_drv"

static int insert_all(struct kmod_list *list, struct error **err)
{
	struct kmod_list *at;
	int rc = 0;

	kmod_list_foreach(at, list) {
		struct kmod_module *mod = kmod_module_get_module(at);

		rc = kmod_module_probe_insert_module(
			mod, KMOD_PROBE_APPLY_BLACKLIST, NULL, NULL, NULL,
			NULL);
		kmod_module_unref(mod);
		if (rc)
			break;
	}
	if (rc > 0)
		return error_set(err, EPERM,
				 "the kernel module " MODULE_NAME
				 " is blacklisted on this machine");
	if (rc < 0)
		return error_set(err, -rc,
				 "cannot load the kernel module " MODULE_NAME
				 ": %s", strerror(-rc));
	return 0;
}

static int module_load(struct error **err)
{
	struct kmod_list *list = NULL;
	struct utsname uts;
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	int rc;

	if (!ctx)
		return error_set(err, ENOMEM, "no memory for libkmod");
	/* by default it writes what it thinks to standard error */
	kmod_set_log_fn(ctx, NULL, NULL);
	rc = kmod_module_new_from_lookup(ctx, MODULE_NAME, &list);
	if (rc < 0 || !list) {
		uname(&uts);
		rc = error_set(err, ENODEV,
			       "this kernel (%s) has no ublk: there is no "
			       "module " MODULE_NAME " for it", uts.release);
	} else {
		rc = insert_all(list, err);
	}
	kmod_module_unref_list(list);
	kmod_unref(ctx);
	return rc;
}

int ublk_control_device(bool load, struct error **err)
{
	int rc, fd = open(CONTROL_PATH, O_RDWR | O_CLOEXEC);

	if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO) &&
	    load) {
		rc = module_load(err);
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
