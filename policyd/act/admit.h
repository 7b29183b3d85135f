/* Admission: may this domain come here? Every reason against it at once, each a sentence that says what to do. Pure: what the host is comes in
 * a struct (filled by asked.c), and the only questions to the outside are asked through one function. Any thread. */
#ifndef POLICYD_ACT_ADMIT_H
#define POLICYD_ACT_ADMIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "domain/services.h"
#include "domain/spec.h"
#include "domain/volume_id.h"
#include "policyd/act/look.h"
#include "policyd/act/qemu_facts.h"

#define ADMIT_FAILURES_MAX 24

struct admit_failures { /* "what" is one word for the first column: volume, memory, ... */
	struct {
		char what[24], why[320];
	} v[ADMIT_FAILURES_MAX];
	unsigned n; /* more than fit are dropped */
};
void admit_fail(struct admit_failures *f, const char *what, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* [{what, why}]; and back (what is not of that shape is left out). */
json_t *admit_to_json(const struct admit_failures *f);
void admit_from_json(const json_t *j, struct admit_failures *f);
/* In one sentence: "memory: ...; volume: ...". Those that do not fit are counted at its end. */
void admit_text(const struct admit_failures *f, char *out, size_t size);

struct admit_request {           /* what a source asks: docs/peers.md, precheck and prepare */
	struct domain_spec spec; /* its name there; @name is the one it shall have here */
	char name[NAME_MAX_LEN];
	unsigned vcpus; /* given now */
	uint64_t mem_bytes;
	bool live;        /* else cold */
	bool by_policy;   /* else an operator's: rules of company do not bind those */
	bool running;     /* it will run here: it needs room now */
	char accel[8];    /* the source's, live only; "" = not said */
	char machine[64]; /* live: the type that its QEMU was started with; "" = not said */
	char qemu[32];    /* the source's version; "" = not said */
	json_t *cpu_features; /* live and cpu-arch native: what the guest may be using; NULL = not said. Owned: admit_request_fini */
	int64_t time_ms;      /* the source's wall clock when it asked; 0 = not said */
	bool fips, fips_said; /* is the source in FIPS mode? */
	struct volume_id
		volumes[SPEC_DISKS_MAX]; /* what the source has behind the names of its disks, in their order */
};
/* Strict. -EINVAL with a sentence, and @out untouched. */
int admit_request_parse(const json_t *j, struct admit_request *out, struct err *e);
void admit_request_fini(struct admit_request *rq); /* zeroed: does nothing */
json_t *admit_request_json(const struct admit_request *rq);

struct admit_host { /* all borrowed */
	const struct host_services *services;
	bool accepts;            /* not starting, stopping or in maintenance */
	const char *accepts_why; /* a sentence when it does not */
	unsigned vcpus_total, vcpus_given;
	uint64_t mem_total, mem_given;
	uint64_t ram_free_bytes;                  /* free on the RAM file system; UINT64_MAX = unknown */
	uint64_t ram_page_bytes;                  /* page size of files there */
	const struct domain_spec *const *domains; /* all that are here */
	unsigned n_domains;
	unsigned moves, max_moves;     /* incoming now; max 0 = no limit */
	const struct qemu_facts *qemu; /* NULL: not known (yet) */
	int64_t now_ms;                /* wall clock; 0 = not compared */
	bool fips;
	const char *console_why,
		*ports_why; /* no port is free for its console, for its transfer: sentences; NULL = there is one */
	/* Is this file or bridge here, and what storage is it? @id may be NULL. NULL: files are not asked about. */
	enum looked (*look)(void *arg, const char *path, struct volume_id *id);
	void *arg;
};

#define ADMIT_SKEW_MAX_MS 30000

/* Appends to @f; does not clear it. @from: the asking host's name. */
void admit_check(
	const struct admit_host *host, const char *from, const struct admit_request *rq, struct admit_failures *f);

/* Of these only what its QEMU has to be: accelerator, version, machine type, CPU. */
void admit_check_qemu(
	const struct admit_host *host, const char *from, const struct admit_request *rq, struct admit_failures *f);

/* The cluster rule: a cold move takes the node away for a while. @running: nodes of its cluster that run now, everywhere, this one
 * included (if it runs). */
void admit_cluster(
	const char *cluster, unsigned running, bool this_runs, unsigned min_available, struct admit_failures *f);

#endif
