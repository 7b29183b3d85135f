/* Watching one domain: see watch_domain.h. Loop thread only.
 *
 * Each sample reads the schedstat of the vCPU threads that are known and puts three questions to QMP, one of each kind at a time;
 * the answers fill the caches that the next sample and fill use. An answer may come after the owner let go: the
 * object is counted by its outstanding questions and goes with the last. */
#include "policyd/watch/watch_domain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "domain/ram.h"
#include "policyd/watch/procfs.h"
#include "resize/balloon.h"
#include "resize/stats.h"
#include "resize/vmem.h"

#define P95_LEAST 120 /* samples: what is known of less is its boot */
#define THREADS_MAX 512
#define REPOLL_MS 5000 /* ask for statistics again when none came for so long */
#define QMP_TIMEOUT_MS 10000

struct vcpu_thread {
	pid_t tid;
	bool based; /* @last is there */
	struct schedstat last;
};

enum question { ASK_CPUS, ASK_DEVICES, ASK_BALLOON, ASK_STATS, QUESTIONS };

struct watch_domain {
	struct qmp *q;
	pid_t pid;
	char ram_file[SPEC_PATH_MAX], vmem_file[SPEC_PATH_MAX], cap_group[SPEC_PATH_MAX];
	uint64_t throttled_ns; /* in that group so far; UINT64_MAX = not known */
	char root[256];
	unsigned poll_s;
	void (*on_stats)(void *arg);
	void *arg;
	bool freed;
	bool asked[QUESTIONS];

	struct vcpu_thread *threads;
	unsigned n_threads;
	int64_t last_ms; /* of the last sample; 0 = none */
	struct ewma fast, slow;
	struct series util, mem;
	double delay; /* percent, last sample */

	uint64_t mem_bytes;  /* balloon's and plugged; 0 = unknown */
	uint64_t vmem_bytes; /* plugged */
	struct stats_track stats;
	int64_t poll_set_ms; /* 0 = never */
};

static void ask_all(struct watch_domain *w);

/* ---- life ------------------------------------------------------------------------------------------------ */

struct watch_domain *watch_domain_new(struct qmp *q, const struct watch_domain_conf *conf)
{
	struct watch_domain *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->q = q;
	w->pid = conf->pid;
	snprintf(w->ram_file, sizeof(w->ram_file), "%s", conf->ram_file ? conf->ram_file : "");
	snprintf(w->vmem_file, sizeof(w->vmem_file), "%s", conf->vmem_file ? conf->vmem_file : "");
	snprintf(w->cap_group, sizeof(w->cap_group), "%s", conf->cap_group ? conf->cap_group : "");
	w->throttled_ns = UINT64_MAX;
	snprintf(w->root, sizeof(w->root), "%s", conf->proc_root ? conf->proc_root : "/proc");
	w->poll_s = conf->poll_stats_s ? conf->poll_stats_s : 1;
	w->on_stats = conf->on_stats;
	w->arg = conf->arg;
	w->delay = -1;
	ewma_init(&w->fast, 5000);
	ewma_init(&w->slow, 60000);
	stats_track_init(&w->stats);
	if (q)
		ask_all(w);
	return w;
}

static void reap(struct watch_domain *w)
{
	for (unsigned i = 0; i < QUESTIONS; i++)
		if (w->asked[i])
			return;
	free(w->threads);
	free(w);
}

void watch_domain_free(struct watch_domain *w)
{
	if (!w)
		return;
	w->freed = true;
	w->q = NULL;
	reap(w);
}

/* ---- QMP: which threads, how much memory, what the guest says ------------------------------------------------ */

static int64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct vcpu_thread thread_named(const struct watch_domain *w, pid_t tid)
{
	for (unsigned i = 0; i < w->n_threads; i++)
		if (w->threads[i].tid == tid)
			return w->threads[i];
	return (struct vcpu_thread){.tid = tid};
}

/* The new set of threads; those that stay keep their base. */
static void take_cpus(struct watch_domain *w, const json_t *ret)
{
	size_t n = json_array_size(ret), i, n_new = 0;
	struct vcpu_thread *threads;
	const json_t *cpu;

	if (!json_is_array(ret) || n > THREADS_MAX)
		return;
	threads = calloc(n ? n : 1, sizeof(*threads));
	if (!threads)
		return;
	json_array_foreach(ret, i, cpu) {
		pid_t tid = (pid_t)json_integer_value(json_object_get(cpu, "thread-id"));

		if (tid > 0)
			threads[n_new++] = thread_named(w, tid);
	}
	free(w->threads);
	w->threads = threads;
	w->n_threads = (unsigned)n_new;
}

static void take_balloon(struct watch_domain *w, const json_t *ret)
{
	const json_t *actual = json_object_get(ret, "actual");

	if (json_is_integer(actual) && json_integer_value(actual) > 0)
		w->mem_bytes = (uint64_t)json_integer_value(actual) + w->vmem_bytes;
}

static void take_devices(struct watch_domain *w, const json_t *ret)
{
	struct vmem v;

	vmem_parse(ret, &v);
	w->vmem_bytes = v.plugged;
}

static void take_stats(struct watch_domain *w, const json_t *ret)
{
	struct guest_mem_stats s;

	if (!balloon_stats_parse(ret, &s) && stats_track_add(&w->stats, &s, mono_ms()) && w->on_stats)
		w->on_stats(w->arg);
}

static const struct {
	const char *cmd;
	void (*take)(struct watch_domain *w, const json_t *ret);
} questions[QUESTIONS] = {
	[ASK_CPUS] = {"query-cpus-fast", take_cpus},
	[ASK_DEVICES] = {"query-memory-devices", take_devices},
	[ASK_BALLOON] = {"query-balloon", take_balloon},
	[ASK_STATS] = {"qom-get", take_stats},
};

static void on_qmp_answer(struct watch_domain *w, enum question k, const json_t *ret, const struct err *e)
{
	w->asked[k] = false;
	if (w->freed)
		reap(w);
	else if (!e->code)
		questions[k].take(w, ret);
}

static void on_qmp_cpus(void *arg, const json_t *ret, const struct err *e)
{
	on_qmp_answer(arg, ASK_CPUS, ret, e);
}

static void on_qmp_devices(void *arg, const json_t *ret, const struct err *e)
{
	on_qmp_answer(arg, ASK_DEVICES, ret, e);
}

static void on_qmp_balloon(void *arg, const json_t *ret, const struct err *e)
{
	on_qmp_answer(arg, ASK_BALLOON, ret, e);
}

static void on_qmp_stats(void *arg, const json_t *ret, const struct err *e)
{
	on_qmp_answer(arg, ASK_STATS, ret, e);
}

static void ask(struct watch_domain *w, enum question k, json_t *args, qmp_done_fn *done)
{
	if (w->asked[k]) {
		json_decref(args);
		return;
	}
	w->asked[k] = true;
	if (qmp_command(w->q, questions[k].cmd, args, QMP_TIMEOUT_MS, done, w))
		w->asked[k] = false;
}

static void ask_all(struct watch_domain *w)
{
	if (!qmp_ready(w->q))
		return;
	ask(w, ASK_CPUS, NULL, on_qmp_cpus);
	if (w->vmem_file[0])
		ask(w, ASK_DEVICES, NULL, on_qmp_devices); /* before the balloon: answers come in order */
	ask(w, ASK_BALLOON, NULL, on_qmp_balloon);
	ask(w, ASK_STATS, json_pack("{s:s, s:s}", "path", BALLOON_QOM_PATH, "property", "guest-stats"), on_qmp_stats);
}

/* QEMU forgets the interval in a migration: set it whenever no statistics come. */
static void keep_polling(struct watch_domain *w, int64_t now_ms)
{
	bool fresh = stats_track_age_ms(&w->stats, now_ms) < REPOLL_MS;

	if (!qmp_ready(w->q) || fresh || (w->poll_set_ms && now_ms - w->poll_set_ms < REPOLL_MS))
		return;
	if (!balloon_poll_stats(w->q, w->poll_s))
		w->poll_set_ms = now_ms;
}

void watch_domain_changed(struct watch_domain *w)
{
	w->poll_set_ms = 0;
	if (!w->q)
		return;
	keep_polling(w, mono_ms());
	ask_all(w);
}

/* ---- samples --------------------------------------------------------------------------------------------- */

static void util_gap(struct watch_domain *w, int64_t now_ms)
{
	series_gap(&w->util, now_ms);
	w->delay = -1;
}

/* Read one thread; its growth since the last sample is added to @grown. 1: it counts; 0: first sight; -errno: it is gone. */
static int sample_thread(struct watch_domain *w, struct vcpu_thread *t, struct schedstat *grown)
{
	char text[128];
	struct schedstat s;
	ssize_t n = procfs_read(text, sizeof(text), w->root, "%d/task/%d/schedstat", (int)w->pid, (int)t->tid);
	int rc = n < 0 ? (int)n : schedstat_parse(text, &s);
	bool grows = !rc && t->based && s.run_ns >= t->last.run_ns && s.delay_ns >= t->last.delay_ns;

	if (rc)
		return rc;
	if (grows) {
		grown->run_ns += s.run_ns - t->last.run_ns;
		grown->delay_ns += s.delay_ns - t->last.delay_ns;
	}
	t->last = s;
	t->based = true;
	return grows;
}

/* How many threads counted; those that are gone are dropped. */
static unsigned sample_threads(struct watch_domain *w, struct schedstat *grown)
{
	unsigned counted = 0, kept = 0;

	for (unsigned i = 0; i < w->n_threads; i++) {
		int rc = sample_thread(w, &w->threads[i], grown);

		counted += rc > 0;
		if (rc >= 0)
			w->threads[kept++] = w->threads[i];
	}
	w->n_threads = kept;
	return counted;
}

/* For how long a cap held its threads back since the last sample, all of them together; 0 = it is not capped. */
static uint64_t sample_throttled(struct watch_domain *w)
{
	uint64_t before = w->throttled_ns, now = UINT64_MAX;
	char text[1024];

	if (w->cap_group[0] && procfs_read(text, sizeof(text), w->cap_group, "cpu.stat") > 0)
		now = throttled_parse(text);
	w->throttled_ns = now;
	return before != UINT64_MAX && now != UINT64_MAX && now > before ? now - before : 0;
}

static void sample_util(struct watch_domain *w, int64_t now_ms)
{
	struct schedstat grown = {0};
	uint64_t throttled_ns = sample_throttled(w);
	unsigned counted = sample_threads(w, &grown);
	int64_t span_ms = w->last_ms ? now_ms - w->last_ms : 0;
	double whole_ns = (double)span_ms * 1e6 * counted, util;

	if (!counted || span_ms <= 0 || span_ms > SERIES_GAP_MS) {
		if (w->last_ms)
			util_gap(w, now_ms);
		if (span_ms > SERIES_GAP_MS) {
			ewma_reset(&w->fast);
			ewma_reset(&w->slow);
		}
		return;
	}
	if (grown.delay_ns < throttled_ns)
		grown.delay_ns = throttled_ns;
	util = 100.0 * (double)(grown.run_ns + grown.delay_ns) / whole_ns;
	if (throttled_ns && util > 100)
		util = 100; /* QEMU's other threads were held back too */
	w->delay = 100.0 * (double)grown.delay_ns / whole_ns;
	series_add(&w->util, now_ms, (uint32_t)span_ms, util);
	ewma_add(&w->fast, util, (double)span_ms);
	ewma_add(&w->slow, util, (double)span_ms);
}

static unsigned stale_ms(const struct watch_domain *w)
{
	return w->poll_s * 3000 + 2000;
}

static bool mem_fresh(const struct watch_domain *w, int64_t now_ms)
{
	return stats_track_age_ms(&w->stats, now_ms) <= stale_ms(w) && w->stats.last.available != UINT64_MAX;
}

static void sample_mem(struct watch_domain *w, int64_t now_ms)
{
	const struct guest_mem_stats *s = &w->stats.last;
	uint64_t total = w->mem_bytes ? w->mem_bytes : s->total;
	int64_t span_ms = w->last_ms ? now_ms - w->last_ms : 0;

	if (span_ms <= 0)
		return;
	/* Of what it was given, as the rules measure it (decide/rules.c): a small guest's kernel counts a fifth less than that, and with deflate-on-oom what
	 * its balloon holds as its own. */
	if (total == UINT64_MAX)
		total = 0;
	if (!mem_fresh(w, now_ms) || !total || span_ms > SERIES_GAP_MS)
		series_gap(&w->mem, now_ms);
	else
		series_add(&w->mem, now_ms, (uint32_t)span_ms, 100.0 * (double)s->available / (double)total);
}

static bool process_there(const struct watch_domain *w)
{
	char text[16];

	return procfs_read(text, sizeof(text), w->root, "%d/stat", (int)w->pid) > 0;
}

int watch_domain_sample(struct watch_domain *w, int64_t now_ms)
{
	bool there = process_there(w);

	if (there) {
		sample_util(w, now_ms);
		sample_mem(w, now_ms);
	} else {
		util_gap(w, now_ms);
		series_gap(&w->mem, now_ms);
	}
	w->last_ms = now_ms;
	if (w->q) {
		keep_polling(w, now_ms);
		ask_all(w);
	}
	return there ? 0 : -ESRCH;
}

/* ---- answers --------------------------------------------------------------------------------------------- */

static void fill_mem(const struct watch_domain *w, int64_t now_ms, struct snap_domain *out)
{
	const struct guest_mem_stats *s = &w->stats.last;

	out->mem_known = mem_fresh(w, now_ms);
	out->mem_available = out->mem_known ? s->available : 0;
	out->mem_free = out->mem_known && s->free != UINT64_MAX ? s->free : 0;
	out->swap_in_bps = out->mem_known ? w->stats.swap_in_bps : -1;
	out->major_faults_ps = out->mem_known ? w->stats.major_faults_ps : -1;
	if (w->mem_bytes)
		out->mem_bytes = w->mem_bytes;
	if (w->ram_file[0])
		out->resident_bytes =
			ram_resident_bytes(w->ram_file) + (w->vmem_file[0] ? ram_resident_bytes(w->vmem_file) : 0);
}

void watch_domain_fill(
	const struct watch_domain *w, const struct watch_bounds *b, int64_t now_ms, struct snap_domain *out)
{
	if (w->n_threads)
		out->vcpus = w->n_threads;
	out->util_fast = ewma_get(&w->fast);
	out->util_slow = ewma_get(&w->slow);
	if (!series_percentile(&w->util, 95, P95_LEAST, &out->util_p95))
		out->util_p95 = -1;
	out->over_upper = series_above(&w->util, b->window, b->cpu_every_ms, b->util_upper);
	out->under_lower = series_below(&w->util, b->window, b->cpu_every_ms, b->util_lower);
	out->dirty_bps = -1;
	fill_mem(w, now_ms, out);
	out->mem_short = series_below(&w->mem, b->window, b->mem_every_ms, b->free_lower);
}

void watch_domain_health(const struct watch_domain *w, int64_t now_ms, struct shrink_view *out)
{
	out->stats_known = w->stats.known;
	out->stats_age_ms = stats_track_age_ms(&w->stats, now_ms);
	out->stale_ms = stale_ms(w);
	out->available_bytes = w->stats.known ? w->stats.last.available : UINT64_MAX;
	out->free_bytes = w->stats.known ? w->stats.last.free : UINT64_MAX;
	out->swap_in_bps = w->stats.swap_in_bps;
	out->major_faults_ps = w->stats.major_faults_ps;
}

const struct series *watch_domain_util(const struct watch_domain *w)
{
	return &w->util;
}

const struct series *watch_domain_mem(const struct watch_domain *w)
{
	return &w->mem;
}

double watch_domain_delay(const struct watch_domain *w)
{
	return w->delay;
}
