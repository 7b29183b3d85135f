/* Recorded memory use of domains, as text (docs/traces.md): read, cleaned, sorted. Only policysim; one thread. */
#ifndef POLICYD_POLICYSIM_TRACE_H
#define POLICYD_POLICYSIM_TRACE_H

#include <stdint.h>
#include <stdio.h>

#include "domain/err.h"

struct trace_sample {
	int64_t t_s;
	double cap_mib, used_mib; /* provisioned; used. Used may be more than provisioned: recordings are like that */
};

struct trace_vm {
	char name[64];
	struct trace_sample *samples; /* times rise strictly */
	unsigned n, room;
};

struct trace {
	struct trace_vm *vms; /* in the order in which they appear in the file */
	unsigned n, room;
	/* what cleaning found */
	unsigned long rows, n_no_cap, n_repeated, n_unordered;
};

/* Reads all of @f. @name is for messages. On failure (-EINVAL: "NAME:LINE: ..", -ENOMEM) nothing is left in @t. */
int trace_read(FILE *f, const char *name, struct trace *t, struct err *e);
void trace_fini(struct trace *t);

/* For tests and trace_read: one row, cleaned. 0 or -ENOMEM. trace_sort() afterwards. */
int trace_add(struct trace *t, const char *vm, int64_t t_s, double cap_mib, double used_mib);
/* Sorts each domain's rows by time; of rows with the same time the one with the largest use stays. */
void trace_sort(struct trace *t);

#endif
