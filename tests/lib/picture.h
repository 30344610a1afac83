/* SPDX-License-Identifier: MIT */
/*
 * picture.h - everything of the graph that a failed change must not have
 * touched, to be compared (A18, A37). Main thread, outside a change: it checks
 * that none has left anything behind.
 */
#ifndef TESTS_LIB_PICTURE_H
#define TESTS_LIB_PICTURE_H

#include <jansson.h>

json_t *picture_take(void);

#endif
