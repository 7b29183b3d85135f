/* A domain's QEMU: launch, attach, events, its end. States are stepped by jobs and by dom_ended, not by the connection.
 *
 * The end is seen on the pidfd, whoever caused it. A job that is on hears of it first (on_exit); else dom_ended does the usual.
 * Loop thread. */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "domain/qga.h"
#include "policyd/act/brain.h"
#include "policyd/act/cpu_group.h"
#include "policyd/act/job.h"
#include "policyd/act/qemu_facts.h"
#include "policyd/act/run_on.h"
#include "policyd/adopt.h"
#include "policyd/dom.h"
#include "resize/balloon.h"
#include "resize/vmem.h"

#define POLL_STATS_S 1
#define KILL_AFTER_MS 5000

/* ---- console ports ---- */

static bool port_taken(struct policyd *p, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct dom *d;
	int fd, rc, one = 1;

	TAILQ_FOREACH(d, &p->doms, link)
		if (d->launched.pid && d->launched.console_port == port)
			return true;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false; /* QEMU will say so if it is */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	rc = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	close(fd);
	return rc != 0;
}

int dom_console_port(struct policyd *p, const struct domain_spec *spec, uint16_t *out, struct err *e)
{
	const struct console_group *g;

	*out = 0;
	if (!spec->console[0])
		return 0;
	g = services_console(&p->conf->host, spec->console);
	if (!g)
		return err_set(e, ENOENT,
			"%s has no console group \"%s\"; add it under host.consoles in its policyd.cfg",
			p->conf->host.host_name, spec->console);
	for (unsigned port = g->port_first; port <= g->port_last; port++)
		if (!port_taken(p, (uint16_t)port)) {
			*out = (uint16_t)port;
			return 0;
		}
	return err_set(e, ENOSPC, "console group \"%s\" of %s has no free port in %u-%u; widen it in policyd.cfg",
		g->name, p->conf->host.host_name, g->port_first, g->port_last);
}

static int file_there(const struct policyd *p, const char *what, const char *path, struct err *e)
{
	if (!path[0] || !access(path, R_OK))
		return 0;
	return err_set(e, ENOENT, "its %s %s cannot be read on %s: %s; correct the path or put the file there", what,
		path, p->conf->host.host_name, strerror(errno));
}

/* What the host's names stand for. @spec's names are known to be there. */
static int devices_there(const struct policyd *p, const struct domain_spec *spec, struct err *e)
{
	const struct host_services *h = &p->conf->host;
	const struct volume *v;
	const struct vswitch *sw;

	for (unsigned i = 0; i < spec->n_disks; i++) {
		v = services_volume(h, spec->disks[i].volume);
		if (access(v->path, F_OK))
			return err_set(e, ENOENT,
				"on %s volume \"%s\" is %s, which is not there; attach the storage or correct host.volumes",
				h->host_name, v->name, v->path);
	}
	for (unsigned i = 0; i < spec->n_nets; i++) {
		sw = services_switch(h, spec->nets[i].sw);
		if (!if_nametoindex(sw->bridge))
			return err_set(e, ENOENT,
				"on %s switch \"%s\" is the bridge %s, which is not there; make it (ip link add %s type bridge) or "
				"correct host.switches",
				h->host_name, sw->name, sw->bridge, sw->bridge);
	}
	return 0;
}

int dom_services(struct policyd *p, const struct domain_spec *spec, bool now, struct err *e)
{
	struct launch_conf lc = {.spec = spec, .services = &p->conf->host};
	struct strv argv = {0};
	int rc = launch_argv(&lc, &argv, e); /* pure: made and thrown away */

	strv_fini(&argv);
	if (!rc && spec->console[0] && !services_console(&p->conf->host, spec->console))
		rc = err_set(e, ENOENT, "%s has no console group \"%s\"; add it under host.consoles in its policyd.cfg",
			p->conf->host.host_name, spec->console);
	if (!rc)
		rc = file_there(p, "kernel", spec->kernel, e);
	if (!rc)
		rc = file_there(p, "initrd", spec->initrd, e);
	if (!rc && now)
		rc = devices_there(p, spec, e);
	return rc ? err_wrap(e, "%s", spec->name) : 0;
}

/* ---- attach ---- */

static void on_refresh_done(void *arg, const struct err *e)
{
	struct dom *d = arg;

	if (e->code == ECANCELED)
		return; /* it is being let go */
	if (e->code)
		plog(d->p, "%s: asking QEMU for its state: %s", d->spec.name, err_msg(e));
	adopt_on_answer(d);
	if (d->job && d->job->type->on_event)
		d->job->type->on_event(d->job, "QMP_READY", NULL);
}

static void on_qmp_ready(void *arg)
{
	struct dom *d = arg;

	d->qmp_up = true;
	balloon_poll_stats(d->qmp, POLL_STATS_S);
	if (d->qga)
		qga_poke(d->qga);
	dom_refresh(d, on_refresh_done, d);
}

static void on_qmp_down(void *arg, const struct err *e)
{
	struct dom *d = arg;

	if (d->qmp_up)
		plog_debug(d->p, "%s: QMP: %s", d->spec.name, err_msg(e));
	d->qmp_up = false;
}

static void on_late_refresh(void *arg, const struct err *e)
{
	struct dom *d = arg;

	if (e->code)
		return; /* it is asked again when it answers again */
	brain_changed(d);
	if (d->stored)
		dom_save(d, NULL, NULL);
}

/* A vCPU left although no job waits for that: one that policyd was killed in, or that had given up, is obeyed late. QEMU 7.2 tells of its parts only, by
 * path and without an id, but has taken it from its list by then. */
static bool vcpu_left(const struct dom *d, const char *event, const json_t *data)
{
	static const char folder[] = "/machine/peripheral/";
	const char *id = json_string_value(json_object_get(data, "device")),
		   *path = json_string_value(json_object_get(data, "path"));

	if (!id && path && !strncmp(path, folder, sizeof(folder) - 1))
		id = path + sizeof(folder) - 1;
	return !strcmp(event, "DEVICE_DELETED") && id && !strncmp(id, "cpu-", 4) &&
		(!d->job || d->job->type->kind != JOB_CPU);
}

static void on_agent_up(void *arg)
{
	struct dom *d = arg;

	plog_debug(d->p, "%s: its guest's agent answers", d->spec.name);
}

/* A guest has opened the agent's port: one that answers is soon behind it. */
static void agent_port_changed(struct dom *d, const json_t *data)
{
	const char *id = json_string_value(json_object_get(data, "id"));

	if (!id || strcmp(id, QGA_PORT_ID) != 0)
		return;
	if (json_is_true(json_object_get(data, "open")))
		qga_poke(d->qga);
	else
		qga_gone(d->qga);
}

static void on_qmp_event(void *arg, const char *event, const json_t *data)
{
	struct dom *d = arg;
	const char *reason;

	plog_debug(d->p, "%s: QMP event %s", d->spec.name, event);
	if (!strcmp(event, "STOP")) {
		d->guest_running = false;
	} else if (!strcmp(event, "RESUME")) {
		d->guest_running = true;
	} else if (!strcmp(event, "SHUTDOWN") || !strcmp(event, "GUEST_PANICKED")) {
		reason = json_string_value(json_object_get(data, "reason"));
		if (strcmp(d->end_reason, "guest-panic"))
			snprintf(d->end_reason, sizeof(d->end_reason), "%s",
				*event == 'G'    ? "guest-panic"
					: reason ? reason
						 : "shutdown");
	} else if (!strcmp(event, "BALLOON_CHANGE") && json_object_get(data, "actual")) {
		d->balloon_bytes = (uint64_t)json_integer_value(json_object_get(data, "actual"));
		d->mem_bytes = d->balloon_bytes + d->vmem_bytes;
	} else if (!strcmp(event, "MEMORY_DEVICE_SIZE_CHANGE") && vmem_event(data, &d->vmem_bytes) &&
		d->balloon_bytes) {
		d->mem_bytes = d->balloon_bytes + d->vmem_bytes;
	} else if (!strcmp(event, "VSERPORT_CHANGE") && d->qga) {
		agent_port_changed(d, data);
	} else if (vcpu_left(d, event, data)) {
		dom_refresh(d, on_late_refresh, d);
	}
	if (d->job && d->job->type->on_event)
		d->job->type->on_event(d->job, event, data);
}

static const struct qmp_handlers qmp_handlers = {on_qmp_ready, on_qmp_event, on_qmp_down};

bool dom_ended_unattended(struct dom *d, bool crashed, const char *why)
{
	if (d->stored || !d->launched.incoming || d->job) {
		dom_ended(d, crashed, why);
		return true;
	}
	plog(d->p, "%s: it was a migration's target and not ours yet; its leftovers are cleaned", d->spec.name);
	dom_cleanup(d);
	dom_free(d);
	return false;
}

static void on_pidfd_exit(evutil_socket_t fd, short what, void *arg)
{
	struct dom *d = arg;
	struct job *j = d->job;
	char tail[300] = "", why[ERR_MSG_MAX];
	bool orderly = d->end_reason[0] && strcmp(d->end_reason, "guest-panic");
	struct err e;

	(void)fd, (void)what;
	launch_stderr_tail(&d->p->conf->host, d->spec.name, tail, sizeof(tail));
	if (orderly)
		snprintf(why, sizeof(why), "its guest ended (%s)", d->end_reason);
	else if (d->end_reason[0])
		snprintf(why, sizeof(why), "its guest panicked");
	else
		snprintf(why, sizeof(why), "its QEMU (pid %d) ended unexpectedly%s%s", (int)d->launched.pid,
			tail[0] ? ": " : "", tail);
	plog(d->p, "%s: %s", d->spec.name, why);
	dom_detach(d);
	adopt_on_answer(d);
	if (j && j->type->on_exit) {
		j->type->on_exit(j);
		return;
	}
	if (dom_ended_unattended(d, !orderly, why) && j) {
		err_set(&e, ESRCH, "%s: %s while the %s was under way", d->spec.name, why, j->type->operation);
		job_end(j, &e);
	}
}

void dom_keep_launched(struct dom *d)
{
	struct err e;

	if (d->launched.pid && launch_update(&d->p->conf->host, &d->launched, &e) < 0)
		plog(d->p, "%s: %s", d->spec.name, e.msg);
}

/* What it was entitled to before policyd was restarted. Where that cannot be had any more, it has its whole vCPUs, and says so. */
static void take_cpu_cap(struct dom *d)
{
	struct err e;

	if (cpu_group_apply(d, &e) == 0 || !d->launched.cpu_cap)
		return;
	plog(d->p, "%s: its CPU cap of %u %% cannot be set, it has all of its %u vcpus: %s", d->spec.name,
		d->launched.cpu_cap, d->vcpus, e.msg);
	d->launched.cpu_cap = 0;
	dom_keep_launched(d);
}

int dom_attach(struct dom *d, const struct launched *l, struct err *e)
{
	char path[SPEC_PATH_MAX];
	int rc = rundir_path(&d->p->conf->host, d->spec.name, "qmp.sock", path, e);

	if (rc)
		return rc;
	assert(!d->qmp);
	d->pidfd = launch_pidfd(l);
	if (d->pidfd < 0)
		return err_set(e, ESRCH, "%s: its QEMU (pid %d) is gone already", d->spec.name, (int)l->pid);
	d->launched = *l;
	d->end_reason[0] = 0;
	d->ev_exit = event_new(d->p->base, d->pidfd, EV_READ, on_pidfd_exit, d);
	d->qmp = qmp_new(d->p->base, path, true, &qmp_handlers, d);
	if (!d->ev_exit || !d->qmp || event_add(d->ev_exit, NULL)) {
		dom_detach(d);
		return err_set(e, ENOMEM, "%s: no memory to watch its QEMU", d->spec.name);
	}
	brain_watch(d);
	take_cpu_cap(d);
	if (d->launched.guest_agent && !rundir_path(&d->p->conf->host, d->spec.name, "qga.sock", path, NULL))
		d->qga = qga_new(d->p->base, path, on_agent_up, d);
	return 0;
}

void dom_detach(struct dom *d)
{
	run_on_free(d->run_on);
	d->run_on = NULL;
	if (d->qmp && d->job && d->job->type->on_detach)
		d->job->type->on_detach(d->job);
	qga_free(d->qga);
	d->qga = NULL;
	brain_unwatch(d);
	cpu_group_drop(d);
	if (d->ev_exit)
		event_free(d->ev_exit);
	if (d->ev_kill)
		event_free(d->ev_kill);
	d->ev_exit = d->ev_kill = NULL;
	qmp_free(d->qmp);
	d->qmp = NULL;
	d->qmp_up = d->guest_running = false;
	d->qemu_version[0] = 0;
	if (d->pidfd >= 0)
		close(d->pidfd);
	d->pidfd = -1;
	d->launched.pid = 0;
	d->launched.cpu_cap = 0;
	d->balloon_bytes = d->vmem_bytes = d->vmem_requested = 0;
}

int dom_ended_starting(const struct dom *d, struct err *e)
{
	char tail[300];

	launch_stderr_tail(&d->p->conf->host, d->spec.name, tail, sizeof(tail));
	return err_set(
		e, ECHILD, "%s: QEMU ended while it started: %s", d->spec.name, tail[0] ? tail : "it said nothing");
}

int dom_launch(struct dom *d, const struct dom_launch *opt, struct err *e)
{
	struct launch_conf lc = {.spec = &d->spec,
		.services = &d->p->conf->host,
		.incoming = opt->incoming,
		.paused = opt->paused,
		.no_guest_agent = opt->no_guest_agent,
		.machine = opt->machine};
	struct launched l = {0};
	int rc;

	if (opt->n_vcpu_ids > LAUNCH_HOTPLUGGED_MAX)
		return err_set(e, ERANGE, "%s: %u hot-plugged vcpus are too many", d->spec.name, opt->n_vcpu_ids);
	for (unsigned i = 0; i < opt->n_vcpu_ids; i++)
		lc.vcpu_ids[i] = opt->vcpu_ids[i];
	lc.n_vcpu_ids = opt->n_vcpu_ids;
	rc = dom_console_port(d->p, &d->spec, &lc.console_port, e);
	if (!rc)
		rc = launch_start(&lc, &l, e);
	if (rc)
		return err_wrap(e, "%s", d->spec.name);
	rc = dom_attach(d, &l, e);
	return rc == -ESRCH ? dom_ended_starting(d, e) : rc; /* it may not live that long */
}

/* ---- the end ---- */

static void on_kill_time(evutil_socket_t fd, short what, void *arg)
{
	struct dom *d = arg;

	(void)fd, (void)what;
	plog(d->p, "%s: QEMU (pid %d) %s; killed", d->spec.name, (int)d->launched.pid,
		d->qmp_up ? "did not quit" : "hears nobody");
	syscall(SYS_pidfd_send_signal, d->pidfd, SIGKILL, NULL, 0);
}

int dom_kill(struct dom *d)
{
	struct timeval tv = {KILL_AFTER_MS / 1000, 0};

	if (!d->launched.pid || d->pidfd < 0)
		return -ESRCH;
	if (d->ev_kill)
		return 0;
	snprintf(d->end_reason, sizeof(d->end_reason), "forced");
	if (!d->qmp_up || qmp_command(d->qmp, "quit", NULL, 0, NULL, NULL))
		tv.tv_sec = 0; /* nobody listens there */
	d->ev_kill = evtimer_new(d->p->base, on_kill_time, d);
	if (d->ev_kill)
		evtimer_add(d->ev_kill, &tv);
	return 0;
}

void dom_cleanup(struct dom *d)
{
	struct err e = {0};

	if (launch_cleanup(&d->p->conf->host, &d->spec, &e))
		plog(d->p, "%s: cleaning up: %s", d->spec.name, err_msg(&e));
}

void dom_ended(struct dom *d, bool crashed, const char *why)
{
	struct store_event ev = {.domain = d->spec.name,
		.kind = "ended",
		.who = "policyd",
		.text = why,
		.ok = !crashed,
		.error = crashed ? why : NULL};
	struct err e = {0};

	if (dom_step(d, DEV_EXITED, &e))
		plog(d->p, "%s", err_msg(&e));
	if (!d->bound && d->state == DOM_BOUND)
		dom_step(d, DEV_UNBIND, NULL);
	if (crashed && why) {
		err_set(&e, EIO, "%s", why);
		dom_note_result(d, "run", &e);
	}
	d->started_ms = 0;
	d->vcpus = d->spec.vcpus_boot;
	d->mem_bytes = d->spec.mem_boot;
	dom_cleanup(d);
	if (why)
		store_history_add(d->p->store, &ev);
	dom_save(d, NULL, NULL);
}

/* ---- refresh ---- */

struct refresh { /* some questions, one answer */
	struct dom *d;
	unsigned left;
	struct err e;
	void (*done)(void *arg, const struct err *e);
	void *arg;
};

static void refresh_one_less(struct refresh *r)
{
	if (--r->left)
		return;
	r->done(r->arg, &r->e);
	free(r);
}

static void refresh_fault(struct refresh *r, const struct err *e)
{
	if (e->code && !r->e.code)
		r->e = *e;
}

static void on_qmp_status(void *arg, const json_t *ret, const struct err *e)
{
	struct refresh *r = arg;

	refresh_fault(r, e);
	if (!e->code)
		r->d->guest_running = json_is_true(json_object_get(ret, "running"));
	refresh_one_less(r);
}

static void on_qmp_cpus(void *arg, const json_t *ret, const struct err *e)
{
	struct refresh *r = arg;

	refresh_fault(r, e);
	if (!e->code && json_array_size(ret))
		r->d->vcpus = (unsigned)json_array_size(ret);
	refresh_one_less(r);
}

static void on_qmp_balloon(void *arg, const json_t *ret, const struct err *e)
{
	struct refresh *r = arg;
	json_int_t actual = json_integer_value(json_object_get(ret, "actual"));

	if (e->code && e->code != EREMOTEIO) /* a guest without a balloon is no fault here */
		refresh_fault(r, e);
	if (!e->code && actual > 0) {
		r->d->balloon_bytes = (uint64_t)actual;
		r->d->mem_bytes = r->d->balloon_bytes + r->d->vmem_bytes;
	}
	refresh_one_less(r);
}

static void on_qmp_devices(void *arg, const json_t *ret, const struct err *e)
{
	struct refresh *r = arg;
	struct vmem v;

	refresh_fault(r, e);
	vmem_parse(ret, &v);
	if (!e->code) {
		r->d->vmem_bytes = v.plugged;
		r->d->vmem_requested = v.requested;
	}
	refresh_one_less(r);
}

static void on_qmp_version(void *arg, const json_t *ret, const struct err *e)
{
	struct refresh *r = arg;
	struct qemu_facts q = {.major = 0};

	refresh_fault(r, e);
	if (!e->code) {
		qemu_facts_take(&q, ret, NULL, NULL, NULL);
		memcpy(r->d->qemu_version, q.version, sizeof(r->d->qemu_version));
		qemu_facts_fini(&q);
	}
	refresh_one_less(r);
}

void dom_refresh(struct dom *d, void (*done)(void *arg, const struct err *e), void *arg)
{
	static const struct {
		const char *cmd;
		qmp_done_fn *done;
	} asks[] = {{"query-status", on_qmp_status}, {"query-cpus-fast", on_qmp_cpus},
		{"query-memory-devices", on_qmp_devices}, {"query-balloon", on_qmp_balloon},
		{"query-version", on_qmp_version}};
	struct refresh *r = calloc(1, sizeof(*r));
	struct err e;

	if (!r) {
		err_set(&e, ENOMEM, "%s: no memory", d->spec.name);
		done(arg, &e);
		return;
	}
	r->d = d;
	r->done = done;
	r->arg = arg;
	r->left = sizeof(asks) / sizeof(asks[0]) + 1; /* ours too: the last one tells */
	for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++)
		if (!d->qmp || qmp_command(d->qmp, asks[i].cmd, NULL, 0, asks[i].done, r)) {
			if (!r->e.code)
				err_set(&r->e, ENOTCONN, "%s: its QEMU does not answer", d->spec.name);
			r->left--;
		}
	refresh_one_less(r);
}

/* ---- memory ---- */

void dom_has_memory(struct dom *d, uint64_t bytes, uint64_t vmem_bytes)
{
	d->mem_bytes = bytes;
	d->balloon_bytes = bytes - vmem_bytes;
	d->vmem_bytes = d->vmem_requested = vmem_bytes;
}

void dom_let_memory(struct dom *d, uint64_t bytes)
{
	struct mem_parts now = {.balloon = d->balloon_bytes, .vmem = d->vmem_bytes}, to;

	if (!d->qmp || !now.balloon)
		return;
	to = mem_split(&now, bytes ? bytes : now.balloon + now.vmem, d->spec.mem_boot, false);
	qmp_command(d->qmp, "balloon", json_pack("{s:I}", "value", (json_int_t)to.balloon), 0, NULL, NULL);
	if (!spec_vmem_bytes(&d->spec) || vmem_request(d->qmp, to.vmem, NULL, NULL))
		return;
	d->vmem_requested = to.vmem;
}

static bool unplugged_under_tcg(const struct dom *d)
{
	return d->launched.pid && d->launched.vcpu_removed && d->p->conf->host.accel != ACCEL_KVM;
}

const char *dom_no_plug(const struct dom *d)
{
	if (!unplugged_under_tcg(d))
		return NULL;
	return "a vcpu was removed since its QEMU started, and QEMU under TCG may crash when one is added after that; stop and start it first";
}

const char *dom_no_live_move(const struct dom *d)
{
	if (!unplugged_under_tcg(d))
		return NULL;
	return "a vcpu was removed since its QEMU started, and QEMU under TCG crashes when such a guest is moved live; stop and start it "
	       "first, or move it cold";
}
