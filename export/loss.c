/* SPDX-License-Identifier: MIT */
/*
 * loss.c - see loss.h.
 */
#include "export/loss.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "graph/hold.h"

/* Where what it writes is stored: below all that its node is made of. */
static const struct node *loss_storage(const struct root *root)
{
	const struct node *node = root->edge.child, *below;

	while (node && (below = node_primary_child(node)) != NULL)
		node = below;
	return node;
}

void loss_why(const struct root *root, const struct failure *failure, char *to,
	      size_t size)
{
	const struct node *node = loss_storage(root);
	const char *file = node ? node->filename : NULL;
	const char *error = strerror(failure->error);

	if (!file || failure->op == REQ_READ)
		snprintf(to, size, "%s", error);
	else if (failure->error == EDQUOT)
		snprintf(to, size, "the quota for '%s' is used up (%s)", file,
			 error);
	else if (failure->error != ENOSPC)
		snprintf(to, size, "%s, of '%s'", error, file);
	else
		snprintf(to, size, "%s'%s' is full (%s)",
			 strcmp(node->driver->name, "host_device") ?
			 "the file system of " : "", file, error);
}

bool loss_of_holds(const struct root *root, char *to, size_t size)
{
	struct failure cause = { .op = REQ_WRITE };
	struct holds held;
	char why[400];

	root_holds(root, &held);
	if (!held.count)
		return false;
	cause.error = held.error;
	loss_why(root, &cause, why, sizeof(why));
	snprintf(to, size, "%u request%s held (%s)", held.count,
		 held.count == 1 ? " is" : "s are", why);
	return true;
}

bool loss_of_writes(const struct root *root, char *to, size_t size)
{
	struct failure cause[FAILURE_CAUSES];
	unsigned n = root_failures(root, cause);
	const struct failure *most = NULL;
	uint64_t count = 0, bytes = 0;
	char why[400];

	for (unsigned i = 0; i < n; i++) {
		if (cause[i].held || (cause[i].op != REQ_WRITE &&
				      cause[i].op != REQ_ZEROES))
			continue;
		count += cause[i].count;
		bytes += cause[i].bytes;
		if (!most || cause[i].count > most->count)
			most = &cause[i];
	}
	if (!most)
		return false;
	loss_why(root, most, why, sizeof(why));
	snprintf(to, size, "%s; writes that did not reach the image: %llu, of "
		 "%llu bytes in all; what is not written again is lost, by "
		 "force or by the next detach", why,
		 (unsigned long long)count, (unsigned long long)bytes);
	return true;
}
