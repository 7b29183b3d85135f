/* struct err: what went wrong, in words for an operator, without heap.
 *
 * A function that can fail in more than one way takes a struct err as its last parameter and returns 0 or -errno.
 * Each level may put its own name in front, so that the operator reads "domain web1: resize: qmp: device busy".
 * Logged once, at the top. Any thread; a struct err is never shared between threads. */
#ifndef DOMAIN_ERR_H
#define DOMAIN_ERR_H

#include <stdarg.h>

#define ERR_MSG_MAX 512

struct err {
	int code; /* positive errno value, 0 = no error */
	char msg[ERR_MSG_MAX];
};

/* Set code and message; cut (never overrun) where too long. @e may be NULL. Returns -@code. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "@fmt...: " in front of the message. @e may be NULL. Returns -e->code (or -EIO when @e is NULL). */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The message, or "no error" */
const char *err_msg(const struct err *e);

#endif
