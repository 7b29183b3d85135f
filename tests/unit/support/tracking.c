/* See tracking.h. */
#include "tests/unit/support/tracking.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/support/skip.h"

void need_tracking(void)
{
	struct err e = {0};

	if (!tracker_probe(getpid(), &e))
		return;
	assert_int_equal(e.code, ENOTSUP);
	skip_because("%s", e.msg);
}

int64_t harvest(struct tracker *t, struct bitmap *b)
{
	struct err e = {0};
	int64_t n = t->ops->harvest(t, b, &e);

	if (n < 0)
		fail_msg("harvest: %s", e.msg);
	return n;
}
