/* A QMP peer for tests: a server on a unix socket that answers from a script, in the caller's own event loop.
 *
 * It is on the wire what a real monitor is: greeting, qmp_capabilities, {"execute", "arguments", "id"} in, {"return"|"error", "id"} and events out.
 * A command without a script gets CommandNotFound. query-status, qmp_capabilities are scripted from the start. Loop thread only. */
#ifndef TESTS_FAKE_QMP_H
#define TESTS_FAKE_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct fake_qmp;

/* Listens at once on @path (unlinked first and at the end). Aborts the test where it cannot. */
struct fake_qmp *fake_qmp_new(struct event_base *base, const char *path);
void fake_qmp_free(struct fake_qmp *f);

/* ---- what a command answers; the last call for a command wins ---- */

/* Always {"return": @ret}; @ret is stolen (NULL = {}). */
void fake_qmp_reply(struct fake_qmp *f, const char *cmd, json_t *ret);
/* Always an error. */
void fake_qmp_error(struct fake_qmp *f, const char *cmd, const char *err_class, const char *desc);
/* Never answers. */
void fake_qmp_silent(struct fake_qmp *f, const char *cmd);
/* Answers only at fake_qmp_release(f, cmd), all that wait for it, newest first (the client must match ids). */
void fake_qmp_hold(struct fake_qmp *f, const char *cmd, json_t *ret);
void fake_qmp_release(struct fake_qmp *f, const char *cmd);
/* Decide in code: a new reference is {"return": it}; NULL with *@err_desc set is an error (GenericError); NULL and no text: no answer.
 * It may send events (they go out before the answer) and script other commands. */
typedef json_t *fake_qmp_fn(void *arg, struct fake_qmp *f, const json_t *args, const char **err_desc);
void fake_qmp_handle(struct fake_qmp *f, const char *cmd, fake_qmp_fn *fn, void *arg);

/* ---- what it says by itself ---- */

/* An event to every client now, or after @delay_ms on the loop; @data is stolen, may be NULL. */
void fake_qmp_event(struct fake_qmp *f, const char *name, json_t *data);
void fake_qmp_event_later(struct fake_qmp *f, unsigned delay_ms, const char *name, json_t *data);
/* Any bytes: garbage, half a line, far too much. */
void fake_qmp_raw(struct fake_qmp *f, const void *bytes, size_t n);
/* Text sent in place of the greeting to clients that connect from now on; NULL = the real one. Borrowed. */
void fake_qmp_greeting(struct fake_qmp *f, const char *text);
/* Close all connections; with @stop_listening new ones are refused until fake_qmp_listen. */
void fake_qmp_drop(struct fake_qmp *f, bool stop_listening);
void fake_qmp_listen(struct fake_qmp *f);

/* ---- what it was asked ---- */

unsigned fake_qmp_calls(const struct fake_qmp *f, const char *cmd); /* how often */
const json_t *fake_qmp_args(
	const struct fake_qmp *f, const char *cmd);      /* of the last one; borrowed until the next; NULL none */
unsigned fake_qmp_connections(const struct fake_qmp *f); /* accepted so far */
/* All commands in order, "a b c" (qmp_capabilities left out): for exact sequences. Valid until the next command. */
const char *fake_qmp_log(const struct fake_qmp *f);

#endif
