/* SPDX-License-Identifier: MIT */
/*
 * lock.h - the end of an open file's locks.
 */
#ifndef RUNTIME_SIM_LOCK_H
#define RUNTIME_SIM_LOCK_H

#include "runtime/sim/world.h"

void lock_drop_all(struct file *f);

#endif
