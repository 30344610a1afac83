/* SPDX-License-Identifier: MIT */
/*
 * module.c - see module.h. Helper threads only.
 */
#include "export/module.h"

#include <errno.h>
#include <libkmod.h>
#include <string.h>
#include <sys/utsname.h>

static int insert_all(struct kmod_list *list, const char *module,
		      struct error **err)
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
		return error_set(err, EPERM, "the kernel module %s is "
				 "blacklisted on this machine", module);
	if (rc < 0)
		return error_set(err, -rc, "cannot load the kernel module %s: "
				 "%s", module, strerror(-rc));
	return 0;
}

int module_load(const char *module, const char *feature, struct error **err)
{
	struct kmod_list *list = NULL;
	struct utsname uts;
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	int rc;

	if (!ctx)
		return error_set(err, ENOMEM, "no memory for libkmod");
	/* by default it writes what it thinks to standard error */
	kmod_set_log_fn(ctx, NULL, NULL);
	rc = kmod_module_new_from_lookup(ctx, module, &list);
	if (rc < 0 || !list) {
		uname(&uts);
		rc = error_set(err, ENODEV, "this kernel (%s) has no %s: there "
			       "is no module %s for it", uts.release, feature,
			       module);
	} else {
		rc = insert_all(list, module, err);
	}
	kmod_module_unref_list(list);
	kmod_unref(ctx);
	return rc;
}
