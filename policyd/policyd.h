/* The daemon's root object: everything that policyd knows hangs here; there are no globals.
 *
 * One thread, one libevent loop. Nothing that is reachable from here blocks: what must block is in store.c's thread or in a
 * process. Pointers into p->conf die at a reload: never keep one across a return to the loop; look it up again.
 * Who starts what: main.c, in the order of the members. */
#ifndef POLICYD_POLICYD_H
#define POLICYD_POLICYD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "conf/conf.h"
#include "domain/err.h"

#define POLICYD_VERSION "0.1"

struct event_base;
struct dom;
struct store;
struct control;
struct policies;
struct cluster;
struct watch;
struct brain;
struct qemu_probe;
struct kept_store;
struct maintain;
struct host_power;
struct adopt;

struct job;
TAILQ_HEAD(dom_list, dom);
TAILQ_HEAD(job_list, job);

struct policyd {
	struct event_base *base;
	char conf_path[SPEC_PATH_MAX];
	struct conf *conf; /* in force; swapped whole by policyd_reload */
	bool debug;
	int lock_fd[3]; /* one policyd a run, state and RAM folder */
	struct store *store;
	struct dom_list doms; /* sorted by name */
	unsigned n_doms;
	struct job_list ended;     /* jobs that the loop will free */
	struct watch *watch;       /* samples and averages (policyd/watch) */
	struct cluster *cluster;   /* peers (policyd/cluster) */
	struct forecast *forecast; /* what predictions are made of (policyd/act/forecast.c) */
	struct brain *brain;       /* decide timer and plan execution (policyd/act/brain.c) */
	struct maintain *maintain; /* maintenance of this host (policyd/act/maintain.c) */
	struct host_power *power;  /* is it to be switched off, or another on (policyd/act/host_power.c) */
	struct control *control;
	struct policies *policies; /* those given by command (policies.c) */
	struct kept_store *kept;   /* definitions of domains that moved away (kept.c) */
	struct adopt *adopt;       /* start-up only (adopt.c); NULL once settled */
	struct qemu_probe *qemu;   /* what our QEMU is (act/qemu_probe.c) */
	unsigned looks_hung;       /* threads that hung storage holds (act/look.c) */
	bool boost_told;           /* that workers cannot be given more CPU (act/worker.c) */
	bool settled; /* start-up's adoption and journals are through: policy may act, operators may change things */
	bool stopping;
	int64_t started_ms;
	unsigned long long
		cpu_groups_weight; /* act/cpu_group.c's: of all groups, as the kernel has it; 0 = not known */
};

/* Who asked for something: recorded with every change and shown in history ("uid 0 (pid 812)", "policy web-by-day", "host beta"). */
enum origin_kind { BY_OPERATOR, BY_POLICY, BY_PEER, BY_SELF };
struct origin {
	enum origin_kind kind;
	uid_t uid; /* BY_OPERATOR */
	pid_t pid;
	char name[CONF_NAME]; /* policy or host */
};
void origin_text(const struct origin *o, char out[96]);

/* Wall clock, ms since 1970; and a clock for intervals. */
int64_t now_wall_ms(void);
int64_t now_mono_ms(void);

/* One line on stderr, with the time. Debug lines only with -d. @p may be NULL. */
void plog(const struct policyd *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void plog_debug(const struct policyd *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Read the files again: 0 and all of it in force, or -EINVAL, all mistakes in @m (conf_mistakes_fini) and nothing changed. */
int policyd_reload(struct policyd *p, struct conf_mistakes *m);

/* This moment at this host, for policy_for and policy_open. Its host is borrowed from p->conf. */
void policyd_when(const struct policyd *p, struct policy_when *out);
/* What a domain's policies say now (policy_for at local time). */
void policyd_policy(const struct policyd *p, const struct domain_spec *spec, struct policy_effective *out);

/* ---- capacity: whole vCPUs and bytes of memory that domains of this host may have -------------------------------------- */
struct capacity {
	unsigned vcpus_total,
		vcpus_given;           /* given: the sum of dom_charge over all domains, up to the next whole vCPU */
	unsigned cpu_given;            /* the same in percent of one CPU */
	uint64_t mem_total, mem_given; /* total: capacity - keep-memory */
};
void policyd_capacity(const struct policyd *p, struct capacity *out);

/* Bytes that RAM files may still take on the file system of paths.ram: what is free there, less what other domains than @but (NULL: all)
 * have been given and not touched yet. On huge pages: of the pool, less what
 * is reserved there for others than us, too. A guest that touches memory which the file system cannot give is killed by the kernel.
 * UINT64_MAX: no limit is known. */
uint64_t policyd_ram_free(const struct policyd *p, const struct dom *but);

/* Page size of RAM files made now; more than SPEC_PAGE_BYTES: paths.ram is on huge pages. */
uint64_t policyd_ram_page(const struct policyd *p);

#endif
