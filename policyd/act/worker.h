/* A policyd-migrate process of ours (docs/worker.md): started with one end of a socketpair as descriptor 3, JSON lines both ways, its end seen on a
 * pidfd. It has a session of its own and outlives policyd; <run>/<name>/worker.pid lets the next policyd find it. Loop thread. */
#ifndef POLICYD_ACT_WORKER_H
#define POLICYD_ACT_WORKER_H

#include <jansson.h>
#include <sys/types.h>

#include "domain/err.h"
#include "policyd/policyd.h"

#define WORKER_LINE_MAX (64u << 10)

struct worker;

struct worker_ops {
	/* Each line that is not the last: "listening", "phase", "progress", "journal", "check", "cancel-refused". @line is borrowed. */
	void (*on_event)(void *arg, struct worker *w, const char *event, const json_t *line);
	/* It has ended and all it said was read. Once; @w is freed afterwards. @done: its "done" line, or NULL when it died without one,
	 * and then @how says so for an operator ("was killed by signal 9"). Not after worker_leave. */
	void (*on_end)(void *arg, const json_t *done, const char *how);
};

struct worker_conf {
	struct policyd *p;
	const char *domain; /* borrowed: its run folder takes worker.pid and worker.log; NULL = neither */
	const char *verb;   /* "run", "check", "measure" or "sink" */
	json_t *start;      /* first line; stolen, on failure too */
	const struct worker_ops *ops;
	void *arg;
};

int worker_start(const struct worker_conf *conf, struct worker **out, struct err *e);
/* @line is stolen. -EPIPE: it is ending. */
int worker_send(struct worker *w, json_t *line);
/* From now on it is killed when it says nothing for so long (a process can hang as well as die); 0: never. NULL does nothing. */
void worker_guard(struct worker *w, unsigned silence_ms);
/* SIGKILL; on_end follows. NULL does nothing. */
void worker_kill(struct worker *w);
/* Let it go on by itself (policyd ends): its socket closes, nothing is called any more. NULL does nothing. */
void worker_leave(struct worker *w);
/* SIGKILL and forget: nothing is called any more, its end is waited for all the same. NULL does nothing. */
void worker_discard(struct worker *w);
pid_t worker_pid(const struct worker *w);

/* The worker that an earlier policyd left for this domain: its pidfd, or -ENOENT when there is none (any more). */
int worker_find_left(struct policyd *p, const char *domain);

/* One line of a worker, parsed: its event's name, or NULL and a sentence. Pure. @root_out: new reference. */
const char *worker_line_parse(const char *line, size_t len, json_t **root_out, struct err *e);

#endif
