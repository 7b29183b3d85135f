/* How busy a guest finds itself: the load averages of its own kernel (/proc/loadavg, proc(5)), by its agent, every ten seconds. For operators: show. What
 * is decided goes by what the host sees (run time and run delay of the vCPUs), which needs nobody in the guest. Loop thread. */
#ifndef POLICYD_ACT_AGENT_LOAD_H
#define POLICYD_ACT_AGENT_LOAD_H

#include "policyd/dom.h"

/* Once a second: asks whose time it is. */
void agent_load_follow(struct policyd *p);
/* [1, 5, 15 minutes], new reference; NULL: not known (any more). */
json_t *agent_load_json(const struct dom *d);
/* The first three numbers of @text. -EPROTO: they are not there. Pure. */
int agent_load_parse(const char *text, double out[3]);

#endif
