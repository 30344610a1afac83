/* SPDX-License-Identifier: MIT */
/*
 * snapshot.h - the graph and the exports as the state log keeps them.
 */
#ifndef SERVER_SNAPSHOT_H
#define SERVER_SNAPSHOT_H

#include <jansson.h>

/*
 * Main thread. An object with a key per node ("nodes/NAME") and per export
 * ("exports/ID"); new reference. Holds what it takes to build them again,
 * nothing that changes by serving I/O.
 */
json_t *snapshot_take(void);

#endif
