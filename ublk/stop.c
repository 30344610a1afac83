/* SPDX-License-Identifier: MIT */
/*
 * stop.c - taking a device away that somebody may be using (C9, U11, U12).
 *
 * Main thread, coroutines.
 */
#include <errno.h>

#include "export/sole.h"
#include "ublk/control.h"
#include "ublk/device.h"

uint64_t ublk_device_completed(struct disk *disk)
{
	struct ublk_device *dev = container_of(disk, struct ublk_device, disk);
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < dev->queues; i++) {
		struct ublk_queue_stats stats;

		co_ublk_queue_stats(&dev->queue[i], &stats);
		sum += stats.completed;
	}
	return sum;
}

static int co_stop_dev(struct ublk_device *dev, struct error **err)
{
	struct error *failed = NULL;
	int rc = co_ublk_stop(dev->id, &failed);

	if (rc == -ETIMEDOUT)
		ublk_device_stuck(dev, "STOP_DEV");
	/* somebody else has deleted it: its tags are still to be ended */
	if (rc == -ENODEV) {
		error_clear(&failed);
		rc = 0;
	}
	if (rc)
		error_propagate(err, &failed);
	return rc;
}

/* -EBUSY: somebody has it open; only then without a sentence. */
static int co_try_stop(struct ublk_device *dev, struct error **err)
{
	struct error *refused = NULL;
	int rc = co_ublk_try_stop(dev->id, &refused);

	if (rc == -EBUSY || rc == -ENODEV)
		error_clear(&refused);
	else if (rc)
		error_propagate(err, &refused);
	if (rc == -ETIMEDOUT)
		ublk_device_stuck(dev, "TRY_STOP_DEV");
	/* somebody else stopped it: the tags are still to be ended */
	return rc == -ENODEV ? co_stop_dev(dev, err) : rc;
}

/* Once: 0 it is stopped, -EAGAIN somebody was there who will go. */
static int co_stop_unused(void *arg, bool patient, struct error **err)
{
	struct ublk_device *dev = arg;
	struct sole_open *sole = NULL;
	int rc = co_sole_open(&dev->disk, &sole, err);

	if (rc == -EBUSY)
		return co_disk_judge_users(&dev->disk, NULL, true, patient,
					   err);
	if (rc == -ENODEV)
		return co_stop_dev(dev, err);
	if (rc)
		return rc;
	if (dev->flags & UBLK_F_SAFE_STOP_DEV) {
		co_sole_close(sole);
		rc = co_try_stop(dev, err);
		return rc != -EBUSY ? rc :
		       co_disk_judge_users(&dev->disk, NULL, true, patient,
					   err);
	}
	/* shared openers are not kept out by ours: look, then be quick */
	rc = co_disk_judge_users(&dev->disk, sole, false, patient, err);
	if (!rc)
		rc = co_stop_dev(dev, err);
	co_sole_close(sole);
	return rc;
}

int co_ublk_device_stop(struct ublk_device *dev, enum export_stop mode,
			struct error **err)
{
	int rc;

	if (dev->state == UBLK_STUCK && !ublk_control_pending(dev->id))
		dev->state = dev->stuck_from;
	if (dev->state == UBLK_STUCK)
		return error_set(err, ETIMEDOUT,
				 "/dev/%s is stuck in %s for %llu s",
				 dev->disk.name, dev->stuck_in,
				 (unsigned long long)
				 (clock_ns() - dev->stuck_since_ns) /
				 SECONDS(1));
	/* all that was left to do is DEL_DEV, once more */
	if (dev->state == UBLK_STOPPED)
		return co_ublk_device_end(dev, false, err);
	rc = mode == EXPORT_STOP_SAFE ?
	     co_disk_retry(co_stop_unused, dev, err) : co_stop_dev(dev, err);
	if (rc)
		return rc;
	/* after a forced stop the last opener may stay as long as he likes */
	return co_ublk_device_end(dev, mode == EXPORT_STOP_SAFE, err);
}

int co_ublk_device_idle(struct ublk_device *dev, bool patient,
			struct error **err)
{
	return dev->state != UBLK_LIVE ? 0 :
		co_disk_idle(&dev->disk, patient, err);
}
