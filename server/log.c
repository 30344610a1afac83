/* SPDX-License-Identifier: MIT */
/*
 * log.c - the daemon's messages: "TIME LEVEL: TEXT", in the journal "<N>TEXT",
 * which knows the time, and on stderr with the daemon's name before it all.
 *
 * Main thread. One write is in flight at most; the ring buffer is in use from
 * `start` for `used` bytes, wrapping.
 */
#include "server/log.h"

#include <liburing.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/co.h"
#include "runtime/ring.h"

#define LOG_BUFFER (64u * 1024)
#define LOG_LINE 1024u

static struct {
	int fd;
	enum log_level least;
	bool journal;	/* lines begin with "<level>" */
	bool async;
	char buffer[LOG_BUFFER];
	unsigned start, used, dropped;
	struct ring_op write;
	bool writing;
} logger = { .fd = STDERR_FILENO, .least = LOG_INFO };

void log_open(int fd)
{
	logger.fd = fd;
	logger.journal = fd == STDERR_FILENO && getenv("JOURNAL_STREAM");
	/* reads a file, which must not wait later */
	tzset();
}

void log_only(enum log_level least)
{
	logger.least = least;
}

static const char *log_level_name(enum log_level level)
{
	switch (level) {
	case LOG_ERROR:
		return "error";
	case LOG_WARNING:
		return "warning";
	default:
		return "info";
	}
}

/* What stands before the text; its length. */
static int log_head(char *line, enum log_level level)
{
	struct timespec now;
	char date[32], zone[8];
	struct tm tm;

	if (logger.journal)
		return snprintf(line, LOG_LINE, "<%d>", level);
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	strftime(date, sizeof(date), "%F %T", &tm);
	strftime(zone, sizeof(zone), "%z", &tm);
	return snprintf(line, LOG_LINE, "%s%s.%03ld%s %s: ",
			logger.fd == STDERR_FILENO ? "blkgraphd: " : "", date,
			now.tv_nsec / 1000000, zone, log_level_name(level));
}

/* Writes one line, ended, control characters made harmless; its length. */
static unsigned PRINTF(3, 0) log_format(char *line, enum log_level level,
					const char *fmt, va_list args)
{
	int head = log_head(line, level), len;

	len = vsnprintf(line + head, LOG_LINE - 1 - (unsigned)head, fmt, args);
	len = min(len + head, (int)LOG_LINE - 2);
	for (int i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 127)
			line[i] = '?';
	line[len] = '\n';
	return (unsigned)len + 1;
}

static void log_put(const char *line, unsigned len)
{
	if (len > LOG_BUFFER - logger.used) {
		logger.dropped++;
		return;
	}
	for (unsigned i = 0; i < len; i++)
		logger.buffer[(logger.start + logger.used++) % LOG_BUFFER] =
			line[i];
}

static void log_written(struct ring_op *op, int res, unsigned flags);

static void log_submit(void)
{
	struct io_uring_sqe *sqe;

	if (logger.writing || !logger.used)
		return;
	logger.writing = true;
	logger.write.done = log_written;
	sqe = ring_sqe();
	io_uring_prep_write(sqe, logger.fd, logger.buffer + logger.start,
			    min(logger.used, LOG_BUFFER - logger.start),
			    (uint64_t)-1);
	ring_set_op(sqe, &logger.write);
}

static void log_written(struct ring_op *op, int res, unsigned flags)
{
	/* nobody reads the log any more: nothing to tell, nobody to tell it */
	unsigned bytes = res > 0 ? (unsigned)res : logger.used;
	unsigned dropped = logger.dropped;

	(void)op;
	(void)flags;
	logger.writing = false;
	logger.start = (logger.start + bytes) % LOG_BUFFER;
	logger.used -= bytes;
	if (dropped && logger.used < LOG_BUFFER / 2) {
		logger.dropped = 0;
		log_write(LOG_WARNING, "%u messages were lost", dropped);
	}
	log_submit();
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE];
	unsigned len;
	va_list args;

	if (level > logger.least)
		return;
	va_start(args, fmt);
	len = log_format(line, level, fmt, args);
	va_end(args);
	if (!logger.async) {
		/* where that fails there is no one to tell */
		(void)!write(logger.fd, line, len);
		return;
	}
	log_put(line, len);
	log_submit();
}

void log_error(enum log_level level, struct error **err)
{
	log_write(level, "%s", (*err)->text);
	error_clear(err);
}

void log_start_async(void)
{
	logger.async = true;
}

void co_log_stop_async(void)
{
	/* a reader who does not read must not keep the daemon from leaving */
	for (unsigned i = 0; i < 100 && logger.used; i++)
		co_sleep(10 * 1000 * 1000);
	logger.async = false;
}
