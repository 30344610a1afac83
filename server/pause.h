/* SPDX-License-Identifier: MIT */
/*
 * pause.h - how long a change held I/O, as its reply says it (A17).
 */
#ifndef SERVER_PAUSE_H
#define SERVER_PAUSE_H

#include <jansson.h>

#include "graph/graph.h"

/* Adds the members to result, an object, and gives that. */
static inline json_t *with_pause(json_t *result,
				 const struct change_stats *stats)
{
	json_object_set_new(result, "pause-ns",
			    json_integer((json_int_t)stats->pause_ns));
	json_object_set_new(result, "switch-ns",
			    json_integer((json_int_t)stats->switch_ns));
	json_object_set_new(result, "in-flight",
			    json_integer((json_int_t)stats->in_flight));
	return result;
}

#endif
