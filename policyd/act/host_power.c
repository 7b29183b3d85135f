/* See host_power.h. What is kept: {state, since_ms, awake_since_ms, boot_id, sleepers: [host]}, one text in the store. */
#include "policyd/act/host_power.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policyd/act/hooks.h"
#include "policyd/act/maintain.h"
#include "policyd/act/maintain_ask.h"
#include "policyd/cluster/cluster.h"
#include "policyd/cluster/cluster_int.h"
#include "policyd/decide/power.h"
#include "policyd/dom.h"
#include "policyd/store.h"

#define SETTING "power"
#define WHO "policy power"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define HOOK_MS 120000
#define ADVISED_MS 300000 /* so long must it be advised without a break; less where decide.power-rest is less */
#define EMPTY_MS 3600000  /* for emptying */
#define GRACE_MS 600000   /* for this host to end after power-off has said yes */
#define WAKE_AGAIN_MS 600000
#define ASK_AGAIN_MS 60000 /* one that is still up */

enum state { PW_AWAKE, PW_EMPTYING, PW_GOING, PW_ASLEEP, PW_COUNT };
static const char *const state_words[PW_COUNT] = {"awake", "emptying", "going", "asleep"};

struct host_power {
	struct policyd *p;
	enum state state;
	int64_t since_ms, awake_since_ms; /* wall clock */
	json_t *sleepers;   /* {host: true}: peers that said that they go to sleep, and were not heard of since */
	bool woken;         /* found asleep at the start */
	bool changing;      /* maintenance is being begun or ended */
	int64_t advised_ms; /* to switch off, since then; 0 = is not */
	struct hook *hook;
	int64_t woke_ms; /* when a peer was woken last, and which */
	char woke[NAME_MAX_LEN];
};

static void boot_id(char out[64])
{
	const char *path = getenv("POLICYD_BOOT_ID"); /* tests: their hosts share a kernel */
	int fd = open(path ? path : BOOT_ID, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, 63);

	if (fd >= 0)
		close(fd);
	out[n < 0 ? 0 : n] = 0;
	out[strcspn(out, "\n")] = 0;
}

/* ---- what is kept ---- */

static void on_saved(void *arg, const struct err *e)
{
	struct host_power *h = arg;

	if (e->code)
		plog(h->p, "power: what was done is not kept over a restart: %s", e->msg);
}

static void save(struct host_power *h, store_done_fn *done)
{
	char id[64], *text;
	struct err e;
	json_t *j;

	boot_id(id);
	j = json_pack("{s:s, s:I, s:I, s:s, s:O}", "state", state_words[h->state], "since_ms", (json_int_t)h->since_ms,
		"awake_since_ms", (json_int_t)h->awake_since_ms, "boot_id", id, "sleepers", h->sleepers);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (text) {
		store_setting_put(h->p->store, SETTING, text, done, h);
	} else {
		err_set(&e, ENOMEM, "no memory");
		done(h, &e);
	}
	free(text);
}

static void note(struct host_power *h, const char *text, const struct err *e)
{
	struct store_event ev = {
		.domain = "", .kind = "power", .who = WHO, .text = text, .ok = !e, .error = e ? e->msg : NULL};

	store_history_add(h->p->store, &ev);
	plog(h->p, "power: %s%s%s", text, e ? ": " : "", e ? e->msg : "");
}

static void step(struct host_power *h, enum state to, store_done_fn *done)
{
	h->state = to;
	h->since_ms = now_wall_ms();
	h->advised_ms = 0;
	if (to == PW_AWAKE)
		h->awake_since_ms = h->since_ms;
	save(h, done);
	cluster_report_now(h->p);
}

static void take(struct host_power *h, const json_t *j)
{
	const char *state = json_string_value(json_object_get(j, "state")),
		   *id = json_string_value(json_object_get(j, "boot_id"));
	json_t *sleepers = json_object_get(j, "sleepers");
	bool booted;
	char now[64];

	for (unsigned i = 0; state && i < PW_COUNT; i++)
		if (!strcmp(state, state_words[i]))
			h->state = (enum state)i;
	h->since_ms = json_integer_value(json_object_get(j, "since_ms"));
	h->awake_since_ms = json_integer_value(json_object_get(j, "awake_since_ms"));
	if (json_is_object(sleepers))
		json_object_update(h->sleepers, sleepers);
	boot_id(now);
	booted = !id || strcmp(id, now) != 0;
	if (booted)
		h->awake_since_ms = now_wall_ms();
	h->woken = h->state >= PW_GOING && booted;
	if (h->state == PW_GOING && !h->woken) /* its program ended with the last policyd, and may have said yes */
		h->state = PW_ASLEEP;
}

int host_power_start(struct policyd *p, struct err *e)
{
	struct host_power *h = calloc(1, sizeof(*h));
	char *text = NULL;
	json_t *j;
	int rc;

	if (h)
		h->sleepers = json_object();
	if (!h || !h->sleepers) {
		free(h);
		return err_set(e, ENOMEM, "no memory");
	}
	h->p = p;
	p->power = h;
	rc = store_setting_get(p->store, SETTING, &text, e);
	j = text ? json_loads(text, 0, NULL) : NULL;
	if (!rc)
		take(h, j);
	save(h, on_saved);
	json_decref(j);
	free(text);
	return rc;
}

void host_power_stop(struct policyd *p)
{
	if (!p->power)
		return;
	hook_cancel(p->power->hook);
	json_decref(p->power->sleepers);
	free(p->power);
	p->power = NULL;
}

bool host_power_asleep(const struct policyd *p)
{
	return p->power && p->power->state != PW_AWAKE;
}

bool host_power_sleeps(const struct policyd *p, const char *peer)
{
	return p->power && json_object_get(p->power->sleepers, peer);
}

int host_power_check(const struct policyd *p, struct err *e)
{
	const struct host_power *h = p->power;
	const char *host = p->conf->host.host_name;

	if (!h || h->state < PW_GOING || h->woken)
		return 0;
	return err_set(e, EBUSY,
		"%s is being switched off: policy had emptied it, and called %s; it is in service again after its next boot, or by itself if it is still "
		"there in %lld min",
		host, p->conf->decide.power_off, (long long)((GRACE_MS - (now_wall_ms() - h->since_ms)) / 60000 + 1));
}

/* ---- this host ---- */

static void on_maintenance(void *arg, const struct err *e)
{
	struct host_power *h = arg;

	h->changing = false;
	if (e->code)
		plog(h->p, "power: maintenance: %s", e->msg);
}

/* Into service again. @e: why it was not switched off, NULL = it was. */
static void wake_up(struct host_power *h, const char *text, const struct err *e)
{
	note(h, text, e);
	step(h, PW_AWAKE, on_saved);
	if (!maintain_on(h->p) || strcmp(maintain_by(h->p), WHO) != 0)
		return;
	h->changing = true;
	maintain_end(h->p, false, WHO, on_maintenance, h);
}

static void stays_on(struct host_power *h, int code, const char *why)
{
	char text[160];
	struct err e;

	snprintf(text, sizeof(text), "%s stays on, and is in service again", h->p->conf->host.host_name);
	err_set(&e, code, "%s", why);
	wake_up(h, text, &e);
}

static int run_hook(struct host_power *h, const char *target, hook_done_fn *done, struct err *e)
{
	const struct conf_decide *d = &h->p->conf->decide;
	bool own = !strcmp(target, h->p->conf->host.host_name);
	struct hook_conf hc = {.p = h->p,
		.path = own ? d->power_off : d->power_on,
		.name = own ? "power-off" : "power-on",
		.domain = "",
		.uuid = "",
		.cluster = "",
		.source = h->p->conf->host.host_name,
		.target = target,
		.timeout_ms = HOOK_MS};

	return hook_run(&hc, done, h, &h->hook, e);
}

static void on_hook_off(void *arg, const char *output, const struct err *e)
{
	struct host_power *h = arg;
	char text[160];

	(void)output;
	h->hook = NULL;
	if (h->state != PW_GOING)
		return;
	if (e->code) {
		stays_on(h, e->code, e->msg);
		return;
	}
	snprintf(text, sizeof(text), "%s is switched off", h->p->conf->host.host_name);
	note(h, text, NULL);
	step(h, PW_ASLEEP, on_saved);
}

/* Only when it is durable that this host sleeps: else it would come up in maintenance, and nobody would end that. */
static void on_going_saved(void *arg, const struct err *e)
{
	struct host_power *h = arg;
	struct err bad;

	if (h->state != PW_GOING || h->hook)
		return;
	if (e->code)
		stays_on(h, e->code, e->msg);
	else if (run_hook(h, h->p->conf->host.host_name, on_hook_off, &bad))
		stays_on(h, bad.code, bad.msg);
}

/* A domain whose guest ended meanwhile, or that was defined; NULL = none. */
static const char *still_defined(const struct policyd *p)
{
	const struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link)
		if (!d->gone)
			return d->spec.name;
	return NULL;
}

static void go_down(struct host_power *h)
{
	const char *left;
	char why[192];
	int64_t here_ms = now_wall_ms() - h->since_ms;

	if (h->changing || (h->state == PW_EMPTYING && h->hook)) /* one that wakes another is on still */
		return;
	if (h->state == PW_EMPTYING && (!maintain_on(h->p) || strcmp(maintain_by(h->p), WHO) != 0)) {
		note(h, "the maintenance is not policy's any more: this host is not switched off", NULL);
		step(h, PW_AWAKE, on_saved);
	} else if (h->state == PW_EMPTYING && maintain_empty(h->p) && (left = still_defined(h->p)) != NULL) {
		snprintf(why, sizeof(why),
			"%s, which does not run, would be out of reach; move its definition to another host or remove it",
			left);
		stays_on(h, EBUSY, why);
	} else if (h->state == PW_EMPTYING && maintain_empty(h->p)) {
		step(h, PW_GOING, on_going_saved);
	} else if (h->state == PW_EMPTYING && here_ms > EMPTY_MS) {
		stays_on(h, ETIMEDOUT,
			"it could not be emptied within an hour; policyctl explain says why of each domain");
	} else if (h->state == PW_ASLEEP && here_ms > GRACE_MS) {
		stays_on(h, ETIMEDOUT,
			"its power-off program said that it is done, and ten minutes later it is still here");
	}
}

static void begin(struct host_power *h, const struct power_advice *a)
{
	note(h, a->text, NULL);
	step(h, PW_EMPTYING, on_saved);
	h->changing = true;
	maintain_begin(h->p, 0, WHO, on_maintenance, h);
}

/* ---- others ---- */

static void on_hook_on(void *arg, const char *output, const struct err *e)
{
	struct host_power *h = arg;
	char text[160];

	(void)output;
	h->hook = NULL;
	snprintf(text, sizeof(text), "%s is switched on", h->woke);
	note(h, text, e->code ? e : NULL);
}

static void on_asked(void *arg, json_t *result, const struct err *e)
{
	struct policyd *p = arg;

	json_decref(result);
	if (e->code)
		plog(p, "power: %s", e->msg);
}

static void wake(struct host_power *h, const struct power_advice *a)
{
	int64_t now = now_wall_ms(), again_ms = a->up ? ASK_AGAIN_MS : WAKE_AGAIN_MS;
	json_t *args;
	struct err e;

	if (h->hook || (!strcmp(h->woke, a->host) && h->woke_ms && now - h->woke_ms < again_ms))
		return;
	h->woke_ms = now;
	snprintf(h->woke, sizeof(h->woke), "%s", a->host);
	note(h, a->text, NULL);
	if (a->up) {
		args = json_pack("{s:s, s:b}", "host", a->host, "on", 0);
		maintain_ask(h->p, a->host, "maintenance", args, WHO, on_asked, h->p);
		json_decref(args);
		return;
	}
	if (run_hook(h, a->host, on_hook_on, &e))
		note(h, "a host that is wanted cannot be switched on", &e);
}

/* ---- for brain.c ---- */

bool host_power_acts(const struct policyd *p)
{
	const struct conf_decide *d = &p->conf->decide;

	return d->power_off_below && *d->power_off && *d->power_on && d->automation == AUTO_FULL;
}

void host_power_fill(struct policyd *p, struct snapshot *s)
{
	struct host_power *h = p->power;
	bool changed = false, known;

	if (!h)
		return;
	s->awake_since_ms = host_power_acts(p) ? h->awake_since_ms : 0;
	for (unsigned i = 0; i < s->n_peers; i++) {
		struct snap_peer *sp = &s->peers[i];

		known = json_object_get(h->sleepers, sp->name) != NULL;
		if (!sp->up)
			sp->asleep = known;
		if (sp->asleep == known)
			continue;
		changed = true;
		if (sp->asleep)
			json_object_set_new(h->sleepers, sp->name, json_true());
		else
			json_object_del(h->sleepers, sp->name);
	}
	if (changed)
		save(h, on_saved);
}

void host_power_decided(struct policyd *p, const struct snapshot *s, const struct plan *pl)
{
	struct host_power *h = p->power;
	const struct conf_decide *d = &p->conf->decide;
	unsigned advised_ms = d->power_rest_ms < ADVISED_MS ? d->power_rest_ms : ADVISED_MS;
	struct power_advice a;
	char text[160];

	if (!h)
		return;
	if (h->woken) {
		h->woken = false;
		snprintf(text, sizeof(text), "%s was switched on again, and is in service", p->conf->host.host_name);
		wake_up(h, text, NULL);
		return;
	}
	if (h->state != PW_AWAKE) {
		go_down(h);
		return;
	}
	if (!host_power_acts(p) || h->changing || maintain_on(p) || power_advise(s, pl, &a))
		return;
	if (a.what == POWER_ON && a.asleep)
		wake(h, &a);
	if (a.what != POWER_OFF || a.stays[0] || h->hook)
		h->advised_ms = 0;
	else if (!h->advised_ms)
		h->advised_ms = s->now_ms;
	else if (s->now_ms - h->advised_ms >= advised_ms)
		begin(h, &a);
}
