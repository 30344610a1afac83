/* SPDX-License-Identifier: MIT */
/*
 * io_uring_iowait.h - what io_uring has had since Linux 6.15 against counting
 * an idle waiter as "iowait" (include/uapi/linux/io_uring.h there), written
 * down in our own words. It stands beside the system's <linux/io_uring.h>,
 * which on the distributions we support is older.
 */
#ifndef KERNEL_UAPI_IO_URING_IOWAIT_H
#define KERNEL_UAPI_IO_URING_IOWAIT_H

#include <linux/io_uring.h>

#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

#endif
