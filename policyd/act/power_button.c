/* Asking a guest to shut down: see power_button.h. */
#include "policyd/act/power_button.h"

#include <errno.h>

#include "domain/qga.h"
#include "policyd/store.h"

static void on_pressed(void *arg, const json_t *ret, const struct err *e)
{
	struct dom *d = arg;

	(void)ret;
	if (e->code && e->code != ECANCELED)
		plog(d->p, "%s: power button: %s", d->spec.name, err_msg(e));
}

/* It does not answer where it does what it is asked for, so nobody waits. The history has it once. */
static void ask_agent(struct dom *d, bool first)
{
	struct store_event ev = {.domain = d->spec.name,
		.kind = "stop",
		.who = "policyd",
		.text = "it still runs 10 s after its power button was pressed; its guest agent was asked to shut it down, too",
		.ok = true};

	if (qga_command(d->qga, "guest-shutdown", json_pack("{s:s}", "mode", "powerdown"), 0, NULL, NULL) || !first)
		return;
	plog(d->p, "%s: %s", d->spec.name, ev.text);
	store_history_add(d->p->store, &ev);
}

int power_button_press(struct dom *d, unsigned *presses, struct err *e)
{
	if (*presses && d->qga && qga_ready(d->qga))
		ask_agent(d, *presses == 1);
	(*presses)++;
	if (!d->qmp || qmp_command(d->qmp, "system_powerdown", NULL, 0, on_pressed, d))
		return err_set(e, ENOTCONN, "%s: its QEMU does not answer", d->spec.name);
	return 0;
}
