/* SPDX-License-Identifier: MIT */
/*
 * gone.h - disks of ours that others have taken away: losetup -d, umount,
 * nbd-client -d, deleting a ublk device.
 *
 * Such an export ends as by force, so that its image is free at once. What is
 * left is a note, which is shown as gone until somebody deletes the export or
 * makes another of its name.
 *
 * Main thread.
 */
#ifndef SERVER_GONE_H
#define SERVER_GONE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct export;

/* As export_listener.lost. */
void gone_suspect(struct export *exp);
/* Adds those that are gone, or are just being let go and not found among the
 * exports any more, to what query-block-exports shows. */
void gone_list(json_t *list);
bool gone_is_any(void);
/* Whether one of this name (an id or a device's path) is gone. */
bool gone_is_known(const char *name);
/* Whether the export that ends just now ends because it is gone. */
bool gone_is_ending(const char *id);
/*
 * Coroutine: waits while one of this name is being let go. Then forgets it,
 * with its event; false: there was none.
 */
bool co_gone_forget(const char *name);
/*
 * Around the making of an export, which may fail and then changes nothing: the
 * same wait before it, and afterwards its place is taken, with the event.
 */
uint64_t co_gone_settle(const char *id);
void gone_replaced(const char *id, uint64_t settled);

#endif
