/* SPDX-License-Identifier: MIT */
/*
 * drivers.c - the one list of all drivers. A new driver is a table here, a
 * page in Documentation/drivers/ and a test.
 */
#include "drivers/drivers.h"

void driver_register_all(void)
{
	static const struct driver *const all[] = {
		&file_driver,
		&host_device_driver,
		&null_co_driver,
		&raw_driver,
		&qcow2_driver,
		&nop_driver,
		&copy_on_read_driver,
		&delay_driver,
		&throttle_driver,
		&blkverify_driver,
		&blkdebug_driver,
		&quorum_driver,
		&blklogwrites_driver,
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		driver_register(all[i]);
}
