/* Refusing with all mistakes of a text at once. Loop thread. */
#ifndef POLICYD_API_CMD_FAIL_H
#define POLICYD_API_CMD_FAIL_H

#include "policyd/api/control.h"

/* All mistakes, one a line, and the count. Frees @m; @r is answered. */
void cmd_fail_mistakes(struct creq *r, struct conf_mistakes *m);

/* cmd_kept.c. @name is kept. */
void cmd_remove_kept(struct creq *r, const char *name);
/* @d NULL: it is kept. */
void cmd_restore(struct creq *r, struct dom *d);
/* -EEXIST: a definition of this uuid or name was kept here. */
int cmd_add_kept(struct policyd *p, const struct domain_spec *spec, struct err *e);

#endif
