/* SPDX-License-Identifier: MIT */
/*
 * throttle.c - blkgraph throttle: limits of a disk that is in use.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define RATE_MAX UINT64_C(1000000000000000)

/* By what option each is given, and the node's member that shows it. */
static const struct limit {
	const char *option, *member;
	bool bytes;
} limits[] = {
	{ "iops-total", "iops", false },
	{ "iops-read", "iops_rd", false },
	{ "iops-write", "iops_wr", false },
	{ "bps-total", "bps", true },
	{ "bps-read", "bps_rd", true },
	{ "bps-write", "bps_wr", true },
};

#define LIMITS (sizeof(limits) / sizeof(limits[0]))

void throttle_help(void)
{
	printf("\nA limit is set as a whole: of 0 there is none, and without "
	       "BURST no bursts,\nwhich last for at most SECONDS, of 1 where "
	       "that is not said.\n");
}

/* --- as they are ---------------------------------------------------------- */

json_t *throttle_node(json_t *nodes, const json_t *exp)
{
	json_t *node = find_by(nodes, "node-name",
			       get_string(exp, "node-name"));

	while (node && strcmp(get_string(node, "drv"), "throttle"))
		node = filtered_node(nodes, node);
	return node;
}

/* A rate of bytes or of requests. */
static const char *rate_text(char text[32], const struct limit *limit,
			     uint64_t rate)
{
	if (limit->bytes)
		return human_size(text, rate);
	snprintf(text, 32, "%llu", (unsigned long long)rate);
	return text;
}

char *limits_words(const json_t *node)
{
	uint64_t size = get_uint(node, "iops_size");
	char rate[32], burst[32];
	char *words = NULL;

	for (size_t i = 0; i < LIMITS; i++) {
		const struct limit *l = &limits[i];
		uint64_t avg = get_uint(node, l->member);
		uint64_t max = get_uint(node, format("%s_max", l->member));

		if (!avg)
			continue;
		words = format("%s%s%s %s", words ? words : "",
			       words ? ", " : "", l->option,
			       rate_text(rate, l, avg));
		if (max)
			words = format("%s (%s for %llu s)", words,
				rate_text(burst, l, max),
				(unsigned long long)get_uint(node,
				format("%s_max_length", l->member)));
	}
	if (words && size)
		words = format("%s, iops-size %s", words,
			       human_size(rate, size));
	return words ? words : format("none");
}

/* --- as they shall be ----------------------------------------------------- */

static uint64_t rate_parse(const struct limit *limit, const char *text)
{
	uint64_t rate;
	char *end;

	if (limit->bytes) {
		if (!size_parse(text, &rate))
			die(EXIT_USAGE, "throttle: --%s: '%s' is no size: "
			    SIZE_WORDS, limit->option, text);
	} else {
		errno = 0;
		rate = strtoull(text, &end, 10);
		if (errno || *end || *text < '0' || *text > '9')
			die(EXIT_USAGE, "throttle: --%s: '%s' is no number of "
			    "requests", limit->option, text);
	}
	if (rate > RATE_MAX)
		die(EXIT_USAGE, "throttle: --%s is at most %llu, not '%s'",
		    limit->option, (unsigned long long)RATE_MAX, text);
	return rate;
}

static uint64_t seconds_parse(const struct limit *limit, const char *text)
{
	unsigned long long seconds;
	char *end;

	errno = 0;
	seconds = strtoull(text, &end, 10);
	if (errno || *end || *text < '0' || *text > '9' || !seconds ||
	    seconds > UINT32_MAX)
		die(EXIT_USAGE, "throttle: --%s: a burst lasts for a number of"
		    " seconds from 1 to %u, not '%s'", limit->option,
		    UINT32_MAX, text);
	return seconds;
}

/* "10M,50M,5" */
static void put_limit(json_t *call, const struct limit *limit,
		      const char *value)
{
	char *copy = checked(strdup(value)), *seconds = NULL;
	char *burst = strchr(copy, ',');
	uint64_t rate, max = 0, length = 1;

	if (burst) {
		*burst++ = 0;
		seconds = strchr(burst, ',');
	}
	if (seconds)
		*seconds++ = 0;
	rate = rate_parse(limit, copy);
	if (burst)
		max = rate_parse(limit, burst);
	if (seconds)
		length = seconds_parse(limit, seconds);
	if (burst && max < rate)
		die(EXIT_USAGE, "throttle: --%s: a burst of '%s' is below the "
		    "limit of '%s'", limit->option, burst, copy);
	if (burst && !rate)
		die(EXIT_USAGE, "throttle: --%s: where there is no limit there"
		    " are no bursts of '%s'", limit->option, burst);
	json_object_set_new(call, limit->option,
			    json_integer((json_int_t)rate));
	json_object_set_new(call, format("%s-max", limit->option),
			    json_integer((json_int_t)max));
	json_object_set_new(call, format("%s-max-length", limit->option),
			    json_integer((json_int_t)length));
	free(copy);
}

/* As blkgraph-throttle takes them. */
static json_t *wanted_limits(const struct args *args)
{
	json_t *wanted = checked(json_object());

	for (size_t i = 0; i < LIMITS; i++) {
		const char *value = args_value(args, limits[i].option);

		if (value)
			put_limit(wanted, &limits[i], value);
	}
	if (args_given(args, "iops-size"))
		json_object_set_new(wanted, "iops-size", json_integer(
			(json_int_t)args_size(args, "iops-size", 0)));
	return wanted;
}

/* --- the verb ------------------------------------------------------------- */

static json_t *nodes_now(void)
{
	return client_call("query-named-block-nodes",
			   json_pack("{s:b}", "flat", 1), NULL);
}

static json_t *limited_export(const char *name)
{
	json_t *exp = find_export(client_call("query-block-exports", NULL,
					      NULL), device_name(name));

	if (!exp)
		die(EXIT_NOT_FOUND, "there is no device '%s'", name);
	return exp;
}

static int show_limits(const char *name, bool json)
{
	const json_t *node = throttle_node(nodes_now(), limited_export(name));
	const char *group = get_string(node, "group");

	if (!json && !node)
		printf("%s has no limits\n", name);
	else if (!json)
		printf("%s: %s, of group '%s'\n", name, limits_words(node),
		       group);
	else if (!node)
		print_json(checked(json_pack("{s:n,s:{}}", "group",
					     "limits")));
	else
		print_json(checked(json_pack("{s:s,s:s,s:o}", "node-name",
			get_string(node, "node-name"), "group", group,
			"limits", client_call("qom-get", json_pack(
			"{s:s,s:s}", "path", format("/objects/%s", group),
			"property", "limits"), NULL))));
	return EXIT_DONE;
}

static int take_limits_away(const char *name, bool json)
{
	const json_t *exp = limited_export(name);
	const json_t *node = throttle_node(nodes_now(), exp);
	json_t *result;

	if (!node)
		die(EXIT_NOT_FOUND, "device '%s' has no limits", name);
	result = client_call("blkgraph-remove", json_pack("{s:O,s:O}", "id",
			     json_object_get(exp, "id"), "node-name",
			     json_object_get(node, "node-name")), NULL);
	if (json)
		print_json(result);
	else
		printf("%s has no limits any more; %s\n", name,
		       pause_words(result));
	return EXIT_DONE;
}

static int change_limits(const struct args *args, json_t *wanted)
{
	static const char mixed[] = "bps/iops/max total values and read/write "
		"values cannot be used at the same time";
	const char *name = args->operands[0];
	const char *group = args_value(args, "group");
	json_t *call = json_pack("{s:o,s:o}", "id",
				 json_text(device_name(name)), "limits",
				 wanted);
	json_t *result, *why = NULL;
	char *words;

	if (group)
		json_object_set_new(call, "group", json_text(group));
	result = device_call("blkgraph-throttle", call, name, &why);
	if (!result)
		die(error_status(why), "%s", renamed(renamed(error_text(why),
		    mixed, "a total and a limit of reads or writes exclude "
		    "each other: set the other to 0"),
		    "'group'", "--group"));
	if (args_given(args, "json")) {
		print_json(result);
		return EXIT_DONE;
	}
	words = limits_words(throttle_node(nodes_now(),
					   limited_export(name)));
	if (get_uint(result, "pause-ns"))
		printf("%s: %s, of group '%s'; %s\n", name, words,
		       get_string(result, "group"), pause_words(result));
	else
		printf("%s: %s, of group '%s'\n", name, words,
		       get_string(result, "group"));
	return EXIT_DONE;
}

int verb_throttle(const struct args *args)
{
	const char *name = args->operands[0];
	bool json = args_given(args, "json");
	json_t *wanted = wanted_limits(args);
	bool off = args_given(args, "off"), named = args_given(args, "group");

	if (off && (named || json_object_size(wanted)))
		die(EXIT_USAGE, "throttle: --off and %s exclude each other",
		    named ? "--group" : "limits");
	exact_sizes = args_given(args, "bytes");
	client_connect(CONNECT_ONLY);
	if (off)
		return take_limits_away(name, json);
	if (!named && !json_object_size(wanted))
		return show_limits(name, json);
	return change_limits(args, wanted);
}
