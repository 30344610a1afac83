/* SPDX-License-Identifier: MIT */
/*
 * info.h - what an image says about itself, for queries. Main thread.
 */
#ifndef QCOW2_INFO_H
#define QCOW2_INFO_H

#include "runtime/error.h"

struct json_t;
struct node;

/* The driver's operations of these names. */
void qcow2_info(struct node *node, struct json_t *object);
int qcow2_contents(struct node *node, struct json_t *object,
		   struct error **err) MUST_CHECK;

#endif
