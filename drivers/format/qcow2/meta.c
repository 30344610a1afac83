/* SPDX-License-Identifier: MIT */
/*
 * meta.c - the set of host clusters that hold metadata (meta.h).
 *
 * A slot goes from empty to a cluster to removed, and from removed to a
 * cluster again; never back to empty, so a reader's probe ends at the first
 * empty slot.
 */
#include "drivers/format/qcow2/meta.h"

#include <errno.h>
#include <sys/mman.h>

#define SLOT_EMPTY 0u
#define SLOT_REMOVED 1u

int meta_set_init(struct meta_set *m, uint64_t expected)
{
	uint64_t slots = 1024;
	void *mem;

	while (slots < 2 * expected)
		slots *= 2;
	m->mapped = slots * sizeof(uint64_t);
	mem = mmap(NULL, m->mapped, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	m->slots = mem;
	m->mask = slots - 1;
	m->used = 0;
	return 0;
}

void meta_set_destroy(struct meta_set *m)
{
	if (m->slots)
		munmap(m->slots, m->mapped);
	m->slots = NULL;
}

static uint64_t slot_of(const struct meta_set *m, uint64_t cluster)
{
	return ((cluster * UINT64_C(0x9e3779b97f4a7c15)) >> 24) & m->mask;
}

bool meta_set_has(const struct meta_set *m, uint64_t cluster)
{
	for (uint64_t i = slot_of(m, cluster);; i = (i + 1) & m->mask) {
		uint64_t v = __atomic_load_n(&m->slots[i], __ATOMIC_RELAXED);

		if (v == SLOT_EMPTY)
			return false;
		if (v == cluster + 2)
			return true;
	}
}

void meta_set_add(struct meta_set *m, uint64_t cluster)
{
	uint64_t i = slot_of(m, cluster);

	if (meta_set_has(m, cluster) || m->used > m->mask / 4 * 3)
		return;
	while (m->slots[i] > SLOT_REMOVED)
		i = (i + 1) & m->mask;
	if (m->slots[i] == SLOT_EMPTY)
		m->used++;
	__atomic_store_n(&m->slots[i], cluster + 2, __ATOMIC_RELEASE);
}

void meta_set_add_run(struct meta_set *m, uint64_t first, uint64_t count)
{
	while (count--)
		meta_set_add(m, first++);
}

void meta_set_remove(struct meta_set *m, uint64_t cluster)
{
	for (uint64_t i = slot_of(m, cluster);; i = (i + 1) & m->mask) {
		if (m->slots[i] == SLOT_EMPTY)
			return;
		if (m->slots[i] != cluster + 2)
			continue;
		__atomic_store_n(&m->slots[i], SLOT_REMOVED, __ATOMIC_RELEASE);
		return;
	}
}
