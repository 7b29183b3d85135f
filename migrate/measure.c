/* What a move would have to do: see measure.h. One thread for the work; the boss's thread hears a cancel meanwhile.
 *
 * How much the guest writes: all pages are armed once and looked at several times without re-arming, so a page that is rewritten counts once, as
 * it does in a round of that length. The order is: sample (the guest is not touched), windows, let the tracker go, probe. */
#include "migrate/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "migrate/boss.h"
#include "migrate/loop.h"
#include "migrate/probe.h"
#include "migrate/rewrites.h"
#include "migrate/sample.h"
#include "migrate/tracker.h"
#include "migrate/worker.h"

#define SINK_WAIT_MS 10000

static const unsigned looks_ms[] = {50, 100, 200, 400};
#define N_LOOKS (sizeof(looks_ms) / sizeof(looks_ms[0]))

struct measure {
	struct worker_conf conf;
	struct boss *boss;
	struct loop loop;
	atomic_bool stop;
	struct xfer_limits limits;
	struct tls_ctx *tls;
	pthread_mutex_t lock; /* around session */
	struct session *session;
	int lock_fd;
	struct ram_block blocks[RAM_BLOCKS_MAX];
	unsigned n_blocks;
	struct sample sample;
	struct {
		double s;
		uint64_t bytes;
	} curve[N_LOOKS];
	unsigned n_curve;
	double delta_share; /* rewrites.h */
	bool has_link;
	struct probe_out link;
};

/* ---- cancel ---------------------------------------------------------------------------------------------- */

static void on_boss_cancel(void *arg)
{
	struct measure *m = arg;

	atomic_store(&m->stop, true);
	atomic_store(&m->limits.cancel, true);
	loop_cancel(&m->loop);
	pthread_mutex_lock(&m->lock);
	if (m->session)
		session_break(m->session);
	pthread_mutex_unlock(&m->lock);
}

static void on_boss_limits(void *arg, const struct boss_limits *limits)
{
	(void)arg;
	(void)limits;
}

static void on_boss_go(void *arg)
{
	(void)arg;
}

static const struct boss_handlers boss_handlers = {.on_cancel = on_boss_cancel,
	.on_limits = on_boss_limits,
	.on_go = on_boss_go,
	.on_qemu_end = on_boss_cancel,
	.on_gone = on_boss_cancel};

static int cancelled(const struct measure *m, struct err *e)
{
	return atomic_load(&m->stop) ? err_set(e, ECANCELED, "cancelled") : 0;
}

/* Sleeps until @until_us, or a cancel. */
static int sleep_until(const struct measure *m, int64_t until_us, struct err *e)
{
	struct pollfd p = {.fd = m->loop.wake_fd, .events = POLLIN};
	int64_t left_us;

	while ((left_us = until_us - worker_now_us()) > 0 && !atomic_load(&m->stop))
		poll(&p, 1, (int)(left_us / 1000) + 1);
	return cancelled(m, e);
}

/* ---- the guest ------------------------------------------------------------------------------------------- */

/* The lock of a migration: two trackers cannot share a QEMU. */
static int lock_domain(struct measure *m, struct err *e)
{
	char path[PATH_MAX + 32];

	if (!m->conf.run_dir[0])
		return 0;
	snprintf(path, sizeof(path), "%s/migrate.lock", m->conf.run_dir);
	m->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->lock_fd < 0)
		return err_set(e, errno, "%s: %s", path, strerror(errno));
	if (flock(m->lock_fd, LOCK_EX | LOCK_NB) != 0)
		return err_set(e, EBUSY, "a migration of this domain is under way (%s is locked)", path);
	return 0;
}

static int look(struct measure *m, struct tracker *t, struct rewrites **rewrites, struct err *e)
{
	int64_t began_us, pages, spent_us;
	int rc = t->ops->arm(t, e);

	began_us = worker_now_us();
	for (unsigned i = 0; rc == 0 && i < N_LOOKS; i++) {
		rc = sleep_until(m, began_us + (int64_t)looks_ms[i] * 1000, e);
		if (rc)
			break;
		spent_us = worker_now_us();
		pages = t->ops->peek(t, e);
		if (pages < 0)
			return (int)pages;
		spent_us += (worker_now_us() - spent_us) / 2; /* a page is seen somewhere within the scan */
		m->curve[i].s = (double)(spent_us - began_us) / 1e6;
		m->curve[i].bytes = (uint64_t)pages * m->blocks[0].page_bytes;
		m->n_curve++;
		if (i == 0)
			rc = rewrites_begin(t, m->blocks, m->n_blocks, rewrites, e);
	}
	if (rc == 0)
		m->delta_share = rewrites_share(*rewrites);
	return rc;
}

static int measure_writes(struct measure *m, struct err *e)
{
	struct rewrites *rewrites = NULL;
	struct tracker t;
	int rc;

	if (m->conf.was_paused)
		return 0;
	rc = tracker_open(m->conf.pid, m->blocks, m->n_blocks, &t, e);
	if (rc)
		return rc;
	rc = look(m, &t, &rewrites, e);
	rewrites_free(rewrites);
	t.ops->close(&t);
	return rc;
}

/* ---- the link -------------------------------------------------------------------------------------------- */

static void set_session(struct measure *m, struct session *s)
{
	pthread_mutex_lock(&m->lock);
	m->session = s;
	pthread_mutex_unlock(&m->lock);
}

static int tls_open(struct measure *m, struct err *e)
{
	struct tls_conf tls = {
		.certificate = m->conf.certificate, .key = m->conf.key, .trust = m->conf.trust, .fips = m->conf.fips};

	return tls_ctx_new(&tls, &m->tls, e);
}

static struct session_conf session_conf(struct measure *m)
{
	struct session_conf c = {.tls = m->tls,
		.peer = m->conf.peer,
		.address = m->conf.address,
		.port = m->conf.port,
		.port_first = m->conf.port_first,
		.port_last = m->conf.port_last,
		.limits = &m->limits,
		.cancel_fd = m->loop.wake_fd};

	memcpy(c.token, m->conf.token, sizeof(c.token));
	return c;
}

static unsigned n_channels(const struct measure *m)
{
	return m->conf.n_channels ? m->conf.n_channels : 2;
}

static int measure_link(struct measure *m, struct err *e)
{
	struct session_conf c;
	struct session *s = NULL;
	int rc = tls_open(m, e);

	if (rc)
		return rc;
	c = session_conf(m);
	rc = session_connect(&c, &s, e);
	if (rc)
		return rc;
	set_session(m, s);
	rc = session_connect_data(s, n_channels(m), e);
	if (rc == 0)
		rc = cancelled(m, e);
	if (rc == 0)
		rc = probe_send(s, &m->link, e);
	m->has_link = rc == 0;
	set_session(m, NULL);
	session_free(s);
	return rc;
}

/* ---- the programs ---------------------------------------------------------------------------------------- */

static void say_measured(const struct measure *m, const struct err *link_err)
{
	const struct sample *s = &m->sample;
	json_t *curve = json_array(), *j;

	for (unsigned i = 0; i < m->n_curve; i++)
		json_array_append_new(curve, json_pack("[f, I]", m->curve[i].s * 1000, (json_int_t)m->curve[i].bytes));
	j = json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "event", "measure", "ram_bytes",
		(json_int_t)s->ram_bytes, "hole_bytes", (json_int_t)s->hole_bytes, "data_bytes",
		(json_int_t)s->data_bytes, "pages_read", (json_int_t)s->pages_read, "zero_share", s->zero_share,
		"ratio", s->ratio, "pack_bps", s->pack_bps, "zstd_ratio", s->zstd_ratio, "zstd_bps", s->zstd_bps,
		"delta_share", m->delta_share, "written", curve);
	if (m->has_link)
		json_object_set_new(j, "link",
			json_pack("{s:f, s:f, s:I, s:f, s:i}", "bps", m->link.bps, "octet_ns", m->link.octet_ns,
				"bytes", (json_int_t)m->link.bytes, "s", m->link.s, "channels", (int)n_channels(m)));
	else if (link_err->code)
		json_object_set_new(j, "link_error", json_string(err_msg(link_err)));
	boss_send(m->boss, j);
}

static void say_done(struct measure *m, int rc, const struct err *e)
{
	boss_send(m->boss,
		json_pack("{s:s, s:b, s:s, s:s, s:b, s:{}}", "event", "done", "ok", rc == 0, "outcome", "stayed",
			"error", rc ? err_msg(e) : "", "cancelled", rc == -ECANCELED, "stats"));
}

static int run_measure(struct measure *m, struct err *e)
{
	struct err link_err = {0};
	int rc = ram_find(m->conf.pid, m->conf.ram_dir, m->conf.uuid, m->blocks, &m->n_blocks, e);

	if (rc == 0)
		rc = lock_domain(m, e);
	if (rc == 0)
		rc = sample_ram(m->blocks, m->n_blocks, &m->stop, &m->sample, e);
	if (rc == 0)
		rc = measure_writes(m, e);
	if (rc == 0)
		rc = cancelled(m, e);
	if (rc)
		return rc;
	if (m->conf.port) /* a link that cannot be probed takes nothing from what was seen of the guest */
		measure_link(m, &link_err);
	say_measured(m, &link_err);
	return 0;
}

static int run_sink(struct measure *m, struct err *e)
{
	struct session_conf c;
	struct session *s = NULL;
	uint16_t port = 0;
	int rc = tls_open(m, e);

	if (rc)
		return rc;
	c = session_conf(m);
	rc = session_listen(&c, &s, &port, e);
	if (rc)
		return rc;
	set_session(m, s);
	boss_send(m->boss, json_pack("{s:s, s:i}", "event", "listening", "port", (int)port));
	rc = session_accept(s, SINK_WAIT_MS, e);
	if (rc == 0)
		rc = session_accept_data(s, n_channels(m), SINK_WAIT_MS, e);
	if (rc == 0)
		rc = cancelled(m, e);
	if (rc == 0)
		rc = probe_sink(s, e);
	if (rc == 0) /* who closes over answers that are not read yet takes them back */
		session_linger(s, SINK_WAIT_MS);
	set_session(m, NULL);
	session_free(s);
	return rc;
}

static int measure_init(struct measure *m, int fd, enum worker_verb verb, struct err *e)
{
	json_t *line = NULL;
	sigset_t set;
	int rc;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	m->lock_fd = -1;
	m->loop.wake_fd = -1;
	pthread_mutex_init(&m->lock, NULL);
	rc = boss_new(fd, &m->boss, e);
	if (rc == 0)
		rc = boss_first_line(m->boss, &line, e);
	if (rc == 0)
		rc = worker_conf_parse(line, verb, &m->conf, e);
	if (rc == 0)
		rc = loop_init(&m->loop, e);
	if (rc == 0)
		rc = boss_start(m->boss, -1, &boss_handlers, m, e);
	json_decref(line);
	return rc;
}

static int program(int fd, enum worker_verb verb, int (*run)(struct measure *m, struct err *e))
{
	struct measure *m = calloc(1, sizeof(*m));
	struct err e = {0};
	int rc;

	if (!m)
		return EXIT_FAILURE;
	rc = measure_init(m, fd, verb, &e);
	if (rc == 0)
		rc = run(m, &e);
	if (m->boss)
		say_done(m, rc, &e);
	boss_free(m->boss); /* its thread ends before what it points to */
	tls_ctx_free(m->tls);
	loop_fini(&m->loop);
	if (m->lock_fd >= 0)
		close(m->lock_fd);
	pthread_mutex_destroy(&m->lock);
	free(m);
	return EXIT_SUCCESS;
}

int measure_main(int fd)
{
	return program(fd, WORKER_MEASURE, run_measure);
}

int sink_main(int fd)
{
	return program(fd, WORKER_SINK, run_sink);
}
