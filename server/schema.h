/* SPDX-License-Identifier: MIT */
/*
 * schema.h - which types there are, and query-qmp-schema. Main thread.
 */
#ifndef SERVER_SCHEMA_H
#define SERVER_SCHEMA_H

#include <jansson.h>

struct command;

/* Makes the types, once, when all drivers and export types are registered. */
void schema_start(void);
/* Commands of the table, events, and every type that they name, in the
 * protocol's form; new reference. */
json_t *schema_query(const struct command *table);

#endif
