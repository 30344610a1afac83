/* SPDX-License-Identifier: MIT */
/*
 * notify.c - tells systemd how far we are. Main thread.
 */
#include "server/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/log.h"

void notify_systemd(const char *state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;
	socklen_t size;
	int fd;

	if (!len || len >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, len);
	/* an abstract address is written with '@' for its first zero byte */
	if (addr.sun_path[0] == '@')
		addr.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (fd < 0 || sendto(fd, state, strlen(state),
			     MSG_DONTWAIT | MSG_NOSIGNAL,
			     (struct sockaddr *)&addr, size) < 0)
		log_write(LOG_WARNING, "systemd was not told '%s'", state);
	if (fd >= 0)
		close(fd);
}
