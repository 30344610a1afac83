/* SPDX-License-Identifier: MIT */
/*
 * module.h - kernel modules. Blocking, for helper threads.
 */
#ifndef EXPORT_MODULE_H
#define EXPORT_MODULE_H

#include "runtime/error.h"

/*
 * Loads a module by the name of its driver. feature: what the kernel lacks
 * without it, as errors call it ("ublk").
 */
int module_load(const char *module, const char *feature, struct error **err)
	MUST_CHECK;

#endif
