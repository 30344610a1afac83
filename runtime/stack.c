/* SPDX-License-Identifier: MIT */
/*
 * stack.c - memory for stacks, each with a guard page below. Any thread.
 */
#include "runtime/loop.h"

#include <sys/mman.h>
#include <unistd.h>

char *stack_map(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *map;

	map = mmap(NULL, STACK_SIZE + page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE,
		   -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	if (mprotect(map, page, PROT_NONE)) {
		munmap(map, STACK_SIZE + page);
		return NULL;
	}
	return map + page;
}

void stack_unmap(char *stack)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int rc = munmap(stack - page, STACK_SIZE + page);

	assert(rc == 0);
}
