/* SPDX-License-Identifier: MIT */
/*
 * nop.c - the filter that does nothing. It has no operation, so the graph
 * forwards everything to the child (A9); its length measures the interface.
 */
#include "drivers/drivers.h"

static const struct child_decl nop_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

const struct driver nop_driver = {
	.name = "nop",
	.kind = DRIVER_FILTER,
	.children = nop_children,
};
