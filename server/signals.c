/* SPDX-License-Identifier: MIT */
/*
 * signals.c - signals as events of the main ring. Main thread.
 */
#include "server/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "runtime/co.h"
#include "runtime/ring.h"
#include "server/log.h"

static struct {
	int fd;
	void (*fn)(int signo);
	bool stopping;
	struct co *stopper;
} signals = { .fd = -1 };

static void signals_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

void signals_block(void)
{
	sigset_t set;

	signals_set(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void signals_call(void *arg)
{
	int *signo = arg;
	int value = *signo;

	signals.fn(value);
}

static void signals_loop(void *arg)
{
	struct signalfd_siginfo info;
	int signo;

	(void)arg;
	while (!signals.stopping) {
		co_poll(signals.fd, POLLIN, 0);
		if (read(signals.fd, &info, sizeof(info)) != sizeof(info))
			continue;
		signo = (int)info.ssi_signo;
		/* a second signal must be heard while the first one is
		 * still being obeyed */
		if (!signals.stopping && !co_spawn(signals_call, &signo))
			log_write(LOG_ERROR, "Signal %d: no stack left",
				  signo);
	}
	close(signals.fd);
	co_wake(signals.stopper);
}

void signals_watch(void (*fn)(int signo))
{
	sigset_t set;

	signals_set(&set);
	signals.fn = fn;
	signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals.fd < 0 || !co_spawn(signals_loop, NULL)) {
		log_write(LOG_ERROR, "Signals are not heard: %s",
			  strerror(errno));
		signals.fn = NULL;
	}
}

void co_signals_stop(void)
{
	if (!signals.fn)
		return;
	signals.stopping = true;
	signals.stopper = co_self();
	/* one of our own wakes the loop, which then ends */
	kill(getpid(), SIGHUP);
	co_wait();
}
