/* SPDX-License-Identifier: MIT */
/*
 * statelog.c - the daemon's state as a write-ahead log.
 *
 * Main thread, coroutines; log->lock makes updates follow each other.
 */
#include "server/statelog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/co.h"
#include "runtime/thread.h"
#include "server/guarded.h"
#include "server/statelog-file.h"
#include "server/statelog-format.h"

/*
 * What adds something leaves this much room: for its own result, and for the
 * records of what goes later, when the disk may be full.
 */
#define KEEP_BYTES (64u * 1024)
#define FILE_MAX (64u * 1024 * 1024)

struct statelog {
	struct statelog_file file;
	bool active;
	bool behind;	/* the last update failed: what the file says is old */
	bool read;	/* what the last daemon left, by our caller */
	uint64_t seq, generation;
	json_t *state;		/* as in the file */
	struct co_mutex lock;
};

struct statelog *statelog_new(const char *path)
{
	struct statelog *log = calloc(1, sizeof(*log));

	assert(log);
	statelog_file_init(&log->file, path);
	log->state = json_object();
	co_mutex_init(&log->lock);
	return log;
}

void statelog_free(struct statelog *log)
{
	assert(log->file.now.fd < 0);
	statelog_file_free(&log->file);
	co_mutex_destroy(&log->lock);
	json_decref(log->state);
	free(log);
}

bool statelog_active(const struct statelog *log)
{
	return log->active;
}

/* Changes with every start of the machine; "" where the kernel does not say. */
static void boot_id(char id[40])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, id, 36);

	id[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
}

/* --- reading ---------------------------------------------------------- */

struct read_job {
	const char *path;
	char *data;
	size_t len;
	int rc;
};

static void read_whole(void *arg)
{
	struct read_job *job = arg;
	int fd = guarded_open(job->path, O_RDONLY, 0);
	struct stat st;
	ssize_t n = 1;

	job->rc = fd < 0 ? fd : fstat(fd, &st) < 0 ? -errno :
		!S_ISREG(st.st_mode) ? -EINVAL :
		st.st_size > FILE_MAX ? -EFBIG : 0;
	if (job->rc == 0) {
		job->data = malloc((size_t)st.st_size + 1);
		job->rc = job->data ? 0 : -ENOMEM;
	}
	while (job->rc == 0 && n && job->len < (size_t)st.st_size) {
		n = read(fd, job->data + job->len,
			 (size_t)st.st_size - job->len);
		job->len += n > 0 ? (size_t)n : 0;
		if (n < 0 && errno != EINTR)
			job->rc = -errno;
	}
	if (fd >= 0)
		close(fd);
}

static int co_read_whole(const char *path, char **data, size_t *len,
			 struct error **err)
{
	struct read_job job = { .path = path };

	co_blocking(read_whole, &job);
	if (job.rc == -ENOENT)
		job.rc = 0;
	*data = job.data;
	*len = job.len;
	if (job.rc == 0)
		return 0;
	free(job.data);
	return error_set(err, -job.rc, "Cannot read state log '%s': %s", path,
			 strerror(-job.rc));
}

/* Whether any later line is a good record: then this is no torn end. */
static bool statelog_good_later(const char *data, size_t len)
{
	const char *line;

	while (len && (line = memchr(data, '\n', len)) != NULL) {
		json_t *record;
		size_t used;

		len -= (size_t)(line + 1 - data);
		data = line + 1;
		record = statelog_decode(data, len, &used);
		json_decref(record);
		if (record)
			return true;
	}
	return false;
}

static void statelog_read_past(struct statelog *log, const char *data,
			       size_t len, struct statelog_past *past)
{
	json_auto_t *head = NULL;
	size_t good = statelog_replay(past->state, data, len, &head);

	if (head) {
		const char *boot = json_string_value(json_object_get(head,
								     "boot"));
		char now[40];

		boot_id(now);
		past->same_boot = boot && !strcmp(boot, now);
		past->pid = (int)json_integer_value(json_object_get(head,
								    "pid"));
		log->generation = (uint64_t)json_integer_value(
			json_object_get(head, "generation"));
	}
	/* room for further records is zero */
	while (len > good && !data[len - 1])
		len--;
	past->dropped = len - good;
	past->damaged = statelog_good_later(data + good, len - good);
}

int co_statelog_load(struct statelog *log, struct statelog_past *past,
		     struct error **err)
{
	char *data;
	size_t len;
	int rc = co_read_whole(log->file.path, &data, &len, err);

	if (rc < 0)
		return rc;
	*past = (struct statelog_past) { .state = json_object() };
	statelog_read_past(log, data, len, past);
	log->read = true;
	free(data);
	return 0;
}

/* --- writing ---------------------------------------------------------- */

/* What one update writes, on a helper thread. */
struct write_job {
	struct statelog_file *file;
	char *record, *whole;	/* whole: a generation of its own */
	size_t record_len, whole_len;
	uint64_t keep;
	int rc;
};

static void write_run(void *arg)
{
	struct write_job *job = arg;

	job->rc = job->record ? statelog_file_append(job->file, job->record,
			job->record_len, job->whole_len, job->keep) : -ENOSPC;
	/* it has grown, or what it holds now is not known */
	if (job->rc)
		job->rc = statelog_file_anew(job->file, job->whole,
					     job->whole_len, job->keep);
}

/* A head and all of the state. NULL: there is no memory, or it is too long. */
static char *statelog_whole(struct statelog *log, size_t *len)
{
	char boot[40], *text = NULL, *head, *rest;
	size_t head_len, rest_len;
	json_t *record;

	boot_id(boot);
	record = json_pack("{s:i,s:I,s:s,s:i}", "blkgraph-state",
			   STATELOG_VERSION, "generation",
			   (json_int_t)log->generation, "boot", boot, "pid",
			   (int)getpid());
	head = statelog_encode(record, &head_len);
	json_decref(record);
	record = json_pack("{s:I,s:O}", "seq", (json_int_t)log->seq, "set",
			   log->state);
	rest = statelog_encode(record, &rest_len);
	json_decref(record);
	if (head && rest && rest_len <= STATELOG_RECORD_MAX)
		text = malloc(head_len + rest_len);
	if (text) {
		memcpy(text, head, head_len);
		memcpy(text + head_len, rest, rest_len);
		*len = head_len + rest_len;
	}
	free(head);
	free(rest);
	return text;
}

static int co_statelog_write(struct statelog *log, json_t *record, bool adds)
{
	struct write_job job = {
		.file = &log->file,
		.keep = adds ? KEEP_BYTES : 0,
	};

	log->generation++;
	job.whole = statelog_whole(log, &job.whole_len);
	if (!job.whole)
		return -EFBIG;
	if (record && log->active) {
		json_object_set_new(record, "seq",
				    json_integer((json_int_t)log->seq));
		job.record = statelog_encode(record, &job.record_len);
	}
	co_blocking(write_run, &job);
	free(job.record);
	free(job.whole);
	log->active |= job.rc == 0;
	/* what failed may still be there after a power cut: not undone, but
	 * not known, until another generation is durable */
	log->behind = job.rc != 0;
	return job.rc;
}

static int co_statelog_update_locked(struct statelog *log, json_t *target,
				     bool adds, struct error **err)
{
	json_auto_t *record = statelog_diff(log->state, target);
	json_t *before = log->state;
	int rc;

	if (!record && log->active && !log->behind)
		return 0;
	log->seq++;
	log->state = json_incref(target);
	/* one that is behind may hold what was refused: it is written anew */
	rc = co_statelog_write(log, log->behind ? NULL : record, adds);
	if (rc < 0) {
		json_decref(log->state);
		log->state = before;
		return error_set(err, -rc, "Cannot write state log '%s': %s",
				 log->file.path, strerror(-rc));
	}
	json_decref(before);
	return 0;
}

int co_statelog_update(struct statelog *log, json_t *(*snapshot)(void),
		       bool adds, struct error **err)
{
	json_t *target;
	int rc;

	co_lock(&log->lock);
	target = snapshot();
	rc = co_statelog_update_locked(log, target, adds, err);
	json_decref(target);
	co_unlock(&log->lock);
	return rc;
}

struct close_job {
	struct statelog_file *file;
	bool remove;
};

static void log_close_run(void *arg)
{
	const struct close_job *job = arg;

	statelog_file_close(job->file, job->remove);
}

void co_statelog_close(struct statelog *log, bool remove)
{
	/* one that could not be read stays for who can */
	struct close_job job = {
		&log->file, remove && (log->active || log->read),
	};

	co_blocking(log_close_run, &job);
}
