/* SPDX-License-Identifier: MIT */
/*
 * context.h - a stack and a place on it, and switching between them (A10).
 *
 * Private to runtime/. ASan, TSan and valgrind are told about every stack and
 * every switch, so that what they say about code on coroutines is true.
 */
#ifndef RUNTIME_CONTEXT_H
#define RUNTIME_CONTEXT_H

#include "runtime/compiler.h"

#if defined(__SANITIZE_ADDRESS__)
#define CONTEXT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONTEXT_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define CONTEXT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONTEXT_TSAN 1
#endif
#endif

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(CO_UCONTEXT)
#define CO_UCONTEXT 1
#endif

#ifdef CO_UCONTEXT
#include <ucontext.h>
#endif

struct context {
	void *sp;		/* while switched away from */
	char *stack;		/* lowest byte; native stacks: only in ASan */
	size_t size;		/* bytes */
	void (*fn)(void *arg);
	void *arg;
	void *fake_stack;	/* ASan's */
	void *fiber;		/* TSan's */
	unsigned stack_id;	/* valgrind's */
#ifdef CO_UCONTEXT
	ucontext_t uc;
#endif
};

/* Describes the calling OS thread's own stack. */
void context_native(struct context *c);
/*
 * Makes c start fn(arg) on the given stack when it is first switched to; fn
 * never returns. The stack is the caller's and must be page aligned at its low
 * end.
 */
void context_make(struct context *c, char *stack, size_t size,
		  void (*fn)(void *arg), void *arg);
/* Lets go of what the tools keep; the context is not running. */
void context_destroy(struct context *c);
/* `from` must describe the stack that this runs on. */
void context_switch(struct context *from, struct context *to);

#endif
