/* SPDX-License-Identifier: MIT */
/*
 * cli.h - the map of this folder: the blkgraph command.
 *
 *	main.c		finds the verb
 *	verbs.c		one table: verbs, their options, their help
 *	args.c		options and operands of one verb, by that table
 *	complete.c	what a shell could offer next, by that table
 *	client.c	the control protocol
 *	start.c		starts blkgraphd, one of our own too, and stops it
 *	trace.c		what a daemon leaves: of one that died, its log
 *	guess.c		which word was meant
 *	operand.c	what an operand names: a file, a device
 *	chain.c		the image that a device shows
 *	new-file.c	the file that create makes
 *	column.c	one table of columns: text and JSON
 *	human.c		sizes and times for people, and from them
 *	attach.c, detach.c, list.c, graph.c, info.c, snapshot.c,
 *	filter.c, resize.c, reopen.c, resume.c, throttle.c, map.c,
 *	create.c, check.c, stats.c, qmp.c		the verbs
 *
 * One thread, one command, then exit: nothing is freed that the exit frees,
 * and what cannot go on ends the program (die).
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "runtime/json.h"

/* Exit statuses, the same for every verb. */
enum {
	EXIT_DONE = 0,
	EXIT_ERROR = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_FOUND = 3,
	EXIT_BUSY = 4,
	EXIT_DENIED = 5,
	EXIT_NO_DAEMON = 6,
	EXIT_IO = 7,
	EXIT_CORRUPT = 8,
	EXIT_LEAKED = 9,	/* of check */
	EXIT_TIMEOUT = 124,
};

/* --- verbs.c, args.c --- */

#define OPTIONS_MAX 24

struct cli_option {
	const char *name;	/* NULL ends a list */
	char letter;		/* or 0 */
	/* What --help calls its value, or the words that it may be, as in
	 * "auto|on|off"; NULL: none. */
	const char *arg;
	const char *help;
};

struct args {
	const struct verb *verb;
	const char *value[OPTIONS_MAX];	/* of options given, "" without one */
	char **operands;
	int count;
	bool ended;	/* by "--": what follows is no option */
};

struct verb {
	const char *name, *operands, *summary;
	const char *example;	/* what --help opens with */
	int lowest, highest;	/* number of operands; highest < 0: any */
	const struct cli_option *options;
	int (*run)(const struct args *args);	/* gives the exit status */
	const struct column *columns;		/* of its table, or NULL */
	void (*more_help)(void);		/* after the options, or NULL */
};

extern const struct verb verbs[];	/* ends with name NULL */

/* NULL when there is none. */
const struct verb *verb_find(const char *name);
/* Says that there is no such verb, and which one was meant. */
void verb_unknown(const char *name) __attribute__((noreturn));

void args_parse(struct args *args, const struct verb *verb, int argc,
		char **argv);
/* The words before one that is being typed, whatever they are worth. The
 * option whose value is typed next; NULL: none. */
const struct cli_option *args_begun(struct args *args, const struct verb *verb,
				    int argc, char **argv);
/* An option's value; NULL when it was not given. */
const char *args_value(const struct args *args, const char *name);
bool args_given(const struct args *args, const char *name);
uint64_t args_number(const struct args *args, const char *name,
		     uint64_t highest);
/* Bytes: at least `lowest`. */
uint64_t args_size(const struct args *args, const char *name, uint64_t lowest);
/* Dies unless value is one of the words, "a|b|c"; what: "attach: --via". */
void word_check(const char *what, const char *words, const char *value);
void verb_help(const struct verb *verb);
/* What follows the options in its help. */
void create_help(void);
void insert_help(void);
void throttle_help(void);

int verb_attach(const struct args *args);
int verb_detach(const struct args *args);
int verb_list(const struct args *args);
int verb_graph(const struct args *args);
int verb_info(const struct args *args);
int verb_create(const struct args *args);
int verb_check(const struct args *args);
int verb_map(const struct args *args);
int verb_insert(const struct args *args);
int verb_snapshot(const struct args *args);
int verb_remove(const struct args *args);
int verb_resize(const struct args *args);
int verb_reopen(const struct args *args);
int verb_throttle(const struct args *args);
int verb_resume(const struct args *args);
int verb_stats(const struct args *args);
int verb_start(const struct args *args);
int verb_stop(const struct args *args);
int verb_log(const struct args *args);
int verb_qmp(const struct args *args);
int verb_show_help(const struct args *args);
int verb_version(const struct args *args);

/* those of drivers/format and drivers/filter */
#define FORMATS "qcow2|raw"
#define FILTERS \
	"nop|copy-on-read|delay|throttle|blkverify|blkdebug|blklogwrites"

/* The keys of create's -o; ends with name NULL. */
struct image_option {
	const char *fmt, *name;
	const char *words;	/* that its value may be; NULL: a size */
	const char *help;
};
extern const struct image_option image_options[];

/* The nodes below a device, as query-named-block-nodes has them; dies when
 * there is no such device. */
json_t *nodes_below(const char *device);

/* --- throttle.c --- */

/* The first filter of those that a device shows that has limits; NULL: none
 * has. nodes: what query-named-block-nodes gives. */
json_t *throttle_node(json_t *nodes, const json_t *exp);
/* "iops-read 500, bps-total 10M (50M for 10 s)" of such a node; "none". */
char *limits_words(const json_t *node);

/* --- complete.c --- */

/* blkgraph --complete: prints what the last word could be; gives the exit
 * status. The others are taken apart. */
int complete(int count, char **words);

/* --- guess.c --- */

/* The nearest of the names tried that a word could mean; NULL: none is near. */
struct guess {
	const char *name;
	unsigned distance;
};
void guess_try(struct guess *guess, const char *word, const char *name);

/* --- main.c --- */

/* One line on stderr: "blkgraph: ..." */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, then exits. */
void die(int status, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
void *checked(void *pointer);	/* dies when it is NULL */
char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *socket_path(void);

/* --- client.c, start.c, trace.c --- */

enum connect_mode {
	CONNECT_ONLY,
	CONNECT_OR_START,
	CONNECT_IF_THERE,
	CONNECT_IF_MAY,		/* one that others keep from us is none */
	CONNECT_OR_OWN,		/* as that; else one of our own */
};

/*
 * Connects and negotiates, once; dies when that does not work. False: there is
 * no daemon, and no dead one's devices, which only
 * CONNECT_IF_THERE and CONNECT_IF_MAY live with.
 */
bool client_connect(enum connect_mode mode);
/* After quit: returns when the daemon's process has ended. */
void client_wait_gone(void);
/* A connected socket or -errno. */
int client_socket(const char *path);
void start_daemon(const char *path);
/* What was to be done there failed: the daemon goes, if it was started for this
 * and nobody else has come. */
void end_started_daemon(void);
/*
 * "blkgraphd died after TIME with 3 devices (...)"; NULL: none did, or there is
 * one that lives. *one: it is one device.
 */
char *dead_daemon(const char *socket, bool *one);
/* A daemon that ends with us: the socket of its one client. */
int start_own_daemon(void);
/* Where it has died: says why, and exits. */
void own_daemon_died(void);

/*
 * Runs a command; takes over arguments (NULL: none). The result, or NULL and
 * *error the protocol's error object; without `error` it dies.
 */
json_t *client_call(const char *command, json_t *arguments, json_t **error);
/* Puts "a.b=on", or the members of "{...}", into the object, as JSON; dies when
 * the word, an operand of that verb, is neither. */
void put_option(json_t *object, const struct verb *verb, const char *word);
/* The next event; NULL: the daemon has closed the connection. */
json_t *client_event(void);
/* Returns when there is an event, which nobody else sees then, or the time is
 * over. */
void client_wait(int milliseconds);
/* The exit status for an errno, and for the protocol's error object or a job
 * that has failed. */
int errno_status(int code);
int error_status(const json_t *error);
const char *error_text(const json_t *error);
/* The text with the one word instead of the other: users know one alone. */
char *renamed(const char *text, const char *from, const char *to);
/* client_call for what is done to a device, as the user names it: says what
 * all verbs say where there is none. */
json_t *device_call(const char *command, json_t *arguments, const char *name,
		    json_t **error);

const char *get_string(const json_t *object, const char *name);
uint64_t get_uint(const json_t *object, const char *name);
bool get_bool(const json_t *object, const char *name);
/* The array's member whose `name` is `value`; or NULL. */
json_t *find_by(json_t *array, const char *name, const char *value);

/* --- chain.c --- */

/* nodes: what query-named-block-nodes gives. Each may give NULL. */

/* Whether it is one of FILTERS. */
bool driver_is_filter(const char *driver);
/* The image that a node shows: the first below it, or it, that is no filter. */
json_t *image_node(json_t *nodes, const char *name);
/* Where what a node shows is written, to be thrown away with it; "": it is an
 * image like others. */
const char *temporary_place(const json_t *node);
/* What a filter shows; of others NULL. */
json_t *filtered_node(json_t *nodes, const json_t *node);
/* The node below as the image's backing image. */
json_t *backing_node(json_t *nodes, const json_t *image);
/* The file that an image is in; "(deleted)" stands behind it where it is. */
char *image_file(json_t *nodes, const json_t *image);
/* " (deleted)" where the file of a node, or below it, is; else "". */
const char *deleted_mark(json_t *nodes, const json_t *node);
/* Adds "format" and "file" of the image that a row's "node-name" shows. */
void add_image(json_t *row, json_t *nodes);

/* --- operand.c, new-file.c --- */

/* A device or export as the user names it, as the daemon knows it. */
char *device_name(const char *name);
/* The export of that device path or name, of a list of them; or NULL. */
json_t *find_export(json_t *exports, const char *name);
/* The export that the operand FILE|DEV names; NULL: it names a file, which is
 * there. Dies where it is neither, and where --format is given for a device.
 * Starts no daemon to ask. */
json_t *operand_export(const struct args *args);
/* The exports that a device's name, or an image file that they are of, means:
 * there may be none of that. NULL: there is neither such device nor file. */
json_t *operand_exports(json_t *exports, const char *name);
/* Dies unless there is such a file, and it can be an image: no daemon need be
 * started to say that. */
void file_must_exist(const char *file);
/* A file's name for the daemon: absolute, as its directory is another (A21),
 * and its descriptors are others. */
json_t *json_file_name(const char *file);

/*
 * Makes an empty file for an image and gives the path to build it under: its
 * own, or where `force` has it replace an old file, another in the same folder.
 * Whatever ends the program before new_file_keep removes it, and leaves the
 * old one as it was; meanwhile nobody can open that as an image.
 */
const char *new_file_make(const char *file, bool force);
/* The image is whole and has its name. */
void new_file_keep(void);

/* --- column.c, human.c --- */

void print_json(json_t *value);	/* takes it over */
/* What a size is, for an error: "'x' is no size: " SIZE_WORDS. */
#define SIZE_WORDS "a number, with K, M, G, T, P or E (1024: 1.5G, 10GiB) or " \
	"KB, MB, ... (1000), below 8E"
/* "1.5G"; false when it is none. What is no whole byte is left out. */
bool size_parse(const char *text, uint64_t *size);
/* By --bytes: sizes are numbers, not for people. */
extern bool exact_sizes;
/* "1.5G", "512B", or "1610612736"; a buffer of the caller's. */
const char *human_size(char text[32], uint64_t bytes);
/* A copy without what a terminal would obey: images hold names, and images
 * are not trusted. */
char *printable(const char *text);
/* Columns on the screen, not bytes; a byte that is no character takes one. */
int text_width(const char *text);
/* "I/O was held for 1.2 ms, 3 requests in flight": a change's result. */
char *pause_words(const json_t *result);
/* "1.2 ms" */
const char *human_time(char text[32], uint64_t ns);
/* "2026-01-31 12:00:00" */
const char *local_time(char text[32], time_t seconds);

#endif
