/* SPDX-License-Identifier: MIT */
/*
 * count-steps.c - how many instructions a process's threads execute in user
 * space while a command runs, where there is no counter to ask: by stepping.
 *
 *	count-steps PID PREFIX COMMAND [ARG]...
 *
 * Counts the threads of PID whose names begin with PREFIX. A repeated string
 * instruction counts once. Prints the sum; x86-64 only. Everything is slow
 * meanwhile, so only differences between two lengths of work mean something.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS_MAX 64

struct stepped {
	pid_t tid;
	long last_ip;
	int attached;
};

static struct stepped threads[THREADS_MAX];
static int thread_count;

static int has_prefix(const char *pid, const char *tid, const char *prefix)
{
	char path[300], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/comm", pid, tid);
	f = fopen(path, "re");
	if (!f || !fgets(name, sizeof(name), f))
		name[0] = 0;
	if (f)
		fclose(f);
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static void seize_threads(const char *pid, const char *prefix)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	d = opendir(path);
	if (!d)
		err(1, "%s", path);
	while ((e = readdir(d)) && thread_count < THREADS_MAX) {
		struct stepped *t = &threads[thread_count];

		t->tid = (pid_t)atoi(e->d_name);
		if (t->tid <= 0 || !has_prefix(pid, e->d_name, prefix))
			continue;
		if (ptrace(PTRACE_SEIZE, t->tid, NULL, NULL) < 0 ||
		    ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
			err(1, "thread %d", t->tid);
		t->attached = 1;
		thread_count++;
	}
	closedir(d);
	if (!thread_count)
		errx(1, "process %s has no thread %s*", pid, prefix);
}

static struct stepped *find(pid_t tid)
{
	for (int i = 0; i < thread_count; i++)
		if (threads[i].tid == tid)
			return &threads[i];
	return NULL;
}

/* One stop of a thread: 1 if an instruction was executed. */
static int step(struct stepped *t, int status)
{
	int sig = WSTOPSIG(status), counts = 0;
	long ip;

	if (sig == SIGTRAP || status >> 16) {
		errno = 0;
		ip = ptrace(PTRACE_PEEKUSER, t->tid,
			    offsetof(struct user_regs_struct, rip), NULL);
		counts = !errno && ip != t->last_ip && !(status >> 16);
		t->last_ip = ip;
		sig = 0;
	}
	ptrace(PTRACE_SINGLESTEP, t->tid, NULL, (long)sig);
	return counts;
}

/*
 * The trap of a step that ended in a system call comes when that returns, and
 * would kill the process once nobody traces it: so each thread runs freely for
 * a moment before it is let go.
 */
static void release_threads(void)
{
	for (int i = 0; i < thread_count; i++)
		ptrace(PTRACE_INTERRUPT, threads[i].tid, NULL, NULL);
	for (int rounds = 0; rounds < 2; rounds++) {
		for (int i = 0; i < thread_count; i++) {
			pid_t tid = threads[i].tid;
			int status;

			while (waitpid(tid, &status, __WALL) > 0 &&
			       WIFSTOPPED(status) && !(status >> 16))
				ptrace(PTRACE_CONT, tid, NULL, NULL);
			ptrace(rounds ? PTRACE_DETACH : PTRACE_CONT, tid, NULL,
			       NULL);
		}
		usleep(200000);
		for (int i = 0; !rounds && i < thread_count; i++)
			ptrace(PTRACE_INTERRUPT, threads[i].tid, NULL, NULL);
	}
}

int main(int argc, char **argv)
{
	unsigned long long count = 0;
	int status, result = 1;
	pid_t command;

	if (argc < 4)
		errx(2, "usage: count-steps PID PREFIX COMMAND [ARG]...");
	seize_threads(argv[1], argv[2]);
	command = fork();
	if (command < 0)
		err(1, "fork");
	if (command == 0) {
		execvp(argv[3], argv + 3);
		err(127, "%s", argv[3]);
	}
	for (;;) {
		pid_t tid = waitpid(-1, &status, __WALL);
		struct stepped *t;

		if (tid < 0)
			err(1, "waitpid");
		if (tid == command && !WIFSTOPPED(status)) {
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
			break;
		}
		t = find(tid);
		if (t && WIFSTOPPED(status))
			count += (unsigned)step(t, status);
	}
	release_threads();
	printf("%llu\n", count);
	return result;
}
