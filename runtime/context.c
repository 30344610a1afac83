/* SPDX-License-Identifier: MIT */
/*
 * context.c - switching stacks, by hand on x86-64 and aarch64, by ucontext
 * elsewhere or with -DCO_UCONTEXT. Runs on every thread.
 *
 * What a function call must preserve is pushed on the old stack, the stack
 * pointer is exchanged, and the same is popped from the new one. Floating point
 * control words are not switched: nothing here changes them. The switch leaves
 * by a plain return, so indirect-branch tracking has nothing to object to; CPU
 * shadow stacks are not supported (the build asks for branch protection only).
 */
#include "runtime/context.h"

#include <pthread.h>
#include <string.h>

#ifdef CONTEXT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CONTEXT_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-qual"
#include <valgrind/valgrind.h>
#pragma GCC diagnostic pop
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(start, end) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

/* The first C code on a new stack; the assembly below calls it by name. */
void context_start(struct context *c);

static void context_arrived(struct context *c)
{
#ifdef CONTEXT_ASAN
	__sanitizer_finish_switch_fiber(c->fake_stack, NULL, NULL);
#else
	(void)c;
#endif
}

void context_start(struct context *c)
{
	context_arrived(c);
	c->fn(c->arg);
	__builtin_trap();
}

#ifdef CO_UCONTEXT

/* makecontext passes only ints, so the pointer goes in two halves. */
static void context_start_halves(unsigned high, unsigned low)
{
	uintptr_t at = (uintptr_t)((uint64_t)high << 32 | low);

	context_start((struct context *)at);
}

static void context_prepare(struct context *c)
{
	uint64_t at = (uintptr_t)c;
	int rc = getcontext(&c->uc);

	assert(rc == 0);
	c->uc.uc_stack.ss_sp = c->stack;
	c->uc.uc_stack.ss_size = c->size;
	c->uc.uc_link = NULL;
	makecontext(&c->uc, (void (*)(void))context_start_halves, 2,
		    (unsigned)(at >> 32), (unsigned)at);
}

static void context_swap(struct context *from, struct context *to)
{
	int rc = swapcontext(&from->uc, &to->uc);

	assert(rc == 0);
}

#else

void context_swap_sp(void **save, void *load);
void context_entry(void);

static void context_swap(struct context *from, struct context *to)
{
	context_swap_sp(&from->sp, to->sp);
}

#ifdef __x86_64__

/* As pushed by context_swap_sp, lowest address first. */
struct frame {
	void *r15, *r14, *r13, *r12, *rbx, *rbp;
	void (*ret)(void);
	void *pad;
};

asm(".text\n"
    ".p2align 4\n"
    ".globl context_swap_sp\n"
    ".hidden context_swap_sp\n"
    ".type context_swap_sp, @function\n"
    "context_swap_sp:\n"
    "	.cfi_startproc\n"
    "	endbr64\n"
    "	pushq %rbp\n"
    "	pushq %rbx\n"
    "	pushq %r12\n"
    "	pushq %r13\n"
    "	pushq %r14\n"
    "	pushq %r15\n"
    "	.cfi_adjust_cfa_offset 48\n"
    "	movq %rsp, (%rdi)\n"
    "	movq %rsi, %rsp\n"
    "	popq %r15\n"
    "	popq %r14\n"
    "	popq %r13\n"
    "	popq %r12\n"
    "	popq %rbx\n"
    "	popq %rbp\n"
    "	.cfi_adjust_cfa_offset -48\n"
    "	ret\n"
    "	.cfi_endproc\n"
    ".size context_swap_sp, .-context_swap_sp\n"
    ".p2align 4\n"
    ".globl context_entry\n"
    ".hidden context_entry\n"
    ".type context_entry, @function\n"
    "context_entry:\n"
    "	.cfi_startproc\n"
    "	.cfi_undefined rip\n"
    "	subq $8, %rsp\n"	/* 16-byte aligned at the call */
    "	movq %rbx, %rdi\n"
    "	call context_start\n"
    "	ud2\n"
    "	.cfi_endproc\n"
    ".size context_entry, .-context_entry\n");

static void frame_fill(struct frame *f, struct context *c)
{
	f->rbx = c;
	f->ret = context_entry;
}

#else /* aarch64 */

struct frame {
	void *x19, *x20, *x21, *x22, *x23, *x24, *x25, *x26, *x27, *x28;
	void *x29;
	void (*x30)(void);
	uint64_t d8_to_d15[8];
};

asm(".text\n"
    ".p2align 4\n"
    ".globl context_swap_sp\n"
    ".hidden context_swap_sp\n"
    ".type context_swap_sp, %function\n"
    "context_swap_sp:\n"
    "	.cfi_startproc\n"
    "	hint #34\n"	/* bti c */
    "	sub sp, sp, #160\n"
    "	.cfi_adjust_cfa_offset 160\n"
    "	stp x19, x20, [sp]\n"
    "	stp x21, x22, [sp, #16]\n"
    "	stp x23, x24, [sp, #32]\n"
    "	stp x25, x26, [sp, #48]\n"
    "	stp x27, x28, [sp, #64]\n"
    "	stp x29, x30, [sp, #80]\n"
    "	stp d8, d9, [sp, #96]\n"
    "	stp d10, d11, [sp, #112]\n"
    "	stp d12, d13, [sp, #128]\n"
    "	stp d14, d15, [sp, #144]\n"
    "	mov x9, sp\n"
    "	str x9, [x0]\n"
    "	mov sp, x1\n"
    "	ldp x19, x20, [sp]\n"
    "	ldp x21, x22, [sp, #16]\n"
    "	ldp x23, x24, [sp, #32]\n"
    "	ldp x25, x26, [sp, #48]\n"
    "	ldp x27, x28, [sp, #64]\n"
    "	ldp x29, x30, [sp, #80]\n"
    "	ldp d8, d9, [sp, #96]\n"
    "	ldp d10, d11, [sp, #112]\n"
    "	ldp d12, d13, [sp, #128]\n"
    "	ldp d14, d15, [sp, #144]\n"
    "	add sp, sp, #160\n"
    "	.cfi_adjust_cfa_offset -160\n"
    "	ret\n"
    "	.cfi_endproc\n"
    ".size context_swap_sp, .-context_swap_sp\n"
    ".p2align 4\n"
    ".globl context_entry\n"
    ".hidden context_entry\n"
    ".type context_entry, %function\n"
    "context_entry:\n"
    "	.cfi_startproc\n"
    "	.cfi_undefined x30\n"
    "	mov x0, x19\n"
    "	bl context_start\n"
    "	brk #1\n"
    "	.cfi_endproc\n"
    ".size context_entry, .-context_entry\n");

static void frame_fill(struct frame *f, struct context *c)
{
	f->x19 = c;
	f->x30 = context_entry;
}

#endif

static_assert(sizeof(struct frame) % 16 == 0, "the stack stays aligned");

static void context_prepare(struct context *c)
{
	uintptr_t top = (uintptr_t)c->stack + c->size;
	struct frame *f = (struct frame *)((top & ~(uintptr_t)15) -
					   sizeof(struct frame));

	memset(f, 0, sizeof(*f));
	frame_fill(f, c);
	c->sp = f;
}

#endif

#ifdef CONTEXT_ASAN
/* Asking costs a walk through the process's whole map, for the first thread. */
static void native_stack(struct context *c)
{
	static __thread void *stack;
	static __thread size_t size;

	if (!stack) {
		pthread_attr_t attr;
		int rc = pthread_getattr_np(pthread_self(), &attr);

		assert(rc == 0);
		rc = pthread_attr_getstack(&attr, &stack, &size);
		assert(rc == 0);
		pthread_attr_destroy(&attr);
	}
	c->stack = stack;
	c->size = size;
}
#endif

void context_native(struct context *c)
{
	memset(c, 0, sizeof(*c));
#ifdef CONTEXT_ASAN
	native_stack(c);
#endif
#ifdef CONTEXT_TSAN
	c->fiber = __tsan_get_current_fiber();
#endif
}

void context_make(struct context *c, char *stack, size_t size,
		  void (*fn)(void *arg), void *arg)
{
	memset(c, 0, sizeof(*c));
	c->stack = stack;
	c->size = size;
	c->fn = fn;
	c->arg = arg;
	c->stack_id = VALGRIND_STACK_REGISTER(stack, stack + size - 1);
#ifdef CONTEXT_ASAN
	/* frames that were given up in the middle left their marks */
	__asan_unpoison_memory_region(stack, size);
#endif
#ifdef CONTEXT_TSAN
	c->fiber = __tsan_create_fiber(0);
#endif
	context_prepare(c);
}

void context_destroy(struct context *c)
{
	VALGRIND_STACK_DEREGISTER(c->stack_id);
#ifdef CONTEXT_ASAN
	__asan_unpoison_memory_region(c->stack, c->size);
#endif
#ifdef CONTEXT_TSAN
	__tsan_destroy_fiber(c->fiber);
#endif
	c->sp = NULL;
}

#ifdef CONTEXT_TSAN
__attribute__((no_sanitize("thread")))
#endif
void context_switch(struct context *from, struct context *to)
{
	assert(from != to);
#ifdef CONTEXT_ASAN
	__sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->size);
#endif
#ifdef CONTEXT_TSAN
	__tsan_switch_to_fiber(to->fiber, 0);
#endif
	context_swap(from, to);
	context_arrived(from);
}
