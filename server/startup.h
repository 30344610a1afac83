/* SPDX-License-Identifier: MIT */
/*
 * startup.h - what the command line says is to be done: each option is a
 * command of the control protocol, written as keys and values or as JSON.
 */
#ifndef SERVER_STARTUP_H
#define SERVER_STARTUP_H

#include "runtime/error.h"
#include "server/cmdline.h"

/* Prints and exits where a step asks for help ("help", "qcow2,help"). Before
 * the runtime starts. */
void startup_help(const struct cmdline *cmd);

/* Does the steps, one after the other, up to the first that fails; monitors
 * begin with monitor_start. Main thread, coroutine. */
int co_startup_run(const struct cmdline *cmd, struct error **err) MUST_CHECK;

#endif
