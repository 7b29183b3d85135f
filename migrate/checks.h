/* The source's pre-checks: may this domain's QEMU be moved from here? Touches nothing; reports every reason against it, not the first.
 * Engine thread (blocks for some ms; needs a QMP monitor of its own). */
#ifndef MIGRATE_CHECKS_H
#define MIGRATE_CHECKS_H

#include "migrate/loop.h"
#include "migrate/vm.h"
#include "migrate/worker_conf.h"

typedef void check_fail_fn(void *arg, const char *what, const char *why);

/* @vm: an open monitor, or NULL: opens conf->qmp itself. @fail for each failure. Returns how many there were. */
unsigned checks_run(const struct worker_conf *conf, struct loop *loop, struct vm *vm, check_fail_fn *fail, void *arg);

/* The program's "check": reads one line from @fd, answers {"event": "check", ...}. Exit status. */
int checks_main(int fd);

#endif
