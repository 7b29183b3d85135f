/* The control socket: many clients, each a stream of requests; who they are is taken from the kernel (SO_PEERCRED). docs/control.md.
 * Loop thread. A request (struct creq) lives until it is answered, also when its client has gone. */
#ifndef POLICYD_API_CONTROL_H
#define POLICYD_API_CONTROL_H

#include "policyd/act/job.h"
#include "policyd/api/proto.h"

/* Listens at p->conf->control (mode 0660); sets p->control. The caller holds the run folder's lock: an old socket there is replaced. */
int control_start(struct policyd *p, struct err *e);
void control_stop(struct policyd *p);
/* Start-up is settled: the changes that were asked for meanwhile run now, in the order in which they came. */
void control_settled(struct policyd *p);

struct conn;
struct creq {
	TAILQ_ENTRY(creq) all, mine;
	struct policyd *p;
	struct conn *conn; /* NULL: the client has gone; answers are thrown away */
	struct request rq;
	const struct command *command;
	struct origin origin;
	struct job_listener listener;
	bool cancel_on_close;
	bool waits;    /* came before start-up was settled */
	json_t *extra; /* a command's own, between its callbacks; owned */
};

/* Answer, once; @r is gone afterwards. @result is stolen, may be NULL. */
void creq_ok(struct creq *r, json_t *result);
void creq_err(struct creq *r, const struct err *e);
void creq_fail(struct creq *r, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void creq_event(struct creq *r, const char *event,
	json_t *fields); /* @fields is stolen; left out for a client that reads too slowly */
/* Answer when the job ends: its result (plus @r->extra's members), or its error. */
void creq_wait(struct creq *r, struct job *j);

struct arg_spec {
	const char *name;
	char type; /* s text, i whole number >= 0, b yes or no */
	bool required;
};
struct command { /* one row a command; commands.c */
	const char *name;
	bool change; /* uid 0 and policyd's own uid only, and only once start-up is settled */
	bool domain; /* takes "domain", which must exist */
	bool kept;   /* or may be a definition that was kept here (kept.h): @d is NULL then */
	struct arg_spec args[16];
	void (*run)(struct creq *r, struct dom *d); /* @d NULL unless .domain */
};
/* Find, check rights and arguments, run. */
void command_run(struct creq *r);
extern const struct command commands_look[], commands_change[], commands_move[], commands_mark[], commands_policy[],
	commands_host[];
extern const unsigned n_commands_look, n_commands_change, n_commands_move, n_commands_mark, n_commands_policy,
	n_commands_host;
/* A short change that was made: into history and the log, with who asked. @domain "" = the host. */
void cmd_note(struct creq *r, const char *domain, const char *kind, const char *text);

/* Arguments that were checked against the row. */
const char *arg_text(const struct creq *r, const char *name); /* NULL = absent */
int64_t arg_int(const struct creq *r, const char *name, int64_t otherwise);
bool arg_bool(const struct creq *r, const char *name);

#endif
