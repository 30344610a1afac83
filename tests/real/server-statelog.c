/* SPDX-License-Identifier: MIT */
/*
 * server-statelog.c - the state log survives being cut anywhere (A23).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/co.h"
#include "runtime/thread.h"
#include "server/statelog-file.h"
#include "server/statelog-format.h"
#include "server/statelog.h"
#include "tests/lib/suite.h"

static char dir[] = "/tmp/server-statelog-XXXXXX";
static char path[64], path_new[72];
static json_t *now;	/* what snapshot() gives */

static json_t *snapshot(void)
{
	return json_deep_copy(now);
}

static void in_run(void (*fn)(void *))
{
	struct runtime_options opts = { .io_threads = 1 };
	struct error *err = NULL;
	int rc = runtime_start(&opts, NULL, &err);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	unlink(path);
	now = json_object();
	runtime_run(fn, NULL);
	runtime_stop();
	json_decref(now);
}

static void set(const char *key, int value)
{
	json_object_set_new(now, key, json_integer(value));
}

static void update(struct statelog *log)
{
	struct error *err = NULL;

	CU_ASSERT_EQUAL(co_statelog_update(log, snapshot, true, &err), 0);
	CU_ASSERT_PTR_NULL(err);
}

static struct statelog_past load(const char *file)
{
	struct statelog *log = statelog_new(file);
	struct statelog_past past = { 0 };
	struct error *err = NULL;

	CU_ASSERT_EQUAL_FATAL(co_statelog_load(log, &past, &err), 0);
	statelog_free(log);
	return past;
}

static bool load_equals(json_t *wanted)
{
	struct statelog_past past = load(path);
	bool same = json_equal(past.state, wanted);

	json_decref(past.state);
	return same;
}

/* Bytes that are not room for more; -1: there is no file. */
static off_t file_used(void)
{
	FILE *f = fopen(path, "re");
	off_t used = 0, at = 0;
	int c;

	if (!f)
		return -1;
	while ((c = getc(f)) != EOF) {
		at++;
		used = c ? at : used;
	}
	fclose(f);
	return used;
}

static void remembers_run(void *arg)
{
	struct statelog *log = statelog_new(path);
	struct statelog_past past;
	off_t size;

	(void)arg;
	CU_ASSERT_FALSE(statelog_active(log));
	past = load(path);
	CU_ASSERT(json_object_size(past.state) == 0 && !past.same_boot);
	json_decref(past.state);
	set("a", 1);
	set("b", 2);
	update(log);
	CU_ASSERT_TRUE(statelog_active(log));
	CU_ASSERT_TRUE(load_equals(now));
	json_object_del(now, "a");
	set("b", 3);
	set("c", 4);
	update(log);
	CU_ASSERT_TRUE(load_equals(now));
	size = file_used();
	update(log);
	CU_ASSERT_EQUAL(file_used(), size);
	past = load(path);
	CU_ASSERT(past.same_boot && !past.dropped && !past.damaged);
	json_decref(past.state);
	co_statelog_close(log, true);
	CU_ASSERT_EQUAL(file_used(), -1);
	statelog_free(log);
	runtime_quit();
}

static void remembers_the_last_update(void)
{
	in_run(remembers_run);
}

/* After a cut at `size` the state is one of those that updates gave. */
static void check_cut_at(const char *data, size_t size, json_t *states)
{
	FILE *f = fopen(path, "we");
	struct statelog_past past;
	bool known = false;
	json_t *state;
	size_t i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fwrite(data, 1, size, f), size);
	fclose(f);
	past = load(path);
	json_array_foreach(states, i, state)
		known |= json_equal(state, past.state);
	CU_ASSERT_TRUE(known);
	CU_ASSERT_FALSE(past.damaged);
	json_decref(past.state);
}

static void torn_run(void *arg)
{
	json_t *states = json_pack("[{}]");
	struct statelog *log = statelog_new(path);
	static char data[8192], whole[8192];
	size_t size;
	FILE *f;

	(void)arg;
	for (int i = 0; i < 12; i++) {
		set(i % 3 ? "x" : "y", i);
		if (i == 7)
			json_object_del(now, "y");
		update(log);
		json_array_append_new(states, json_deep_copy(now));
	}
	co_statelog_close(log, false);
	statelog_free(log);
	f = fopen(path, "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	CU_ASSERT(size == sizeof(data) && !data[size - 1]);
	while (size && !data[size - 1])
		size--;
	CU_ASSERT(size > 400);
	for (size_t i = 0; i <= size; i++) {
		char kept = data[i];

		check_cut_at(data, i, states);
		/* what was not written yet is the room that was there */
		memset(whole, 0, sizeof(whole));
		memcpy(whole, data, i);
		check_cut_at(whole, sizeof(whole), states);
		data[i] = kept;
	}
	/* a bad byte in the middle is no torn end */
	data[size / 2] ^= 1;
	f = fopen(path, "we");
	CU_ASSERT_EQUAL(fwrite(data, 1, size, f), size);
	fclose(f);
	{
		struct statelog_past past = load(path);

		CU_ASSERT(past.damaged && past.dropped);
		json_decref(past.state);
	}
	json_decref(states);
	runtime_quit();
}

static void a_torn_end_is_an_older_state(void)
{
	in_run(torn_run);
}

static void compact_run(void *arg)
{
	struct statelog *log = statelog_new(path);
	off_t largest = 0;

	(void)arg;
	for (int i = 0; i < 4000; i++) {
		set("counter", i);
		set("other", i / 7);
		update(log);
		if (i % 64 == 0)
			largest = max(largest, file_used());
	}
	CU_ASSERT(largest > 32 * 1024 && largest < 80 * 1024);
	CU_ASSERT_TRUE(load_equals(now));
	co_statelog_close(log, true);
	CU_ASSERT_EQUAL(access(path_new, F_OK), -1);
	statelog_free(log);
	runtime_quit();
}

static void a_grown_log_is_written_anew(void)
{
	in_run(compact_run);
}

static void refuse_run(void *arg)
{
	struct statelog *log = statelog_new("/nonexistent/log");
	struct error *err = NULL;

	(void)arg;
	set("a", 1);
	CU_ASSERT(co_statelog_update(log, snapshot, true, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_PTR_NOT_NULL(strstr(err->text, "/nonexistent/log"));
	CU_ASSERT_FALSE(statelog_active(log));
	error_clear(&err);
	co_statelog_close(log, false);
	statelog_free(log);
	runtime_quit();
}

static void what_cannot_be_written_is_refused(void)
{
	in_run(refuse_run);
}

/* --- faults ----------------------------------------------------------- */

static struct {
	unsigned calls, at;
	bool stays;
	int error;
} fault;

static bool full_disk;

static int fault_now(const char *call)
{
	if (full_disk)
		return !strcmp(call, "grow") ? ENOSPC : 0;
	fault.calls++;
	return fault.calls == fault.at ||
		(fault.stays && fault.at && fault.calls > fault.at) ?
		fault.error : 0;
}

/* What a change sets: now and then more than fits behind the last record. */
static void set_much(int i)
{
	size_t len = i % 5 == 3 ? 60000 : 200;
	char *text = malloc(len + 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	memset(text, 'a' + i, len);
	text[len] = 0;
	json_object_set_new(now, i % 2 ? "x" : "y", json_string(text));
	free(text);
}

/*
 * The file says what the last update that succeeded made durable, or what one
 * that failed after it wanted. Whoever is told of a failure undoes the change.
 */
static void run_updates(struct statelog *log)
{
	json_t *durable = json_object(), *wanted[16];
	unsigned failed = 0;

	for (int i = 0; i < 16; i++) {
		struct error *err CLEANUP_ERROR = NULL;
		struct statelog_past past;
		bool known;

		set_much(i);
		if (co_statelog_update(log, snapshot, i % 3 != 0, &err) == 0) {
			json_decref(durable);
			durable = json_deep_copy(now);
			while (failed)
				json_decref(wanted[--failed]);
		} else {
			CU_ASSERT_PTR_NOT_NULL(err);
			wanted[failed++] = now;
			now = json_deep_copy(durable);
		}
		past = load(path);
		known = json_equal(past.state, durable);
		for (unsigned k = 0; k < failed; k++)
			known |= json_equal(past.state, wanted[k]);
		CU_ASSERT_TRUE(known);
		CU_ASSERT_FALSE(past.damaged);
		json_decref(past.state);
	}
	if (!fault.stays)
		CU_ASSERT_EQUAL(failed, 0);
	while (failed)
		json_decref(wanted[--failed]);
	json_decref(durable);
}

static void faults_run(void *arg)
{
	static const int errors[] = { EIO, ENOSPC };

	(void)arg;
	statelog_file_fault = fault_now;
	for (unsigned n = 0; n < 2 * ARRAY_SIZE(errors); n++) {
		fault.stays = n % 2;
		fault.error = errors[n / 2];
		fault.at = 0;
		do {
			struct statelog *log = statelog_new(path);

			unlink(path);
			unlink(path_new);
			json_object_clear(now);
			fault.calls = 0;
			fault.at++;
			run_updates(log);
			fault.at = fault.calls < fault.at ? 0 : fault.at;
			co_statelog_close(log, true);
			statelog_free(log);
		} while (fault.at);
	}
	statelog_file_fault = NULL;
	runtime_quit();
}

static void a_fault_anywhere_leaves_a_state_that_was_asked_for(void)
{
	in_run(faults_run);
}

/* A disk that is full from a moment on takes what goes, and no more of what
 * needs room, until there is some. */
static void full_run(void *arg)
{
	struct statelog *log = statelog_new(path);
	struct error *err = NULL;
	unsigned added = 0;
	char key[16];

	(void)arg;
	set("first", 1);
	update(log);
	statelog_file_fault = fault_now;
	full_disk = true;
	do {
		json_t *before = json_deep_copy(now);

		snprintf(key, sizeof(key), "k%u", added);
		json_object_set_new(now, key, json_string(
			"as long as what a node has to say for itself, which "
			"is why the room that there is goes to its end soon"));
		if (co_statelog_update(log, snapshot, true, &err) < 0) {
			json_decref(now);
			now = before;
			break;
		}
		json_decref(before);
	} while (added++ < 10000);
	CU_ASSERT(added > 100 && added < 10000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_PTR_NOT_NULL(strstr(err->text, "No space left"));
	error_clear(&err);
	CU_ASSERT_TRUE(load_equals(now));
	while (added) {
		/* with its intent, as a command has */
		set("intent", (int)added);
		CU_ASSERT_EQUAL(co_statelog_update(log, snapshot, false, &err),
				0);
		snprintf(key, sizeof(key), "k%u", --added);
		json_object_del(now, key);
		json_object_del(now, "intent");
		CU_ASSERT_EQUAL(co_statelog_update(log, snapshot, false, &err),
				0);
		CU_ASSERT_PTR_NULL(err);
	}
	CU_ASSERT_TRUE(load_equals(now));
	full_disk = false;
	statelog_file_fault = NULL;
	co_statelog_close(log, true);
	statelog_free(log);
	runtime_quit();
}

static void a_full_disk_takes_what_goes(void)
{
	in_run(full_run);
}

struct updater {
	struct statelog *log;
	int number;
	struct co_group *group;
};

static void updater_run(void *arg)
{
	struct updater *u = arg;
	char key[16];

	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "k%d", u->number);
		set(key, i);
		update(u->log);
	}
	co_group_done(u->group);
}

static void parallel_run(void *arg)
{
	struct statelog *log = statelog_new(path);
	struct updater updaters[8];
	struct co_group group;

	(void)arg;
	co_group_init(&group);
	for (int i = 0; i < 8; i++) {
		updaters[i] = (struct updater) { log, i, &group };
		co_group_add(&group);
		CU_ASSERT_TRUE_FATAL(co_spawn(updater_run, &updaters[i]));
	}
	co_group_wait(&group);
	CU_ASSERT_TRUE(load_equals(now));
	co_statelog_close(log, true);
	statelog_free(log);
	runtime_quit();
}

static void updates_follow_each_other(void)
{
	in_run(parallel_run);
}

static void hostile_records_are_refused(void)
{
	static const char *const bad[] = {
		"", "00000002 00000000 {}\n", "ffffffff 00000000 {}\n",
		"00000002 a3 0000 {}\n", "0000000g 00000000 {}\n",
		"00000002-00000000 {}\n",
	};
	size_t used;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CU_ASSERT_PTR_NULL(statelog_decode(bad[i], strlen(bad[i]),
						   &used));
}

int main(void)
{
	static const struct suite_test tests[] = {
		TEST(remembers_the_last_update),
		TEST(a_torn_end_is_an_older_state),
		TEST(a_grown_log_is_written_anew),
		TEST(what_cannot_be_written_is_refused),
		TEST(a_fault_anywhere_leaves_a_state_that_was_asked_for),
		TEST(a_full_disk_takes_what_goes),
		TEST(updates_follow_each_other),
		TEST(hostile_records_are_refused),
	};
	int rc;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(path_new, sizeof(path_new), "%s.new", path);
	rc = suite_run("server-statelog", tests, ARRAY_SIZE(tests));
	unlink(path);
	rmdir(dir);
	return rc;
}
