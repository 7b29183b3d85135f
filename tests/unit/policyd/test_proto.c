/* The control protocol's bytes: lines however they are cut, garbage, limits, answers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/api/proto.h"

static unsigned rnd(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 16 & 0x7fff;
}

/* Any cutting of a stream gives the same lines. */
static void test_lines_any_cut(void **state)
{
	static const char stream[] = "one\n\ntwo\r\n{\"id\": 1}\nthe last one has no end";
	static const char *const want[] = {"one", "", "two", "{\"id\": 1}"};

	(void)state;
	for (unsigned seed = 1; seed < 500; seed++) {
		struct lines l = {0};
		unsigned got = 0, s = seed;
		size_t len, at = 0, n;
		const char *line;

		while (at < sizeof(stream) - 1) {
			n = 1 + rnd(&s) % 9;
			n = n > sizeof(stream) - 1 - at ? sizeof(stream) - 1 - at : n;
			assert_int_equal(lines_feed(&l, stream + at, n), 0);
			at += n;
			while ((line = lines_next(&l, &len)) != NULL) {
				assert_true(got < 4);
				assert_int_equal(len, strlen(want[got]));
				assert_string_equal(line, want[got++]);
			}
		}
		assert_int_equal(got, 4);
		lines_fini(&l);
	}
}

static void test_lines_too_long(void **state)
{
	struct lines l = {0};
	char *chunk = malloc(65536);
	size_t len, fed = 0;
	int rc = 0;

	(void)state;
	assert_non_null(chunk);
	memset(chunk, 'x', 65536);
	while (!rc && fed < 4u * CONTROL_LINE_MAX) {
		rc = lines_feed(&l, chunk, 65536);
		fed += 65536;
		assert_null(lines_next(&l, &len));
	}
	assert_int_equal(rc, -EMSGSIZE);
	assert_true(fed <= CONTROL_LINE_MAX + 65536);
	lines_fini(&l);
	free(chunk);
}

static void refused(const char *line, const char *why)
{
	struct request rq;
	struct err e = {0};

	assert_int_equal(request_parse(line, strlen(line), &rq, &e), -EINVAL);
	if (!strstr(e.msg, why))
		fail_msg("\"%s\": \"%s\" does not say \"%s\"", line, e.msg, why);
	assert_non_null(rq.id);
	request_fini(&rq);
}

static void test_requests_refused(void **state)
{
	(void)state;
	refused("", "not JSON");
	refused("{", "not JSON");
	refused("\xff\xfe", "not JSON");
	refused("[1, 2]", "one JSON object");
	refused("\"list\"", "one JSON object");
	refused("{\"id\": 1}", "\"cmd\" is missing");
	refused("{\"id\": 1, \"cmd\": 7}", "\"cmd\" is missing");
	refused("{\"id\": [1], \"cmd\": \"list\"}", "\"id\" must be");
	refused("{\"id\": 1, \"cmd\": \"list\", \"args\": []}", "\"args\" must be an object");
	refused("{\"id\": 1, \"id\": 2, \"cmd\": \"list\"}", "not JSON");
	refused("{\"id\": 1, \"cmd\": \"list\"} trailing", "not JSON");
}

static void test_request_good(void **state)
{
	static const char line[] = "{\"id\": \"a\", \"cmd\": \"show\", \"args\": {\"domain\": \"web1\"}}";
	struct request rq;
	struct err e = {0};

	(void)state;
	assert_int_equal(request_parse(line, sizeof(line) - 1, &rq, &e), 0);
	assert_string_equal(rq.cmd, "show");
	assert_string_equal(json_string_value(rq.id), "a");
	assert_string_equal(json_string_value(json_object_get(rq.args, "domain")), "web1");
	request_fini(&rq);
	assert_int_equal(request_parse("{\"cmd\":\"ping\"}", 14, &rq, &e), 0);
	assert_true(json_is_null(rq.id));
	assert_int_equal(json_object_size(rq.args), 0);
	request_fini(&rq);
}

/* Whatever comes, an answer can be made of it. */
static void test_requests_garbage(void **state)
{
	static const char alphabet[] = "{}[]\":,0123456789-eE.\\ \tidcmdargsnulltruefalse\x01\x7f\xc3\xa4\xff";
	unsigned seed = 7;
	char line[160];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct request rq;
		struct err e = {0};
		size_t n = rnd(&seed) % sizeof(line);
		char *answer;

		for (size_t k = 0; k < n; k++)
			line[k] = alphabet[rnd(&seed) % (sizeof(alphabet) - 1)];
		if (request_parse(line, n, &rq, &e)) {
			assert_true(e.msg[0]);
			answer = answer_error(rq.id, "usage", e.msg);
			assert_non_null(answer);
			free(answer);
		}
		request_fini(&rq);
	}
}

static void test_answers(void **state)
{
	json_t *id = json_integer(7), *result = json_pack("{s:s}", "a", "b"), *back;
	char *text = answer_ok(id, result);

	(void)state;
	assert_int_equal(text[strlen(text) - 1], '\n');
	assert_null(memchr(text, '\n', strlen(text) - 1));
	back = json_loads(text, 0, NULL);
	assert_true(json_is_true(json_object_get(back, "ok")));
	assert_int_equal(json_integer_value(json_object_get(back, "id")), 7);
	json_decref(back);
	free(text);
	text = answer_error(json_null(), "refused", "name \xff is bad"); /* not UTF-8: still an answer */
	assert_non_null(text);
	free(text);
	text = answer_event(id, "progress", result);
	back = json_loads(text, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(back, "event")), "progress");
	assert_string_equal(json_string_value(json_object_get(back, "a")), "b");
	json_decref(back);
	free(text);
	json_decref(id);
	json_decref(result);
}

static void test_codes(void **state)
{
	(void)state;
	assert_string_equal(code_of(ENOENT), "not-found");
	assert_string_equal(code_of(-EBUSY), "busy");
	assert_string_equal(code_of(ENOSPC), "refused");
	assert_string_equal(code_of(ECANCELED), "cancelled");
	assert_string_equal(code_of(EREMOTEIO), "failed");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_any_cut),
		cmocka_unit_test(test_lines_too_long),
		cmocka_unit_test(test_requests_refused),
		cmocka_unit_test(test_request_good),
		cmocka_unit_test(test_requests_garbage),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
