/* SPDX-License-Identifier: MIT */
/*
 * magic.c - see magic.h.
 *
 * Stateless; any thread. Whoever wrote the disk may have written these bytes
 * (A26): they say what must not be taken for raw, and never more.
 */
#include "graph/magic.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "runtime/compiler.h"

struct magic_bytes {
	uint16_t offset;
	uint8_t len;
	const char *bytes;
	struct magic is;
};

/* The first that fits. */
static const struct magic_bytes at_start[] = {
	{ 0, 8, "QFI\xfb\0\0\0\1", { "qcow v1", NULL } },
	{ 0, 4, "QFI\xfb", { "qcow2", "qcow2" } },
	{ 0, 4, "QED\0", { "QED", NULL } },
	{ 0, 4, "KDMV", { "VMDK", NULL } },
	{ 0, 4, "COWD", { "VMDK", NULL } },
	/* space-efficient sparse extents */
	{ 0, 8, "\xbe\xba\xfe\xca\0\0\0\0", { "VMDK", NULL } },
	{ 0, 21, "# Disk DescriptorFile", { "VMDK", NULL } },
	{ 0, 8, "vhdxfile", { "VHDX", NULL } },
	{ 0, 8, "conectix", { "VHD", NULL } },
	{ 64, 4, "\x7f\x10\xda\xbe", { "VDI", NULL } },
	{ 0, 6, "LUKS\xba\xbe", { "LUKS", NULL } },
	{ 0, 16, "WithoutFreeSpace", { "Parallels", NULL } },
	{ 0, 16, "WithouFreSpacExt", { "Parallels", NULL } },
	{ 0, 32, "Bochs Virtual HD Image\0\0\0\0\0\0\0\0\0\0",
	  { "Bochs", NULL } },
	{ 0, 15, "#!/bin/sh\n#V2.0", { "cloop", NULL } },
};

static const struct magic_bytes at_end[] = {
	/* a fixed disk has this footer alone; old ones are a byte shorter */
	{ 0, 8, "conectix", { "VHD", NULL } },
	{ 1, 8, "conectix", { "VHD", NULL } },
	/* with the version and length that all have */
	{ 0, 12, "koly\0\0\0\4\0\0\2\0", { "dmg", NULL } },
};

static const struct magic *find_magic(const struct magic_bytes *table,
				      size_t count,
				      const unsigned char *bytes)
{
	for (size_t i = 0; i < count; i++)
		if (!memcmp(bytes + table[i].offset, table[i].bytes,
			    table[i].len))
			return &table[i].is;
	return NULL;
}

/*
 * A VMDK may be a text that names files with the data, and tools know it by its
 * version, behind comments and blank lines.
 */
static bool is_vmdk_text(const unsigned char *bytes)
{
	const char *at = (const char *)bytes, *end = at + MAGIC_BYTES;

	while (end - at > 10) {
		const char *word = at;

		while (word < end && (*word == ' ' || *word == '\r'))
			word++;
		if (word == end || (*word != '#' && *word != '\n'))
			return !memcmp(at, "version=", 8) && at[8] >= '1' &&
			       at[8] <= '3' && (at[9] == '\n' ||
						at[9] == '\r');
		at = memchr(word, '\n', (size_t)(end - word));
		if (!at)
			return false;
		at++;
	}
	return false;
}

const struct magic *magic_of_start(const unsigned char *bytes)
{
	static const struct magic text = { "VMDK", NULL };
	const struct magic *is = find_magic(at_start, ARRAY_SIZE(at_start),
					    bytes);

	return is || !is_vmdk_text(bytes) ? is : &text;
}

const struct magic *magic_of_end(const unsigned char *bytes)
{
	return find_magic(at_end, ARRAY_SIZE(at_end), bytes);
}
