/* SPDX-License-Identifier: MIT */
/*
 * control.h - ublk's control commands (A6).
 *
 * Main thread, coroutines. A command runs on the control thread, which serves
 * no I/O and has a ring of its own. Each has a deadline: past it the call gives
 * -ETIMEDOUT, though the kernel may still carry it out; what it points to stays
 * alive until then. ADD and DEL run one at a time, all else side by side, so
 * that a device that is stuck does not hold up the others.
 *
 * All give 0 or a negative errno, and on failure one sentence that names
 * command and device.
 */
#ifndef UBLK_CONTROL_H
#define UBLK_CONTROL_H

#include <linux/ublk_cmd.h>
#include <stdbool.h>

#include "runtime/error.h"

#define UBLK_CONTROL_TIMEOUT_NS 30000000000ull

/*
 * Opens /dev/ublk-control once, loading the module where `load` says so, starts
 * the thread and asks for the features. Later calls return at once.
 */
int co_ublk_control_open(bool load, struct error **err) MUST_CHECK;
/* Ends the thread; no device is left but stuck ones. Harmless when not open. */
void ublk_control_close(void);
/* Whether a command for this device is still in the kernel. Main thread. */
bool ublk_control_pending(uint32_t id);
/* UBLK_F_ bits of this kernel; after co_ublk_control_open. */
uint64_t ublk_features(void);

/* *info: in and out. What flags the kernel took is in info->flags. */
int co_ublk_add(struct ublksrv_ctrl_dev_info *info, struct error **err)
	MUST_CHECK;
int co_ublk_set_params(uint32_t id, const struct ublk_params *params,
		       struct error **err) MUST_CHECK;
/* All tags are being fetched; returns when the disk is there. */
int co_ublk_start(uint32_t id, struct error **err) MUST_CHECK;
/* Takes the disk away whoever uses it, then ends the fetches. */
int co_ublk_stop(uint32_t id, struct error **err) MUST_CHECK;
/* Only with SAFE_STOP_DEV. -EBUSY: somebody has it open. */
int co_ublk_try_stop(uint32_t id, struct error **err) MUST_CHECK;
/* wait: until the id is free again. */
/* Bytes; UBLK_F_UPDATE_SIZE. The driver takes any size. */
int co_ublk_update_size(uint32_t id, uint64_t size, struct error **err)
	MUST_CHECK;
int co_ublk_del(uint32_t id, bool wait, struct error **err) MUST_CHECK;
int co_ublk_get_info(uint32_t id, struct ublksrv_ctrl_dev_info *info,
		     struct error **err) MUST_CHECK;

/* control-device.c: blocking, for helper threads. A descriptor or -errno. */
int ublk_control_device(bool load, struct error **err) MUST_CHECK;

#endif
