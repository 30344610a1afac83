/* SPDX-License-Identifier: MIT */
/*
 * driver.c - the table of registered drivers.
 *
 * Main thread, before the first node; read-only afterwards. A driver that
 * breaks a rule of driver.h is a bug of ours and stops the program here, not
 * under load.
 */
#include "graph/driver.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#define DRIVERS_MAX 64

static const struct driver *drivers[DRIVERS_MAX];
static unsigned driver_count;

/* G2: at most one PRIMARY; FILTERED implies PRIMARY and excludes the rest. */
static unsigned driver_check_children(const struct driver *driver)
{
	const struct child_decl *decl = driver->children;
	unsigned primary = 0, filtered = 0;

	for (; decl && decl->name; decl++) {
		assert(decl->role);
		primary += !!(decl->role & ROLE_PRIMARY);
		if (decl->role & ROLE_FILTERED) {
			assert(decl->role == (ROLE_FILTERED | ROLE_PRIMARY));
			filtered++;
		}
		if (decl->role & ROLE_COW)
			assert(decl->role == ROLE_COW);
		assert(!decl->list || decl->role == ROLE_DATA);
		assert(!decl->after_open || decl->role == ROLE_COW);
	}
	assert(primary <= 1);
	return filtered;
}

static void driver_check(const struct driver *driver)
{
	bool data = driver->read || driver->write || driver->zeroes ||
		    driver->discard;
	unsigned filtered = driver_check_children(driver);

	assert(driver->name);
	/* A9: nothing to answer and nothing to do means forwarding */
	assert(driver->map || data || filtered == 1);
	assert(driver->kind != DRIVER_FILTER || filtered == 1);
	assert(driver->kind != DRIVER_PROTOCOL || driver->open);
	assert(!driver->options || driver->options_size);
	assert(!driver->thread_state_size ||
	       (driver->thread_open && driver->thread_close));
	assert(!driver->flushes_children || driver->flush);
	assert(!driver->perm_check ||
	       (driver->perm_commit && driver->perm_abort));
}

void driver_register(const struct driver *driver)
{
	const struct driver *same = driver_find(driver->name);

	if (same) {
		assert(same == driver);
		return;
	}
	driver_check(driver);
	assert(driver_count < DRIVERS_MAX);
	drivers[driver_count++] = driver;
}

const struct driver *driver_find(const char *name)
{
	for (unsigned i = 0; i < driver_count; i++)
		if (!strcmp(drivers[i]->name, name))
			return drivers[i];
	return NULL;
}

const struct driver *driver_take(json_t *options, struct error **err)
{
	json_t *name = json_object_get(options, "driver");
	const struct driver *driver;

	if (!json_is_string(name)) {
		error_set(err, EINVAL, name ? "Invalid parameter type for"
			  " 'driver', expected: string" :
			  "Parameter 'driver' is missing");
		return NULL;
	}
	driver = driver_find(json_string_value(name));
	if (!driver)
		error_set(err, EINVAL, "Parameter 'driver' does not accept"
			  " value '%s'", json_string_value(name));
	json_object_del(options, "driver");
	return driver;
}

const struct driver *driver_at(unsigned i)
{
	return i < driver_count ? drivers[i] : NULL;
}
