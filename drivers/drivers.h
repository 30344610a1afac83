/* SPDX-License-Identifier: MIT */
/*
 * drivers.h - the tables of all drivers, for the one list in drivers.c.
 */
#ifndef DRIVERS_DRIVERS_H
#define DRIVERS_DRIVERS_H

#include "graph/driver.h"

extern const struct driver file_driver;
extern const struct driver host_device_driver;
extern const struct driver null_co_driver;
extern const struct driver raw_driver;
extern const struct driver qcow2_driver;
extern const struct driver nop_driver;
extern const struct driver copy_on_read_driver;
extern const struct driver delay_driver;
extern const struct driver throttle_driver;
extern const struct driver blkverify_driver;
extern const struct driver blkdebug_driver;
extern const struct driver quorum_driver;
extern const struct driver blklogwrites_driver;

#endif
