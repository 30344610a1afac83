/* SPDX-License-Identifier: MIT */
/*
 * cmdline.h - what blkgraphd is told on its command line.
 */
#ifndef SERVER_CMDLINE_H
#define SERVER_CMDLINE_H

#include <stdbool.h>

#define DEFAULT_SOCKET "/run/blkgraph/blkgraph.sock"
#define DEFAULT_MOUNT_DIR "/run/blkgraph/fuse"
#define DEFAULT_STATE_DIR "/var/lib/blkgraph"

/* What is to be done at start, in the order given: --blockdev and the like. */
struct cmdline_step {
	const char *option;	/* "blockdev" */
	char *text;
};

/*
 * Paths are absolute: the daemon may leave the directory it was started in.
 * With steps and without --socket there is no control socket of our own, and
 * what lies beside it is NULL too. So it is with a client of one's own.
 */
struct cmdline {
	char *socket;		/* --socket, BLKGRAPH_SOCKET, the default */
	char *lock;		/* SOCKET.lock */
	char *state_dir;
	char *mount_dir;	/* of FUSE mount points that nobody named */
	char *state_log;	/* STATE_DIR/name of the socket.state */
	struct cmdline_step *steps;
	unsigned step_count;
	char *pid_file, *log_file;	/* or NULL */
	unsigned threads;	/* 0: by CPU count */
	unsigned drain_deadline_s;	/* 0: the default */
	unsigned open_deadline_s;
	int client_fd;		/* --client-fd, or -1 */
	bool daemonize;
};

/* Prints and exits for --help, --version and what it does not understand. */
void cmdline_parse(struct cmdline *cmd, int argc, char **argv);
void cmdline_free(struct cmdline *cmd);

#endif
