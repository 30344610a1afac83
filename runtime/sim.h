/* SPDX-License-Identifier: MIT */
/*
 * sim.h - what tests control in the simulated runtime (A25).
 *
 * One scheduler runs N simulated I/O threads as contexts. At every message,
 * wait and rt_step the seed decides who goes on. I/O completes when the seed
 * says, arbitrarily late and out of order, or when a test says. Files live in
 * memory; what was written and not synced is lost, kept or torn in 512-byte
 * pieces on a power cut, each write on its own. Time moves only when nothing
 * else can run. The same seed and program give the same run.
 */
#ifndef RUNTIME_SIM_H
#define RUNTIME_SIM_H

#include "runtime/io.h"

/* Random numbers of the run's seed. */
uint64_t sim_random(void);
uint64_t sim_random_below(uint64_t n);

/* Makes, or replaces, a file of the simulated file system. */
void sim_file_create(const char *path, uint64_t size);
/* Copies between a simulated file and memory, outside any operation: what is
 * there now, synced or not. The caller frees *data. */
void sim_file_set(const char *path, const void *data, uint64_t size);
uint64_t sim_file_get(const char *path, void **data);
/* The most bytes the file may have; writing past fails with -ENOSPC. */
void sim_file_limit(const char *path, uint64_t bytes);
/* The most bytes it may take up, in pages of 4 KiB: what needs another page
 * fails with -ENOSPC, what lies in pages that are there never does. */
void sim_file_space(const char *path, uint64_t bytes);
/* Bytes that it takes up. */
uint64_t sim_file_allocated(const char *path);
/* Presents the file as a block device, or with the given O_DIRECT alignment. */
void sim_file_block_device(const char *path);
void sim_file_align(const char *path, uint32_t io_align);
void sim_file_remove(const char *path);
/* How many files are open. */
unsigned sim_files_open(void);

/*
 * Power cut. sim_power_cut freezes each file at this instant: every write or
 * punch that completed a sync since is kept; of the rest, in flight ones
 * included, the seed keeps all, nothing, or some 512-byte sectors of each.
 * From now on every operation of the old run fails with -EIO without effect;
 * the test stops the runtime, starts another and looks at the files.
 */
void sim_power_cut(void);
/* Counts writes and syncs of all files as they are submitted, and calls a
 * power cut when the count reaches n (0: never). */
void sim_power_cut_at(uint64_t n);
uint64_t sim_write_count(void);

/*
 * Faults: fn is asked before each operation takes effect; returns 0 or the
 * negative errno to give, or SIM_KEEP to keep it in flight until sim_release.
 */
#define SIM_KEEP 1
/* What fn sees as op for co_file_truncate: offset is the new size. */
#define SIM_IO_TRUNCATE 16
/* And for co_file_discard. */
#define SIM_IO_DISCARD 18
/* Where sim_fault_calls says so, before they do anything: for co_file_lock, and
 * for co_file_open (without a file) and co_file_info, which cannot be kept. */
#define SIM_IO_LOCK 17
#define SIM_IO_OPEN 19
#define SIM_IO_INFO 20
void sim_set_fault(int (*fn)(void *arg, const struct io *io), void *arg);
/* Lets held operations go on: those of one file, or all with NULL. */
void sim_release(struct file *f);
/* Whether a write that a fault fails leaves some of its sectors (default: no,
 * it leaves nothing). */
void sim_fault_tears(bool on);
/* Whether fn is asked for these calls too (default: no). */
void sim_fault_calls(bool on);
/* How many operations are in flight, held ones included. */
unsigned sim_in_flight(void);

/* How eagerly rt_step switches: 1 in n (default 4); 0 never. */
void sim_step_rate(unsigned n);

/* How often a call that might wait, and need not, lets others of its thread run
 * all the same: 1 in n; 0 never (default). So each place where another
 * coroutine may come in between is one where it does. */
void sim_wait_rate(unsigned n);

/* Called when nothing can run any more (a deadlock): default prints who waits
 * and aborts. When fn returns, runtime_run returns too. */
void sim_set_deadlock(void (*fn)(void));

/* Hash of every choice of the run so far: equal runs have equal hashes. */
uint64_t sim_schedule_hash(void);

#endif
