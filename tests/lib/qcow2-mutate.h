/* SPDX-License-Identifier: MIT */
/*
 * qcow2-mutate.h - changes qcow2 images as fuzzing wants them: most of what
 * comes out still opens, and lies deeper down. Pure.
 */
#ifndef TESTS_LIB_QCOW2_MUTATE_H
#define TESTS_LIB_QCOW2_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* Changes bytes in place, any way it likes; returns how many there are then,
 * at most max. */
typedef size_t mutate_fn(uint8_t *data, size_t size, size_t max);

/*
 * Changes one thing of the image: a field of the header, an entry of a table
 * that the header leads to, or bytes anywhere, also the last 64, by which a
 * target may choose what it does. Then, mostly, brings the header's fields back
 * inside the file and their limits. data has room for max bytes; returns the
 * image's new size. bytes: libFuzzer's own mutation.
 */
size_t qcow2_mutate(uint8_t *data, size_t size, size_t max, uint64_t seed,
		    mutate_fn *bytes);

#endif
