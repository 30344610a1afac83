/* SPDX-License-Identifier: MIT */
/*
 * passed.h - descriptors that whoever started the process left open for it.
 *
 * A number that somebody gives us is one of these, not yet used by anybody, or
 * it is refused: any other is a descriptor of our own, a control socket or an
 * image. The standard ones are none of them.
 */
#ifndef RUNTIME_PASSED_H
#define RUNTIME_PASSED_H

#include "runtime/error.h"

/*
 * Once, before the process opens anything: those that are open now. From here
 * on programs that we start do not get them.
 */
void passed_note(void);
/* The descriptor is the caller's, to use and to close. Any thread. */
int passed_take(int fd, struct error **err) MUST_CHECK;
/* Closes those that nobody took: who goes to the background must not keep a
 * lock or the end of a pipe of whoever started it. One thread. */
void passed_close(void);

#endif
