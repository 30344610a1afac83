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
 *
 * The threads and this program share one CPU while it counts: to hand over on
 * one is several times faster than to wake another, emulated ones above all.
 * SIGTERM and SIGINT end it early, with status 1 and the process unharmed.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <sched.h>
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
	cpu_set_t cpus;		/* where it was allowed before */
};

static struct stepped threads[THREADS_MAX];
static int thread_count;
static volatile sig_atomic_t ended;

static void on_signal(int signo)
{
	(void)signo;
	ended = 1;
}

/* waitpid must return, so without SA_RESTART */
static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
}

static void share_cpu(struct stepped *t)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_getaffinity(t->tid, sizeof(t->cpus), &t->cpus) < 0 ||
	    sched_setaffinity(t->tid, sizeof(one), &one) < 0 ||
	    sched_setaffinity(0, sizeof(one), &one) < 0)
		err(1, "CPU of thread %d", t->tid);
}

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
		share_cpu(t);
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
			sched_setaffinity(tid, sizeof(threads[i].cpus),
					  &threads[i].cpus);
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
	command = fork();
	if (command < 0)
		err(1, "fork");
	if (command == 0) {
		/* until everything is counted */
		raise(SIGSTOP);
		execvp(argv[3], argv + 3);
		err(127, "%s", argv[3]);
	}
	waitpid(command, &status, WUNTRACED);
	catch_signals();
	seize_threads(argv[1], argv[2]);
	kill(command, SIGCONT);
	while (!ended) {
		pid_t tid = waitpid(-1, &status, __WALL);
		struct stepped *t;

		if (tid < 0 && errno == EINTR)
			continue;
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
	if (ended)
		kill(command, SIGKILL);
	release_threads();
	if (!ended)
		printf("%llu\n", count);
	return result;
}
