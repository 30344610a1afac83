/* SPDX-License-Identifier: MIT */
/*
 * nbd-negotiate.c - the handshake, bytes in and bytes out: what each option
 * answers, what is forgotten when TLS begins, and what hostile clients say.
 */
#include "tests/lib/suite.h"

#include <string.h>

#include "tests/lib/nbd-offers.h"

static const struct nbd_offer offers[] = {
	{ .name = "disk", .description = "the first", .size = 1 << 20,
	  .min_block = 512, .preferred_block = 4096, .writable = true,
	  .depth = true },
	{ .name = "plain", .size = 4096, .min_block = 1,
	  .preferred_block = 4096 },
};

static struct nbd_offers two = { offers, ARRAY_SIZE(offers) };
static struct nbd_catalogue catalogue;

static struct nbd_negotiation n;

static void begin(bool tls)
{
	static const uint8_t flags[4] = { 0, 0, 0, 3 };

	catalogue = nbd_offers_catalogue(&two);
	nbd_negotiate_begin(&n, &catalogue, tls);
	CU_ASSERT_EQUAL(n.out.len, 18);
	CU_ASSERT_EQUAL(memcmp(n.out.data, "NBDMAGICIHAVEOPT\0\3", 18), 0);
	CU_ASSERT_EQUAL(nbd_negotiate_flags(&n, flags), NBD_STEP_OPTION);
}

static enum nbd_step ask(uint32_t option, const void *data, uint32_t len)
{
	struct nbd_option_head head = {
		.magic = htobe64(NBD_OPTION_MAGIC),
		.option = htobe32(option),
		.length = htobe32(len),
	};
	enum nbd_step step = nbd_negotiate_option(&n, (const void *)&head);

	if (step != NBD_STEP_OPTION)
		return step;
	CU_ASSERT_EQUAL(n.length, len);
	return nbd_negotiate_data(&n, data);
}

/* The replies in out: types and lengths; returns how many there are. */
static unsigned replies(uint32_t *types, unsigned most)
{
	struct nbd_option_reply_head head;
	size_t at = 0;
	unsigned count = 0;

	while (count < most && nbd_next_reply(&n, &at, &head))
		types[count++] = be32toh(head.type);
	CU_ASSERT_EQUAL(at, n.out.len);
	return count;
}

/* The only reply's type, an error's without its top bit. */
static uint32_t only_reply(void)
{
	uint32_t types[8];

	CU_ASSERT_EQUAL(replies(types, 8), 1);
	return types[0] & ~NBD_REP_ERROR;
}

#define GO_DISK "\0\0\0\4disk\0\0"
#define ASK(option, text) ask(option, text, sizeof(text) - 1)

static void go_tells_what_was_asked_for(void)
{
	static const char all[] = "\0\0\0\4disk\0\3\0\1\0\2\0\3";
	uint32_t types[8];

	begin(false);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_INFO, all), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(replies(types, 8), 5);
	CU_ASSERT_EQUAL(types[3], NBD_REP_INFO);
	CU_ASSERT_EQUAL(types[4], NBD_REP_ACK);
	CU_ASSERT_PTR_NULL(n.chosen);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_GO, GO_DISK), NBD_STEP_SERVE);
	CU_ASSERT_EQUAL(replies(types, 8), 2);
	CU_ASSERT_PTR_EQUAL(n.chosen, &offers[0]);
	CU_ASSERT_FALSE(n.terms.structured);
	nbd_negotiate_end(&n);
}

static void export_name_has_no_reply_but_the_export(void)
{
	uint64_t size;

	begin(false);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_EXPORT_NAME, "disk"), NBD_STEP_SERVE);
	/* the client asked for no zeroes */
	CU_ASSERT_EQUAL_FATAL(n.out.len, 10);
	memcpy(&size, n.out.data, 8);
	CU_ASSERT_EQUAL(be64toh(size), 1 << 20);
	n.no_zeroes = false;
	CU_ASSERT_EQUAL(ASK(NBD_OPT_EXPORT_NAME, "disk"), NBD_STEP_SERVE);
	CU_ASSERT_EQUAL(n.out.len, 134);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_EXPORT_NAME, "none"), NBD_STEP_REFUSE);
	nbd_negotiate_end(&n);
}

static void unknown_exports_and_options(void)
{
	begin(false);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_GO, "\0\0\0\4nope\0\0"), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_UNKNOWN);
	CU_ASSERT_EQUAL(ASK(77, "anything"), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_UNSUP);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_STARTTLS, ""), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_POLICY);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_ABORT, ""), NBD_STEP_END);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ACK);
	nbd_negotiate_end(&n);
}

static void list_tells_all(void)
{
	uint32_t types[8];

	begin(false);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_LIST, ""), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(replies(types, 8), 3);
	CU_ASSERT(types[0] == NBD_REP_SERVER && types[2] == NBD_REP_ACK);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_LIST, "x"), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	nbd_negotiate_end(&n);
}

#define DISK_BASE "\0\0\0\4disk\0\0\0\1\0\0\0\17base:allocation"

static void contexts_need_structured_replies(void)
{
	uint32_t types[8];

	begin(false);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_SET_META_CONTEXT, DISK_BASE),
			NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_STRUCTURED_REPLY, ""), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_SET_META_CONTEXT, DISK_BASE),
			NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(replies(types, 8), 2);
	CU_ASSERT_EQUAL(types[0], NBD_REP_META_CONTEXT);
	CU_ASSERT(n.terms.base && !n.terms.depth);
	/* a name space alone is for lists */
	CU_ASSERT_EQUAL(ASK(NBD_OPT_LIST_META_CONTEXT,
			    "\0\0\0\4disk\0\0\0\1\0\0\0\5qemu:"),
			NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(replies(types, 8), 2);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_SET_META_CONTEXT,
			    "\0\0\0\4disk\0\0\0\1\0\0\0\5qemu:"),
			NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(replies(types, 8), 1);
	/* and that choice was of none */
	CU_ASSERT(!n.terms.base && !n.terms.depth);
	nbd_negotiate_end(&n);
}

static void contexts_are_of_one_export(void)
{
	begin(false);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_EXTENDED_HEADERS, ""), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_SET_META_CONTEXT, DISK_BASE),
			NBD_STEP_OPTION);
	CU_ASSERT_TRUE(n.terms.base);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_GO, "\0\0\0\5plain\0\0"), NBD_STEP_SERVE);
	CU_ASSERT_FALSE(n.terms.base);
	CU_ASSERT_TRUE(n.terms.extended);
	nbd_negotiate_end(&n);
}

static void nothing_but_tls_where_it_is_offered(void)
{
	begin(true);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_GO, GO_DISK), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_TLS_REQD);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_LIST, ""), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_TLS_REQD);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_EXPORT_NAME, "disk"), NBD_STEP_REFUSE);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_STARTTLS, "x"), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_STARTTLS, ""), NBD_STEP_TLS);
	nbd_negotiate_secured(&n);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_STARTTLS, ""), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_GO, GO_DISK), NBD_STEP_SERVE);
	nbd_negotiate_end(&n);
}

/* CVE-2021-3716: an option injected before STARTTLS must not count after. */
static void tls_begins_anew(void)
{
	begin(true);
	n.terms = (struct nbd_terms){ true, true, true, true };
	strcpy(n.context_name, "disk");
	CU_ASSERT_EQUAL(ASK(NBD_OPT_STARTTLS, ""), NBD_STEP_TLS);
	nbd_negotiate_secured(&n);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_GO, GO_DISK), NBD_STEP_SERVE);
	CU_ASSERT_FALSE(n.terms.structured || n.terms.extended ||
			n.terms.base || n.terms.depth);
	nbd_negotiate_end(&n);
}

/* CVE-2017-15118, CVE-2022-26495, CVE-2022-26496: names longer than anything
 * that holds them, and lengths that are not there. */
static void lengths_that_lie(void)
{
	static char big[NBD_OPTION_MAX];
	struct nbd_option_head head = {
		.magic = htobe64(NBD_OPTION_MAGIC),
		.option = htobe32(NBD_OPT_GO),
		.length = htobe32(UINT32_MAX),
	};

	begin(false);
	memset(big, 'x', sizeof(big));
	CU_ASSERT_EQUAL(ask(NBD_OPT_EXPORT_NAME, big, 4097), NBD_STEP_REFUSE);
	memcpy(big, "\0\0\x10\1", 4);
	CU_ASSERT_EQUAL(ask(NBD_OPT_GO, big, 4 + 4097 + 2), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_INFO, "\377\377\377\377disk\0\0"),
			NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_INFO, "\0\0\0\4disk\377\377\0\1"),
			NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_INFO, "\0\0\0\4di"), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_INFO, ""), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_INFO, "\0\0\0\4d\0sk\0\0"),
			NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(nbd_negotiate_option(&n, (const void *)&head),
			NBD_STEP_REFUSE);
	nbd_negotiate_end(&n);
}

static void queries_that_lie(void)
{
	begin(false);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_STRUCTURED_REPLY, ""), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_SET_META_CONTEXT,
			    "\0\0\0\4disk\377\377\377\377"), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_SET_META_CONTEXT,
			    "\0\0\0\4disk\0\0\0\1\377\377\377\377base:"),
			NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_SET_META_CONTEXT, DISK_BASE "more"),
			NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(only_reply(), NBD_REP_ERR_INVALID);
	CU_ASSERT_FALSE(n.terms.base);
	nbd_negotiate_end(&n);
}

/* Those cannot read the reply to any other option. */
static void without_fixed_newstyle_an_export_may_be_asked_for(void)
{
	static const uint8_t old[4];

	begin(false);
	CU_ASSERT_EQUAL(nbd_negotiate_flags(&n, old), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_EXPORT_NAME, "disk"), NBD_STEP_SERVE);
	CU_ASSERT_EQUAL(n.out.len, 134);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_GO, GO_DISK), NBD_STEP_REFUSE);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_LIST, ""), NBD_STEP_REFUSE);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_ABORT, ""), NBD_STEP_REFUSE);
	nbd_negotiate_end(&n);
	begin(true);
	CU_ASSERT_EQUAL(nbd_negotiate_flags(&n, old), NBD_STEP_OPTION);
	CU_ASSERT_EQUAL(ASK(NBD_OPT_EXPORT_NAME, "disk"), NBD_STEP_REFUSE);
	nbd_negotiate_end(&n);
}

static void bad_beginnings(void)
{
	static const uint8_t odd[4] = { 0, 0, 0, 7 };
	static const uint8_t garbage[16] = "GET / HTTP/1.1\r";

	begin(false);
	CU_ASSERT_EQUAL(nbd_negotiate_flags(&n, odd), NBD_STEP_REFUSE);
	CU_ASSERT_EQUAL(nbd_negotiate_option(&n, garbage), NBD_STEP_REFUSE);
	nbd_negotiate_end(&n);
}

TEST_MAIN("nbd-negotiate",
	  TEST(go_tells_what_was_asked_for),
	  TEST(export_name_has_no_reply_but_the_export),
	  TEST(without_fixed_newstyle_an_export_may_be_asked_for),
	  TEST(unknown_exports_and_options),
	  TEST(list_tells_all),
	  TEST(contexts_need_structured_replies),
	  TEST(contexts_are_of_one_export),
	  TEST(nothing_but_tls_where_it_is_offered),
	  TEST(tls_begins_anew),
	  TEST(lengths_that_lie),
	  TEST(queries_that_lie),
	  TEST(bad_beginnings))
