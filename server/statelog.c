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
#include "runtime/io.h"
#include "server/guarded.h"
#include "server/statelog-format.h"

#define STATELOG_VERSION 1
/* A log this long, and four times its state, is written anew. */
#define COMPACT_BYTES (64u * 1024)
#define FILE_MAX (64u * 1024 * 1024)

struct statelog {
	char *path, *path_new;
	struct file *file;	/* NULL: no log yet, or to be written anew */
	bool active;
	bool read;	/* what the last daemon left, by our caller */
	uint64_t end;		/* where the next record goes */
	uint64_t base;		/* end right after the file was written anew */
	uint64_t seq, generation;
	json_t *state;		/* as in the file */
	struct co_mutex lock;
};

struct statelog *statelog_new(const char *path)
{
	struct statelog *log = calloc(1, sizeof(*log));

	assert(log);
	log->path = strdup(path);
	if (!log->path || asprintf(&log->path_new, "%s.new", path) < 0)
		abort();
	log->state = json_object();
	co_mutex_init(&log->lock);
	return log;
}

void statelog_free(struct statelog *log)
{
	assert(!log->file);
	co_mutex_destroy(&log->lock);
	json_decref(log->state);
	free(log->path_new);
	free(log->path);
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

/* The first record says which log this is. */
static bool statelog_read_head(struct statelog *log, json_t *record,
			       struct statelog_past *past)
{
	const char *boot = json_string_value(json_object_get(record, "boot"));
	char now[40];

	if (json_integer_value(json_object_get(record, "blkgraph-state")) !=
	    STATELOG_VERSION)
		return false;
	boot_id(now);
	past->same_boot = boot && !strcmp(boot, now);
	log->generation = (uint64_t)json_integer_value(
		json_object_get(record, "generation"));
	return true;
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

static void statelog_replay(struct statelog *log, const char *data, size_t len,
			    struct statelog_past *past)
{
	bool head = true;
	size_t used;

	while (len) {
		json_auto_t *record = statelog_decode(data, len, &used);

		if (!record)
			break;
		if (head ? !statelog_read_head(log, record, past) :
			   !statelog_apply(past->state, record))
			break;
		head = false;
		data += used;
		len -= used;
	}
	past->dropped = len;
	past->damaged = statelog_good_later(data, len);
}

int co_statelog_load(struct statelog *log, struct statelog_past *past,
		     struct error **err)
{
	char *data;
	size_t len;
	int rc = co_read_whole(log->path, &data, &len, err);

	if (rc < 0)
		return rc;
	*past = (struct statelog_past) { .state = json_object() };
	statelog_replay(log, data, len, past);
	log->read = true;
	free(data);
	return 0;
}

/* --- writing ---------------------------------------------------------- */

static int co_write_record(struct file *f, uint64_t *end, json_t *record)
{
	size_t len;
	char *text = statelog_encode(record, &len);
	int rc = -ENOMEM;

	if (text && len <= STATELOG_RECORD_MAX)
		rc = co_file_write(f, *end, text, (uint32_t)len);
	else if (text)
		rc = -EFBIG;
	free(text);
	if (rc == 0)
		*end += len;
	return rc;
}

static json_t *statelog_head(const struct statelog *log)
{
	char boot[40];

	boot_id(boot);
	return json_pack("{s:i,s:I,s:s,s:i}", "blkgraph-state",
			 STATELOG_VERSION, "generation",
			 (json_int_t)log->generation, "boot", boot, "pid",
			 (int)getpid());
}

static json_t *statelog_whole(struct statelog *log)
{
	return json_pack("{s:I,s:O}", "seq", (json_int_t)log->seq, "set",
			 log->state);
}

static void remove_new(void *arg)
{
	unlink(((const struct statelog *)arg)->path_new);
}

/* The new file's content, durable; *file open. */
static int co_write_new(struct statelog *log, struct file **file)
{
	json_auto_t *head = statelog_head(log);
	json_auto_t *whole = statelog_whole(log);
	uint64_t end = 0;
	int rc;

	/* what is there is an unfinished one, or not ours */
	co_blocking(remove_new, log);
	rc = co_file_open(log->path_new, O_RDWR | O_CREAT | O_EXCL |
			  O_NOFOLLOW, 0600, file);
	if (rc < 0)
		return rc;
	rc = co_write_record(*file, &end, head);
	if (rc == 0)
		rc = co_write_record(*file, &end, whole);
	if (rc == 0)
		rc = co_file_sync(*file);
	if (rc < 0)
		co_file_close(*file);
	else
		log->end = log->base = end;
	return rc;
}

struct rename_job {
	const struct statelog *log;
	int rc;
};

static int sync_directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash + 1 - path)) :
		strdup(".");
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	free(dir);
	return rc;
}

static void rename_into_place(void *arg)
{
	struct rename_job *job = arg;

	if (rename(job->log->path_new, job->log->path) < 0)
		job->rc = -errno;
	else
		job->rc = sync_directory_of(job->log->path);
}

/* Writes log->state anew; the old file holds until the new one is in place. */
static int co_statelog_compact(struct statelog *log)
{
	struct rename_job job = { .log = log };
	struct file *file;
	int rc;

	log->generation++;
	rc = co_write_new(log, &file);
	if (rc < 0)
		return rc;
	co_blocking(rename_into_place, &job);
	if (job.rc < 0) {
		co_file_close(file);
		return job.rc;
	}
	if (log->file)
		co_file_close(log->file);
	log->file = file;
	log->active = true;
	return 0;
}

static bool statelog_grown(const struct statelog *log)
{
	return log->end > COMPACT_BYTES && log->end > 4 * log->base;
}

static int co_statelog_append(struct statelog *log, json_t *record)
{
	int rc;

	if (!log->file || statelog_grown(log))
		return co_statelog_compact(log);
	json_object_set_new(record, "seq", json_integer((json_int_t)log->seq));
	rc = co_write_record(log->file, &log->end, record);
	if (rc == 0)
		rc = co_file_sync(log->file);
	if (rc == 0)
		return 0;
	/* What the file holds now is not known: after a failed sync another
	 * one may lie. It is written anew, elsewhere. */
	co_file_close(log->file);
	log->file = NULL;
	return co_statelog_compact(log);
}

static int co_statelog_update_locked(struct statelog *log, json_t *target,
				     struct error **err)
{
	json_auto_t *record = statelog_diff(log->state, target);
	json_t *before = log->state;
	int rc;

	if (!record && log->file)
		return 0;
	if (!record)
		record = json_object();
	log->seq++;
	log->state = json_incref(target);
	rc = co_statelog_append(log, record);
	if (rc < 0) {
		json_decref(log->state);
		log->state = before;
		return error_set(err, -rc, "Cannot write state log '%s': %s",
				 log->path, strerror(-rc));
	}
	json_decref(before);
	return 0;
}

int co_statelog_update(struct statelog *log, json_t *(*snapshot)(void),
		       struct error **err)
{
	json_t *target;
	int rc;

	co_lock(&log->lock);
	target = snapshot();
	rc = co_statelog_update_locked(log, target, err);
	json_decref(target);
	co_unlock(&log->lock);
	return rc;
}

static void remove_files(void *arg)
{
	const struct statelog *log = arg;

	unlink(log->path_new);
	unlink(log->path);
}

void co_statelog_close(struct statelog *log, bool remove)
{
	if (log->file)
		co_file_close(log->file);
	log->file = NULL;
	/* one that could not be read stays for who can */
	if (remove && (log->active || log->read))
		co_blocking(remove_files, log);
}
