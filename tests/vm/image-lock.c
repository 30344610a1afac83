/* SPDX-License-Identifier: MIT */
/*
 * image-lock.c - is the image locked by anybody?
 *
 *	image-lock FILE
 *
 * Asks for an exclusive OFD lock over all bytes that image locks use (P3: from
 * 100 for what is done, from 200 for what is not allowed to others), without
 * taking it. Exit status 0 when it is to be had, 1 when somebody holds one of
 * them, with one line that says which; 2 when it cannot be asked.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_start = 100, .l_len = 200,
	};
	int fd;

	if (argc != 2)
		errx(2, "usage: image-lock FILE");
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(2, "%s", argv[1]);
	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		err(2, "%s", argv[1]);
	if (lock.l_type == F_UNLCK)
		return 0;
	printf("%s: byte %lld is %s locked\n", argv[1],
	       (long long)lock.l_start,
	       lock.l_type == F_WRLCK ? "write" : "read");
	return 1;
}
