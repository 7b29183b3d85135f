/* CPU boost of a move's worker (migration.boost): nice, and where guests have CPU groups of their own (caps, importance) and policyd's group is not the
 * top one, where nice would count, a group beside theirs with a weight to match. Loop thread. */
#ifndef POLICYD_ACT_BOOST_H
#define POLICYD_ACT_BOOST_H

#include "policyd/policyd.h"

struct boost;
/* Before @pid, the worker that moves @domain, has read its first line: its threads are made after this. NULL: there is nothing to take back; what failed is logged
 * once. */
struct boost *boost_begin(struct policyd *p, const char *domain, pid_t pid);
/* The worker has ended. NULL does nothing. */
void boost_end(struct boost *b);
/* policyd ends, the worker does not: it keeps what it has. NULL does nothing. */
void boost_leave(struct boost *b);
/* At the start, after a crash: groups of workers that are left go, processes in them to the top group. */
void boost_sweep(struct policyd *p);

#endif
