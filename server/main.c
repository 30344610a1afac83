/* SPDX-License-Identifier: MIT */
/*
 * main.c - blkgraphd: from the command line to the last exit.
 *
 *	main: what may block, in this order: background, lock, directories,
 *	      socket, mount namespace; then the runtime
 *	serve: the first coroutine of the main thread: graph, state log,
 *	      leftovers of a dead daemon, clients; until somebody says quit
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export/served.h"
#include "export/sole.h"
#include "fuse/fuse.h"
#include "graph/create.h"
#include "graph/driver.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "graph/job.h"
#include "kernel-nbd/kernel-nbd.h"
#include "nbd/nbd.h"
#include "runtime/address.h"
#include "runtime/co.h"
#include "runtime/late.h"
#include "runtime/passed.h"
#include "runtime/thread.h"
#include "server/change.h"
#include "server/chardev.h"
#include "server/cmdline.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/guarded.h"
#include "server/lacks.h"
#include "server/leave.h"
#include "server/log.h"
#include "server/monitor.h"
#include "server/notify.h"
#include "server/object.h"
#include "server/deadline.h"
#include "server/process.h"
#include "server/reports.h"
#include "server/schema.h"
#include "server/signals.h"
#include "server/startup.h"
#include "server/statedir.h"
#include "server/statelog.h"
#include "ublk/ublk.h"

#define NS_PER_S 1000000000ull
/* For removing our files, in a directory that may not answer. */
#define FILES_NS SECONDS(2)

static struct {
	struct cmdline cmd;
	int socket;
	struct statelog *log;
	bool pid_written;
	struct error *failure;	/* why it could not serve */
} server = { .socket = -1 };

/* --- in the runtime --------------------------------------------------- */

static void remove_leftovers(unsigned (*co_remove)(struct error **err),
			     const char *what)
{
	struct error *left CLEANUP_ERROR = NULL;
	unsigned removed = co_remove(&left);

	if (removed)
		log_write(LOG_WARNING, "%u %s of a dead blkgraphd removed",
			  removed, what);
	if (left)
		log_error(LOG_WARNING, &left);
}

/* What only the log tells of: the mounts below are gone. */
static void remove_loops(json_t *state)
{
	const char *key;
	json_t *entry;

	json_object_foreach(state, key, entry) {
		struct error *left CLEANUP_ERROR = NULL;
		json_t *seq = json_object_get(entry, "diskseq");
		const char *device = arg_string(entry, "device", "");

		if (json_is_integer(seq) && co_fuse_remove_loop(
			    device, (uint64_t)json_integer_value(seq), &left))
			log_write(LOG_WARNING, "%s of a dead blkgraphd removed,"
				  " whose mount others had taken away", device);
		if (left)
			log_error(LOG_WARNING, &left);
	}
}

static void tell_of_past(const struct statelog_past *past)
{
	if (past->damaged)
		log_write(LOG_ERROR, "State log '%s' is damaged in its middle",
			  server.cmd.state_log);
	else if (past->dropped)
		log_write(LOG_WARNING, "State log '%s': %llu bytes of an "
			  "unfinished record dropped", server.cmd.state_log,
			  (unsigned long long)past->dropped);
	if (past->same_boot && json_object_size(past->state))
		log_write(LOG_WARNING, "The last blkgraphd died with %zu "
			  "things in use", json_object_size(past->state));
}

/* What the last daemon wrote and left (A23). Devices come back with recovery,
 * which is not built: here they are taken away. The log goes after them. */
static int serve_clean_up(struct error **err)
{
	struct statelog_past past = { 0 };
	int rc = server.log ? co_statelog_load(server.log, &past, err) : 0;

	if (rc < 0)
		return rc;
	tell_of_past(&past);
	if (server.cmd.client_fd < 0) {
		remove_leftovers(co_ublk_remove_leftovers, "devices");
		remove_leftovers(co_fuse_remove_leftovers, "mounts");
		remove_leftovers(co_kernel_nbd_remove_leftovers,
				 "NBD devices");
	}
	/* two may have one log, which keeps nobody from it */
	if (past.same_boot && !served_by_other(past.pid))
		remove_loops(past.state);
	json_decref(past.state);
	if (server.log)
		co_statelog_close(server.log, true);
	return 0;
}

/* Before the runtime starts: the command line may ask what there is. */
static void register_types(void)
{
	driver_register_all();
	ublk_register();
	nbd_register();
	fuse_register(server.cmd.mount_dir);
	kernel_nbd_register();
	schema_start();
}

/* Clients are served when all that the command line says is done, and the pid
 * file tells so. */
static int serve_start(struct error **err)
{
	int rc = serve_clean_up(err);

	if (rc < 0)
		return rc;
	change_set_log(server.log);
	rc = co_startup_run(&server.cmd, err);
	/* who gives steps may name files from where they are */
	if (rc == 0 && (server.cmd.daemonize || !server.cmd.step_count) &&
	    chdir("/") < 0)
		rc = error_set(err, errno, "Cannot go to '/': %s",
			       strerror(errno));
	if (rc == 0 && server.cmd.pid_file)
		rc = process_write_pid(server.cmd.pid_file, err);
	server.pid_written = rc == 0 && server.cmd.pid_file;
	return rc == 0 ? monitor_start(err) : rc;
}

static void remove_files(void)
{
	if (server.cmd.socket)
		unlink(server.cmd.socket);
	rmdir(server.cmd.mount_dir);
	chardev_close_all();
	if (server.pid_written)
		unlink(server.cmd.pid_file);
}

static void report_disk(const char *text)
{
	log_write(LOG_WARNING, "%s", text);
}

static void tell_late(const struct error *news)
{
	log_write(LOG_WARNING, "%s", news->text);
}

static void remove_files_call(struct late *work)
{
	(void)work;
	remove_files();
}

static void no_undo(struct late *work)
{
	(void)work;
}

/* What is left behind uses what is below it, so nothing is freed: the process
 * ends here. */
static void exit_now(void)
{
	struct late work = { .call = remove_files_call, .undo = no_undo };
	struct error *late CLEANUP_ERROR = NULL;

	if (!co_late(&work, FILES_NS, &late, "Removing files"))
		log_write(LOG_WARNING, "%s", late->text);
	process_unlock();
	co_log_stop_async();
	_exit(EXIT_FAILURE);
}

/* What the command line began is undone. */
static void serve_give_up(void)
{
	struct error *err CLEANUP_ERROR = NULL;

	if (leave_asked() || co_leave(&err) == 0)
		return;
	error_prefix(&err, "%s", server.failure->text);
	log_error(LOG_ERROR, &err);
	exit_now();
}

static void serve_until_left(void)
{
	if (server.cmd.socket)
		log_write(LOG_INFO, "Serving on %s", server.cmd.socket);
	process_ready();
	notify_systemd("READY=1");
	co_leave_wait();
	notify_systemd("STOPPING=1");
}

/* As if it had said quit: what it made and others use stays, and we do. */
static void own_client_ended(void)
{
	struct error *err CLEANUP_ERROR = NULL;

	if (!leave_asked() && co_leave(&err) < 0)
		log_error(LOG_ERROR, &err);
}

static void serve_signal(int signo)
{
	co_leave_signal(signo);
	/* what the command line waits for is not there to be heard */
	if (leave_asked())
		chardevs_stop_waiting();
}

static void serve(void *arg)
{
	(void)arg;
	log_start_async();
	graph_start(server.cmd.drain_deadline_s * NS_PER_S);
	deadline_start(server.cmd.open_deadline_s, tell_late);
	if (server.cmd.state_log)
		server.log = statelog_new(server.cmd.state_log);
	disk_set_report(report_disk);
	job_events_start();
	graph_events_start();
	leave_start();
	signals_watch(serve_signal);
	if (server.socket >= 0)
		monitor_add(server.socket);
	if (server.cmd.client_fd >= 0)
		monitor_add_client(server.cmd.client_fd, own_client_ended);
	if (serve_start(&server.failure) == 0)
		serve_until_left();
	else
		serve_give_up();
	if (!co_leave_rest(server.log))
		exit_now();
	log_write(LOG_INFO, "Ended, nothing is left behind");
	if (server.log)
		statelog_free(server.log);
	ublk_stop();
	reports_stop();
	graph_stop();
	co_log_stop_async();
	runtime_quit();
}

/* --- before and after ------------------------------------------------- */

static int open_log(struct error **err)
{
	const char *path = server.cmd.log_file;
	int fd;

	if (!path) {
		log_open(STDERR_FILENO);
		/* as quiet as those who wrote the script expect */
		if (!server.cmd.socket)
			log_only(LOG_WARNING);
		return 0;
	}
	fd = guarded_open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
	if (fd < 0)
		return error_set(err, errno, "Cannot open log '%s': %s", path,
				 strerror(errno));
	log_open(fd);
	return 0;
}

static int make_socket_dir(struct error **err)
{
	const char *slash = strrchr(server.cmd.socket, '/');
	char *dir = strndup(server.cmd.socket,
			    (size_t)(slash - server.cmd.socket));
	int rc = dir && *dir ? process_make_dir(dir, err) : 0;

	/* the lock, the log and the folder of mounts lie there too */
	if (rc == 0 && dir)
		rc = guarded_dir_check(*dir ? dir : "/",
				       "the socket's directory", err);
	free(dir);
	return rc;
}

/* Whose lock we have is ours, also where another's socket answers still. */
static int listen_on_socket(struct error **err)
{
	const struct address a = {
		.type = ADDRESS_UNIX, .path = server.cmd.socket,
	};
	int fds[ADDRESS_SOCKETS_MAX], rc;

	unlink(server.cmd.socket);
	rc = address_listen(&a, fds, err);
	if (rc < 0)
		return rc;
	server.socket = fds[0];
	return 0;
}

/* blkgraph(8) finds there what a dead daemon left, and its messages. */
static int lock_socket(struct error **err)
{
	const struct cmdline *cmd = &server.cmd;
	char *note;
	int rc;

	if (asprintf(&note, "%s\n%s\n", cmd->state_log,
		     cmd->log_file ? cmd->log_file : "") < 0)
		return error_set(err, ENOMEM, "No memory to start");
	rc = process_lock(cmd->lock, cmd->socket, note, err);
	free(note);
	return rc;
}

/* What must be there before the runtime starts. */
static int prepare_start(struct error **err)
{
	int rc = 0;

	if (server.cmd.daemonize) {
		chardev_forbid_stdio();
		rc = process_daemonize(err);
	}
	umask(077);
	if (rc == 0)
		rc = open_log(err);
	if (rc == 0 && server.cmd.client_fd >= 0)
		rc = passed_take(server.cmd.client_fd, err);
	if (rc < 0 || !server.cmd.socket)
		return rc;
	rc = make_socket_dir(err);
	if (rc == 0)
		rc = lock_socket(err);
	if (rc == 0)
		rc = statedir_prepare(server.cmd.state_dir, err);
	return rc < 0 ? rc : listen_on_socket(err);
}

static int start_runtime(struct error **err)
{
	struct runtime_options options = { .io_threads = server.cmd.threads };
	const char *warning = NULL;
	int rc;

	/* who ends with one client shows no disks that outlive it */
	if (server.cmd.client_fd < 0)
		process_protect();
	rc = runtime_start(&options, &warning, err);
	if (rc == 0 && warning)
		lacks_note("%s", warning);
	return rc;
}

/* As those of blkgraph(8), which passes them on. */
static int exit_status(const struct error *err)
{
	switch (err->code) {
	case EBUSY:
		return 4;
	case EACCES:
	case EPERM:
	case EROFS:
		return 5;
	case ENOSPC:
	case EDQUOT:
	case EIO:
		return 7;
	default:
		return EXIT_FAILURE;
	}
}

int main(int argc, char **argv)
{
	struct error *err CLEANUP_ERROR = NULL;
	int status = EXIT_SUCCESS;

	passed_note();
	cmdline_parse(&server.cmd, argc, argv);
	register_types();
	startup_help(&server.cmd);
	signals_block();
	if (prepare_start(&err) == 0) {
		if (start_runtime(&err) == 0) {
			runtime_run(serve, NULL);
			runtime_stop();
			if (server.failure)
				error_propagate(&err, &server.failure);
		}
		remove_files();
	}
	if (err) {
		/* stderr is where whoever started us looks */
		fprintf(stderr, "blkgraphd: %s\n", err->text);
		status = exit_status(err);
	}
	cmdline_free(&server.cmd);
	return status;
}
