/* SPDX-License-Identifier: MIT */
/*
 * meta.c - the set of host clusters that hold metadata (meta.h).
 *
 * A slot goes from empty to a cluster to removed, and from removed to a
 * cluster again; never back to empty, so a reader's probe ends at the first
 * empty slot. A table that gets full is replaced by a larger one, and stays
 * until the end for who may still look into it: all of them together are
 * smaller than the last one.
 */
#include "drivers/format/qcow2/meta.h"

#include <errno.h>
#include <sys/mman.h>

#define SLOT_EMPTY 0u
#define SLOT_REMOVED 1u
#define SLOTS_MIN 1024u

struct meta_table {
	struct meta_table *older;
	uint64_t mask;
	size_t mapped;
	uint64_t slots[];	/* atomic; open addressing, cluster + 2 */
};

static uint64_t slot_of(const struct meta_table *t, uint64_t cluster)
{
	return ((cluster * UINT64_C(0x9e3779b97f4a7c15)) >> 24) & t->mask;
}

/* Not malloc: pages cost nothing before their first use. */
static struct meta_table *meta_table_new(uint64_t slots)
{
	size_t bytes = sizeof(struct meta_table) + slots * sizeof(uint64_t);
	struct meta_table *t = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS |
				    MAP_NORESERVE, -1, 0);

	if (t == MAP_FAILED)
		return NULL;
	t->mask = slots - 1;
	t->mapped = bytes;
	return t;
}

/* True: into a slot that was empty. */
static bool meta_table_put(struct meta_table *t, uint64_t cluster)
{
	uint64_t i = slot_of(t, cluster);
	bool fresh;

	while (t->slots[i] > SLOT_REMOVED)
		i = (i + 1) & t->mask;
	fresh = t->slots[i] == SLOT_EMPTY;
	__atomic_store_n(&t->slots[i], cluster + 2, __ATOMIC_RELEASE);
	return fresh;
}

int meta_set_init(struct meta_set *m)
{
	m->used = 0;
	m->table = meta_table_new(SLOTS_MIN);
	return m->table ? 0 : -ENOMEM;
}

void meta_set_destroy(struct meta_set *m)
{
	struct meta_table *t;

	while ((t = m->table)) {
		m->table = t->older;
		munmap(t, t->mapped);
	}
}

bool meta_set_has(const struct meta_set *m, uint64_t cluster)
{
	const struct meta_table *t = __atomic_load_n(&m->table,
						     __ATOMIC_ACQUIRE);

	for (uint64_t i = slot_of(t, cluster);; i = (i + 1) & t->mask) {
		uint64_t v = __atomic_load_n(&t->slots[i], __ATOMIC_RELAXED);

		if (v == SLOT_EMPTY)
			return false;
		if (v == cluster + 2)
			return true;
	}
}

/* Slots that may be taken before probes get long. */
static uint64_t meta_room(const struct meta_table *t)
{
	return t->mask / 4 * 3;
}

int meta_set_reserve(struct meta_set *m, uint64_t clusters)
{
	struct meta_table *t = m->table, *new;
	uint64_t slots = t->mask + 1;

	if (m->used + clusters <= meta_room(t))
		return 0;
	while (m->used + clusters > slots / 2)
		slots *= 2;
	new = meta_table_new(slots);
	if (!new)
		return -ENOMEM;
	m->used = 0;
	for (uint64_t i = 0; i <= t->mask; i++)
		if (t->slots[i] > SLOT_REMOVED)
			m->used += meta_table_put(new, t->slots[i] - 2);
	new->older = t;
	__atomic_store_n(&m->table, new, __ATOMIC_RELEASE);
	return 0;
}

void meta_set_add(struct meta_set *m, uint64_t cluster)
{
	if (meta_set_has(m, cluster))
		return;
	assert(m->used < meta_room(m->table));
	m->used += meta_table_put(m->table, cluster);
}

void meta_set_add_run(struct meta_set *m, uint64_t first, uint64_t count)
{
	while (count--)
		meta_set_add(m, first++);
}

void meta_set_remove(struct meta_set *m, uint64_t cluster)
{
	struct meta_table *t = m->table;

	for (uint64_t i = slot_of(t, cluster);; i = (i + 1) & t->mask) {
		if (t->slots[i] == SLOT_EMPTY)
			return;
		if (t->slots[i] != cluster + 2)
			continue;
		__atomic_store_n(&t->slots[i], SLOT_REMOVED, __ATOMIC_RELEASE);
		return;
	}
}
