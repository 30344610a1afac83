/* SPDX-License-Identifier: MIT */
/*
 * netlink.c - see netlink.h. Helper threads only.
 */
#include "kernel-nbd/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "export/module.h"

struct client {
	struct nl_sock *sock;
	int family;
};

static int netlink_open(struct client *c, struct error **err)
{
	int rc;

	c->sock = nl_socket_alloc();
	if (!c->sock)
		return error_set(err, ENOMEM, "no memory for netlink");
	rc = genl_connect(c->sock);
	if (!rc)
		c->family = genl_ctrl_resolve(c->sock, NBD_GENL_FAMILY_NAME);
	if (!rc && c->family >= 0)
		return 0;
	rc = error_set(err, ENODEV, "the kernel's NBD client cannot be asked: "
		       "%s", nl_geterror(rc ? rc : c->family));
	nl_socket_free(c->sock);
	return rc;
}

static void netlink_close(struct client *c)
{
	nl_socket_free(c->sock);
}

/* NULL: no memory. */
static struct nl_msg *message_new(const struct client *c, uint8_t command,
				  unsigned index)
{
	struct nl_msg *msg = nlmsg_alloc();

	if (!msg)
		return NULL;
	if (genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, c->family, 0, 0,
			command, NBD_GENL_VERSION) &&
	    !nla_put_u32(msg, NBD_ATTR_INDEX, index))
		return msg;
	nlmsg_free(msg);
	return NULL;
}

/* Takes the message over. 0 or a negative number of libnl's. */
static int message_send(const struct client *c, struct nl_msg *msg)
{
	return msg ? nl_send_sync(c->sock, msg) : -NLE_NOMEM;
}

static int put_sockets(struct nl_msg *msg, const struct knbd_connect *c)
{
	struct nlattr *all = nla_nest_start(msg, NBD_ATTR_SOCKETS), *one;
	int rc = all ? 0 : -NLE_NOMEM;

	for (unsigned i = 0; i < c->sockets && !rc; i++) {
		one = nla_nest_start(msg, NBD_SOCK_ITEM);
		rc = one ? nla_put_u32(msg, NBD_SOCK_FD, (uint32_t)c->fd[i]) :
			   -NLE_NOMEM;
		if (!rc)
			nla_nest_end(msg, one);
	}
	if (!rc)
		nla_nest_end(msg, all);
	return rc;
}

static int put_connect(struct nl_msg *msg, const struct knbd_connect *c)
{
	int rc = nla_put_u64(msg, NBD_ATTR_SIZE_BYTES, c->size);

	if (!rc)
		rc = nla_put_u64(msg, NBD_ATTR_BLOCK_SIZE_BYTES,
				 c->block_size);
	if (!rc)
		rc = nla_put_u64(msg, NBD_ATTR_SERVER_FLAGS, c->flags);
	/* a connection that is dead stays so: its I/O fails at once */
	if (!rc)
		rc = nla_put_u64(msg, NBD_ATTR_DEAD_CONN_TIMEOUT, 0);
	if (!rc)
		rc = nla_put_string(msg, NBD_ATTR_BACKEND_IDENTIFIER,
				    c->backend);
	return rc ? rc : put_sockets(msg, c);
}

int knbd_available(struct error **err)
{
	struct client c;
	int rc = 0;

	if (access("/sys/module/nbd", F_OK))
		rc = module_load("nbd", "NBD client", err);
	if (!rc)
		rc = netlink_open(&c, err);
	if (!rc)
		netlink_close(&c);
	return rc;
}

int knbd_connect(const struct knbd_connect *connect, unsigned index,
		 struct error **err)
{
	struct nl_msg *msg;
	struct client c;
	char path[32];
	int rc = netlink_open(&c, err);

	if (rc)
		return rc;
	msg = message_new(&c, NBD_CMD_CONNECT, index);
	rc = msg ? put_connect(msg, connect) : -NLE_NOMEM;
	if (!rc)
		rc = message_send(&c, msg);
	else
		nlmsg_free(msg);
	netlink_close(&c);
	if (rc == -NLE_BUSY)
		return -EBUSY;
	if (rc == -NLE_PERM)
		return error_set(err, EPERM, "no permission: NBD devices need "
				 "CAP_SYS_ADMIN");
	/* past the last that may be */
	snprintf(path, sizeof(path), "/sys/block/nbd%u", index);
	if (rc == -NLE_INVAL && access(path, F_OK))
		return error_set(err, ENODEV, "the kernel's NBD client makes "
				 "no /dev/nbd%u", index);
	return rc ? error_set(err, EIO, "the kernel's NBD client does not "
			      "connect /dev/nbd%u: %s", index,
			      nl_geterror(rc)) : 0;
}

int knbd_resize(unsigned index, const char *backend, uint64_t size,
		struct error **err)
{
	struct nl_msg *msg;
	struct client c;
	int rc = netlink_open(&c, err);

	if (rc)
		return rc;
	msg = message_new(&c, NBD_CMD_RECONFIGURE, index);
	rc = msg ? nla_put_u64(msg, NBD_ATTR_SIZE_BYTES, size) : -NLE_NOMEM;
	/* else the kernel takes us for somebody else */
	if (!rc)
		rc = nla_put_string(msg, NBD_ATTR_BACKEND_IDENTIFIER, backend);
	if (!rc)
		rc = message_send(&c, msg);
	else
		nlmsg_free(msg);
	netlink_close(&c);
	return rc ? error_set(err, EIO, "the kernel's NBD client does not "
			      "change the size of /dev/nbd%u: %s", index,
			      nl_geterror(rc)) : 0;
}

int knbd_disconnect(unsigned index, struct error **err)
{
	struct client c;
	int rc = netlink_open(&c, err);

	if (rc)
		return rc;
	rc = message_send(&c, message_new(&c, NBD_CMD_DISCONNECT, index));
	netlink_close(&c);
	return rc ? error_set(err, EIO, "the kernel's NBD client does not "
			      "disconnect /dev/nbd%u: %s", index,
			      nl_geterror(rc)) : 0;
}

static FILE *sys_open(unsigned index, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/nbd%u/%s", index, name);
	return fopen(path, "re");
}

bool knbd_in_use(unsigned index)
{
	FILE *f = sys_open(index, "pid");

	if (f)
		fclose(f);
	return f;
}

bool knbd_backend(unsigned index, char backend[KNBD_BACKEND_MAX])
{
	FILE *f = sys_open(index, "backend");
	bool ok = f && fgets(backend, KNBD_BACKEND_MAX, f);

	if (f)
		fclose(f);
	if (ok)
		backend[strcspn(backend, "\n")] = '\0';
	return ok;
}

void knbd_announce(unsigned index)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/block/nbd%u/uevent", index);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* without udev nobody misses it */
	n = write(fd, "change", 6);
	(void)n;
	close(fd);
}

uint64_t knbd_completed(unsigned index)
{
	unsigned long long n[17] = { 0 };
	FILE *f = sys_open(index, "stat");
	unsigned i = 0;

	while (f && i < 17 && fscanf(f, "%llu", &n[i]) == 1)
		i++;
	if (f)
		fclose(f);
	/* reads, writes, discards, flushes */
	return n[0] + n[4] + n[11] + n[15];
}
