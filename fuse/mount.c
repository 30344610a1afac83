/* SPDX-License-Identifier: MIT */
/*
 * mount.c - see mount.h. Helper threads only.
 */
#include "fuse/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export/host-mounts.h"
#include "export/module.h"
#include "export/served.h"
#include "export/users.h"
#include "fuse/protocol.h"

#define DEVICE "/dev/fuse"

static const char *mount_dir;

void fuse_set_mount_dir(const char *dir)
{
	mount_dir = dir;
}

char *fuse_default_path(const char *id)
{
	char *path;

	return asprintf(&path, "%s/%s", mount_dir, id) < 0 ? NULL : path;
}

static bool is_ours(const char *path)
{
	size_t len = strlen(mount_dir);

	return !strncmp(path, mount_dir, len) && path[len] == '/' &&
	       !strchr(path + len + 1, '/');
}

static int device_open(struct error **err)
{
	static const int flags = O_RDWR | O_NONBLOCK | O_CLOEXEC;
	int fd = open(DEVICE, flags);

	if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO)) {
		int rc = module_load("fuse", "FUSE", err);

		if (rc)
			return rc;
		fd = open(DEVICE, flags);
	}
	if (fd < 0)
		return error_set(err, errno, "cannot open " DEVICE ": %s",
				 strerror(errno));
	return fd;
}

int fuse_available(struct error **err)
{
	int fd = device_open(err);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/*
 * The folder of mount points that nobody named, or -1 and errno. It may be
 * there already: then nobody else may make names in it.
 */
static int mount_dir_open(void)
{
	struct stat st;
	int fd;

	if (mkdir(mount_dir, 0700) && errno == ENOENT) {
		/* who has no control socket has made no folder for it either */
		char *parent = strdup(mount_dir);

		if (!parent)
			abort();
		*strrchr(parent, '/') = 0;
		mkdir(parent, 0700);
		free(parent);
		mkdir(mount_dir, 0700);
	}
	fd = open(mount_dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (!fstat(fd, &st) && st.st_uid == geteuid() &&
	    !(st.st_mode & (S_IWGRP | S_IWOTH)))
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

/* A mount point that nobody named. */
static int file_make(const char *path, struct error **err)
{
	int dir = mount_dir_open(), fd;

	if (dir < 0)
		return error_set(err, errno, "cannot use the folder '%s' for "
				 "mounts: %s", mount_dir, errno == EPERM ?
				 "it is not ours alone" : strerror(errno));
	fd = openat(dir, strrchr(path, '/') + 1,
		    O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	close(dir);
	if (fd < 0)
		return error_set(err, errno, "cannot make '%s': %s", path,
				 strerror(errno));
	close(fd);
	return 0;
}

/* What is mounted on is what was looked at, whatever its name is by then. */
static int mount_point_open(const char *path, struct error **err)
{
	int fd = open(path, O_PATH | O_CLOEXEC |
		      (is_ours(path) ? O_NOFOLLOW : 0));
	struct stat st;
	int code;

	if (fd < 0 || fstat(fd, &st)) {
		code = errno;
		if (fd >= 0)
			close(fd);
		return error_set(err, code, "cannot mount on '%s': %s", path,
				 strerror(code));
	}
	if (S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return error_set(err, EINVAL, "cannot mount on '%s': it is no regular "
			 "file", path);
}

static int mount_first(struct fuse_mount *m, int point, struct error **err)
{
	char source[96], data[160], target[40];

	m->fd[0] = device_open(err);
	if (m->fd[0] < 0)
		return m->fd[0];
	snprintf(source, sizeof(source), SERVED_MOUNT_SOURCE "%d:%s",
		 (int)getpid(), m->id);
	snprintf(data, sizeof(data), "fd=%d,rootmode=%o,user_id=%u,group_id=%u,"
		 "max_read=%u,default_permissions%s", m->fd[0], S_IFREG,
		 geteuid(), getegid(), FUSE_IO_MAX,
		 m->allow_other ? ",allow_other" : "");
	snprintf(target, sizeof(target), "/proc/self/fd/%d", point);
	if (!mount(source, target, SERVED_MOUNT_TYPE, MS_NOSUID | MS_NODEV |
		   (m->writable ? 0 : MS_RDONLY), data))
		return 0;
	return error_set(err, errno, "cannot mount on '%s': %s", m->path,
			 errno == EPERM ? "it needs root" : strerror(errno));
}

/* Each thread reads from a descriptor of its own. */
static int clone_first(struct fuse_mount *m, unsigned i, struct error **err)
{
	uint32_t first = (uint32_t)m->fd[0];

	m->fd[i] = device_open(err);
	if (m->fd[i] < 0)
		return m->fd[i];
	if (!ioctl(m->fd[i], FUSE_DEV_IOC_CLONE, &first))
		return 0;
	return error_set(err, errno, "cannot serve '%s' on several threads: %s",
			 m->path, strerror(errno));
}

static void mount_close_fds(struct fuse_mount *m)
{
	for (unsigned i = 0; i < m->queues; i++)
		if (m->fd[i] >= 0)
			close(m->fd[i]);
}

struct mount_job {
	struct fuse_mount *m;
	struct error **err;
	int rc;
};

static void mount_there(void *arg)
{
	struct mount_job *job = arg;
	struct fuse_mount *m = job->m;
	int point = -1;
	unsigned i;

	job->rc = is_ours(m->path) ? file_make(m->path, job->err) : 0;
	if (!job->rc)
		point = mount_point_open(m->path, job->err);
	if (!job->rc && point < 0)
		job->rc = point;
	if (!job->rc)
		job->rc = mount_first(m, point, job->err);
	if (point >= 0)
		close(point);
	if (job->rc)
		goto close;
	for (i = 1; i < m->queues && !job->rc; i++)
		job->rc = clone_first(m, i, job->err);
	if (!job->rc)
		return;
	umount2(m->path, MNT_DETACH | UMOUNT_NOFOLLOW);
close:
	mount_close_fds(m);
	if (is_ours(m->path))
		unlink(m->path);
}

/*
 * Our namespace is the users' slave, so the new mount may have come here too.
 * It must not: nobody would see that we still have it.
 */
static void hide_here(const char *path)
{
	char *line = NULL, point[USERS_PATH_MAX];
	size_t size = 0;
	bool here = false;
	int pid;
	FILE *f;

	if (!host_mounts_apart())
		return;
	f = fopen("/proc/self/mountinfo", "re");
	while (f && getline(&line, &size, f) > 0)
		here |= served_mount(line, &pid, point, sizeof(point)) &&
			pid == getpid() && !strcmp(point, path);
	free(line);
	if (f)
		fclose(f);
	if (here)
		umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
}

int fuse_mount(struct fuse_mount *m, struct error **err)
{
	struct mount_job job = { .m = m, .err = err };
	int rc;

	for (unsigned i = 0; i < FUSE_QUEUES_MAX; i++)
		m->fd[i] = -1;
	rc = host_mounts_run(mount_there, &job);
	if (rc)
		return error_set(err, rc, "cannot mount on '%s': the mount "
				 "namespace of its users cannot be entered: %s",
				 m->path, strerror(rc));
	if (!job.rc)
		hide_here(m->path);
	return job.rc;
}

struct unmount_job {
	const char *path;
	int flags, error;
};

int fuse_unmount_here(const char *path, int flags)
{
	int error = umount2(path, flags | UMOUNT_NOFOLLOW) ? errno : 0;

	/* EINVAL: somebody else has unmounted it */
	if ((!error || error == EINVAL) && is_ours(path))
		unlink(path);
	return error;
}

static void unmount_there(void *arg)
{
	struct unmount_job *job = arg;

	job->error = fuse_unmount_here(job->path, job->flags);
}

int fuse_unmount(const char *path, int flags)
{
	struct unmount_job job = { .path = path, .flags = flags };
	int rc = host_mounts_run(unmount_there, &job);

	return rc ? rc : job.error;
}
