/* The rules about one domain: what it needs, what it can give, its floors and ceilings. Pure functions of the snapshot's figures;
 * decide.c puts them together. decide/ and its tests only.
 *
 * Why nothing swings: growth from n vCPUs happens above util-upper; taking from n happens only where the load, on what is left,
 * stays below util-upper - elastic-margin. So what growth gave can never be taken back under the same load, and what was taken is
 * never asked for again. Memory likewise: giving ends above free-lower + step, growing ends below free-upper. */
#ifndef POLICYD_DECIDE_RULES_H
#define POLICYD_DECIDE_RULES_H

#include "policyd/decide/snapshot.h"

#define RULE_MEM_HEADROOM 1.3 /* a shrunk domain keeps this times what it uses */
#define RULE_CPU_PART 10      /* percent points of one CPU: the least that is given or taken by a cap */
#define RULE_UTIL_UPPER 85.0  /* for donors without a CPU policy */
#define RULE_UTIL_MARGIN 5.0
#define RULE_FREE_UPPER 40.0 /* for donors without a memory policy */

struct need {
	bool is;
	bool emergency;  /* met at once: not sustained, and no dwell time holds it up */
	uint64_t want;   /* vCPUs or bytes in all */
	double severity; /* 0..1: how much of its service it loses for lack of it */
};

/* What it is entitled to, percent of one CPU: its vCPUs, or its cap. */
unsigned rule_cpu_entitled(const struct snap_domain *d);
unsigned rule_cpu_floor(const struct snap_domain *d);
unsigned rule_cpu_ceiling(const struct snap_domain *d);
uint64_t rule_mem_ceiling(const struct snap_domain *d);
/* What it may be shrunk to: multiple of MEM_STEP; mem_bytes itself where nothing is known. */
uint64_t rule_mem_floor(const struct snap_domain *d);

bool rule_cpu_known(const struct snap_domain *d);
double rule_mem_available_percent(const struct snap_domain *d); /* < 0 unknown */
/* Above the bound for long enough. For CPU, want is in whole vCPUs, and above the whole ones that it is entitled to. want is above what it has, and may be above the ceiling by nothing. */
struct need rule_cpu_need(const struct snap_domain *d, const struct conf_decide *c);
struct need rule_mem_need(const struct snap_domain *d, const struct conf_decide *c);
/* With @bytes in all it would not be in need any more: available at free-lower and above its reserve; one that swaps needs all that it wants. */
bool rule_mem_enough(const struct snap_domain *d, uint64_t bytes);
/* In need by the figures, but with nothing left below its ceiling. */
bool rule_cpu_at_ceiling(const struct snap_domain *d, const struct conf_decide *c);
bool rule_mem_at_ceiling(const struct snap_domain *d, const struct conf_decide *c);

/* vCPUs that policy takes although nobody needs them (below util-lower for long enough); 0 = none. */
unsigned rule_cpu_release(const struct snap_domain *d, const struct conf_decide *c, int64_t now_ms);
/* Memory that policy takes although nobody needs it: its use of days says that it will not need it (policy's sizing); bytes, 0 = none. */
uint64_t rule_mem_release(const struct snap_domain *d, int64_t now_ms);
/* What a donor can give to others; 0 = nothing. One that refused, or whose shrink backed off, is frozen for a while. */
unsigned rule_cpu_give(const struct snap_domain *d, int64_t now_ms);
uint64_t rule_mem_give(const struct snap_domain *d, int64_t now_ms);
/* What it can give by a cap, without its guest being asked: percent points of one CPU, a multiple of RULE_CPU_PART; 0 = nothing. Never below its
 * floor. One that is capped already gives in this way only. */
unsigned rule_cpu_give_part(const struct snap_domain *d);

#endif
