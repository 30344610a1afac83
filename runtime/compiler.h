/* SPDX-License-Identifier: MIT */
/*
 * compiler.h - attributes and the few macros that every file may use.
 */
#ifndef RUNTIME_COMPILER_H
#define RUNTIME_COMPILER_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define CACHELINE_ALIGNED __attribute__((aligned(64)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

#define min(a, b) ({ \
	__typeof__(a) min_a = (a); \
	__typeof__(b) min_b = (b); \
	min_a < min_b ? min_a : min_b; })
#define max(a, b) ({ \
	__typeof__(a) max_a = (a); \
	__typeof__(b) max_b = (b); \
	max_a > max_b ? max_a : max_b; })

/* power-of-two rounding of unsigned 64-bit values */
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline int is_aligned(uint64_t v, uint64_t align)
{
	return (v & (align - 1)) == 0;
}

static inline int is_pow2(uint64_t v)
{
	return v && (v & (v - 1)) == 0;
}

static inline uint64_t div_up(uint64_t v, uint64_t by)
{
	return v / by + (v % by != 0);
}

/* Zeroed memory, the caller's to free; size may be 0. Without memory the
 * process ends, as everywhere on the control path. */
static inline void *xcalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		abort();
	return p;
}

#endif
