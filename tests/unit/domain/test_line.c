/* Lines out of an input that comes in pieces. */
#include <event2/buffer.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "domain/line.h"

static void expect(struct evbuffer *in, size_t *scanned, const char *line)
{
	size_t n = 0;
	char *got = line_take(in, scanned, &n);

	if (!line) {
		assert_null(got);
		return;
	}
	assert_non_null(got);
	assert_string_equal(got, line);
	assert_int_equal(n, strlen(line));
	free(got);
}

static void test_pieces(void **state)
{
	struct evbuffer *in = evbuffer_new();
	size_t scanned = 0;

	(void)state;
	expect(in, &scanned, NULL);
	evbuffer_add(in, "ab", 2);
	expect(in, &scanned, NULL);
	assert_int_equal(scanned, 2);
	evbuffer_add(in, "c\n\nd", 4);
	expect(in, &scanned, "abc\n");
	expect(in, &scanned, "\n");
	expect(in, &scanned, NULL);
	assert_int_equal(scanned, 1);
	evbuffer_free(in);
}

/* What was looked at once is not looked at again: a line end that is put there behind its back is not found. */
static void test_looks_once(void **state)
{
	struct evbuffer *in = evbuffer_new();
	size_t scanned = 2;

	(void)state;
	evbuffer_add(in, "a\nb", 3);
	expect(in, &scanned, NULL);
	assert_int_equal(scanned, 3);
	evbuffer_free(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces), cmocka_unit_test(test_looks_once)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
