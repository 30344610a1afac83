/* SPDX-License-Identifier: MIT */
/*
 * process.c - what the daemon does to its own process before it serves.
 *
 * One thread, nothing else runs yet; process_ready is the exception, main
 * thread.
 */
#include "server/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "export/host-mounts.h"
#include "export/served.h"
#include "runtime/passed.h"
#include "server/guarded.h"
#include "server/lacks.h"
#include "server/log.h"

/* For a daemon that is ending: 5 s. */
#define LOCK_TRIES 250u
#define LOCK_RETRY_US 20000u

/* Written to once when the daemon serves; -1 in the foreground. */
static int ready_pipe = -1;
static int lock_fd = -1;

/* The parent: stays until the child serves or is gone. */
static void process_wait_ready(pid_t child, int pipe_read)
{
	int status = 0;
	char byte;

	if (read(pipe_read, &byte, 1) == 1)
		_exit(0);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int process_daemonize(struct error **err)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(err, errno, "Cannot make a pipe: %s",
				 strerror(errno));
	child = fork();
	if (child < 0) {
		int code = errno;

		close(ends[0]);
		close(ends[1]);
		return error_set(err, code, "Cannot start a process: %s",
				 strerror(code));
	}
	if (child) {
		close(ends[1]);
		process_wait_ready(child, ends[0]);
	}
	close(ends[0]);
	ready_pipe = ends[1];
	setsid();
	return 0;
}

void process_ready(void)
{
	int null;

	if (ready_pipe < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	passed_close();
	if (write(ready_pipe, "", 1) != 1)
		log_write(LOG_WARNING, "Who started us is gone");
	close(ready_pipe);
	ready_pipe = -1;
}

/* The pid that the holder of the lock wrote into it; 0 where none is. */
static long lock_holder(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = 0;
	return strtol(text, NULL, 10);
}

static bool socket_is_served(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0);
	bool served;

	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	served = fd >= 0 &&
		(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 ||
		 errno == EAGAIN);
	if (fd >= 0)
		close(fd);
	return served;
}

/* 0, or a negative errno. The lock of a process that is killed goes late, that
 * of one that leaves not before its devices. */
static int lock_patiently(int fd, const char *socket)
{
	for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (i == LOCK_TRIES ||
		    (served_by_other((int)lock_holder(fd)) &&
		     socket_is_served(socket)))
			return -EBUSY;
		usleep(LOCK_RETRY_US);
	}
	return 0;
}

int process_lock(const char *path, const char *socket, const char *note,
		 struct error **err)
{
	int fd = guarded_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600), rc;

	if (fd < 0)
		return error_set(err, errno, "Cannot open lock file '%s': %s",
				 path, strerror(errno));
	rc = lock_patiently(fd, socket);
	if (rc == -EBUSY)
		error_set(err, EBUSY, "Another blkgraphd (process %ld) holds "
			  "lock file '%s'", lock_holder(fd), path);
	else if (rc < 0)
		error_set(err, -rc, "Cannot lock '%s': %s", path,
			  strerror(-rc));
	if (rc < 0) {
		close(fd);
		return rc;
	}
	/* open for as long as we live, or could */
	lock_fd = fd;
	if (ftruncate(fd, 0) < 0 ||
	    dprintf(fd, "%ld\n%s", (long)getpid(), note) < 0)
		return error_set(err, errno, "Cannot write lock file '%s': %s",
				 path, strerror(errno));
	return 0;
}

void process_unlock(void)
{
	if (lock_fd >= 0)
		close(lock_fd);
	lock_fd = -1;
}

int process_make_dir(const char *path, struct error **err)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return error_set(err, errno, "Cannot make directory '%s': %s", path,
			 strerror(errno));
}

int process_write_pid(const char *path, struct error **err)
{
	int fd = guarded_open(path, O_WRONLY | O_CREAT, 0644);
	int failed = fd < 0 || (ftruncate(fd, 0) < 0 && errno != EINVAL) ||
		dprintf(fd, "%ld\n", (long)getpid()) < 0;
	int code = errno;

	if (fd >= 0)
		close(fd);
	if (failed)
		return error_set(err, code, "Cannot write pid file '%s': %s",
				 path, strerror(code));
	return 0;
}

/* Whether mounts made outside later reach a slave of ours. */
static bool root_mount_is_shared(void)
{
	char *line = NULL, where[8];
	size_t size = 0;
	bool shared = false;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	while (f && getline(&line, &size, f) > 0)
		if (sscanf(line, "%*s %*s %*s %*s %7s", where) == 1 &&
		    !strcmp(where, "/"))
			shared = strstr(line, " shared:") != NULL;
	free(line);
	if (f)
		fclose(f);
	return shared;
}

/*
 * A namespace that is no slave of the users' would keep what they unmount, our
 * own disks too, and never see what they mount: then theirs is the better one.
 */
static void process_unshare_mounts(void)
{
	if (!root_mount_is_shared())
		return;
	host_mounts_keep();
	if (unshare(CLONE_NEWNS) < 0) {
		host_mounts_stay();
		lacks_note("No mount namespace of our own: %s; "
			  "do not mount our devices where we run",
			  strerror(errno));
		return;
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		lacks_note("Cannot make mounts slaves: %s",
			  strerror(errno));
}

static void process_adjust_oom(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "-1000", 5) != 5)
		lacks_note("The out-of-memory killer may choose "
			  "this process: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Each device and each image takes descriptors; 1024 are soon used up. */
static void process_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		lacks_note("No more open files allowed: %s",
			  strerror(errno));
}

void process_protect(void)
{
	process_raise_descriptors();
	process_unshare_mounts();
	process_adjust_oom();
}
