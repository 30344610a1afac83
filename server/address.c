/* SPDX-License-Identifier: MIT */
/*
 * address.c - addresses of sockets as the control protocol has them. Main
 * thread.
 */
#include "server/address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/command.h"

static bool is_off(json_t *data, const char *name)
{
	return json_is_false(json_object_get(data, name));
}

static void parse_inet(json_t *data, struct address *out)
{
	json_int_t to = json_integer_value(json_object_get(data, "to"));
	bool only_4 = arg_bool(data, "ipv4", false);
	bool only_6 = arg_bool(data, "ipv6", false);

	out->host = arg_string(data, "host", "");
	out->port = arg_string(data, "port", "");
	out->to = (uint16_t)to;
	/* one that is off leaves the other; both on, or none, is both */
	out->only_4 = only_4 != only_6 ? only_4 : is_off(data, "ipv6");
	out->only_6 = only_4 != only_6 ? only_6 : is_off(data, "ipv4");
}

static int parse_fd(json_t *data, struct address *out, struct error **err)
{
	const char *text = arg_string(data, "str", "");
	unsigned long fd;
	char *end;

	fd = strtoul(text, &end, 10);
	if (end == text || *end || fd > INT32_MAX)
		return error_set(err, EINVAL, "Unable to parse FD number "
				 "%s", text);
	out->fd = (int)fd;
	return 0;
}

int address_from_json(json_t *addr, struct address *out, struct error **err)
{
	const char *type = arg_string(addr, "type", "");
	json_t *data = json_object_get(addr, "data");

	if (!strcmp(type, "unix")) {
		out->type = ADDRESS_UNIX;
		out->path = arg_string(data, "path", "");
		out->abstract = arg_bool(data, "abstract", false);
		out->padded = !arg_bool(data, "tight", true);
		return 0;
	}
	if (!strcmp(type, "inet")) {
		out->type = ADDRESS_INET;
		parse_inet(data, out);
		return 0;
	}
	out->type = ADDRESS_FD;
	return parse_fd(data, out, err);
}
