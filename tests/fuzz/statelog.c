/* SPDX-License-Identifier: MIT */
/*
 * statelog.c - a state log that somebody wrote into: it is read to its first
 * bad record, what it said before that counts, and a record that was read is
 * written as the same one again (A23).
 *
 * Records are mostly given their length and checksum, which nobody guesses.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "runtime/compiler.h"
#include "server/statelog-format.h"

#define HEAD 18u	/* "LENGTH CRC32 " */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* Each line of more than a head is a record. */
static void mend(uint8_t *data, size_t size)
{
	while (size > HEAD) {
		const uint8_t *end = memchr(data + HEAD, '\n', size - HEAD);
		char head[HEAD + 1];
		size_t len;

		if (!end)
			return;
		len = (size_t)(end - data) - HEAD;
		snprintf(head, sizeof(head), "%08zx %08lx ", len,
			 crc32_z(0, data + HEAD, len));
		memcpy(data, head, HEAD);
		size -= HEAD + len + 1;
		data += HEAD + len + 1;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed)
{
	size = LLVMFuzzerMutate(data, size, max);
	if (seed % 8)
		mend(data, size);
	return size;
}

static void check_written_again(json_t *record)
{
	size_t len, used = 0;
	char *text = statelog_encode(record, &len);
	json_t *again = text ? statelog_decode(text, len, &used) : NULL;

	assert(again && used == len && json_equal(again, record));
	json_decref(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *state = json_object(), *record;
	const char *at = (const char *)data;
	size_t used;

	while ((record = statelog_decode(at, size, &used)) != NULL) {
		bool applied = statelog_apply(state, record);

		assert(used && used <= size);
		check_written_again(record);
		json_decref(record);
		if (!applied)
			break;
		at += used;
		size -= used;
	}
	json_decref(state);
	return 0;
}
