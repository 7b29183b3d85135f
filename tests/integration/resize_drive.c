/* Drives resize/ and policyd/watch on a running QEMU, for tests without policyd: one job, one line of JSON, exit 0.
 *
 *   resize_drive QMP vcpu N TIMEOUT_MS
 *   resize_drive QMP memory WANTED_MIB MIN_MIB MAX_MIB [CANCEL_AT_MIB [BOOT_MIB]]    (0 = no cancel; BOOT_MIB below MAX_MIB: virtio-mem above it)
 *   resize_drive QMP watch PID RAM_FILE SECONDS */
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policyd/watch/watch_domain.h"
#include "resize/balloon.h"
#include "resize/vcpu.h"

struct drive {
	struct event_base *base;
	struct qmp *q;
	struct vcpu_job *vcpu;
	struct balloon_job *balloon;
	struct watch_domain *watch;
	struct event *tick;
	uint64_t cancel_at;
	int64_t until_ms;
};

static int64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* @j is stolen */
static void end(struct drive *d, json_t *j, const struct err *e)
{
	json_object_set_new(j, "code", json_integer(e ? e->code : 0));
	json_object_set_new(j, "error", json_string(e ? e->msg : ""));
	json_dumpf(j, stdout, 0);
	putchar('\n');
	json_decref(j);
	event_base_loopbreak(d->base);
}

static void on_vcpu_done(void *arg, const struct vcpu_result *r, const struct err *e)
{
	struct drive *d = arg;

	d->vcpu = NULL;
	end(d,
		json_pack("{s:i, s:i, s:i, s:i}", "before", r->before, "after", r->after, "refused", r->refused,
			"elapsed_ms", r->elapsed_ms),
		e);
}

static void on_balloon_done(void *arg, const struct balloon_result *r, const struct err *e)
{
	struct drive *d = arg;

	d->balloon = NULL;
	end(d,
		json_pack("{s:f, s:f, s:f, s:b, s:i}", "before_mib", (double)r->before / 1048576, "after_mib",
			(double)r->after / 1048576, "vmem_mib", (double)r->vmem_after / 1048576, "backed_off",
			r->backed_off, "elapsed_ms", r->elapsed_ms),
		e);
}

static void on_balloon_progress(void *arg, uint64_t now_bytes, uint64_t wanted_bytes)
{
	struct drive *d = arg;

	fprintf(stderr, "%" PRIu64 "M of %" PRIu64 "M\n", now_bytes >> 20, wanted_bytes >> 20);
	if (d->cancel_at && now_bytes <= d->cancel_at)
		balloon_cancel(d->balloon);
}

static void watch_end(struct drive *d)
{
	struct watch_bounds b = {.util_upper = 80, .util_lower = 30, .free_lower = 15, .window = 5};
	struct snap_domain s = {0};

	watch_domain_fill(d->watch, &b, mono_ms(), &s);
	end(d,
		json_pack("{s:i, s:f, s:f, s:f, s:f, s:i, s:i, s:b, s:f, s:f, s:f, s:i, s:f}", "vcpus", s.vcpus,
			"mem_mib", (double)s.mem_bytes / 1048576, "resident_mib", (double)s.resident_bytes / 1048576,
			"util_fast", s.util_fast, "util_slow", s.util_slow, "over_upper", s.over_upper, "under_lower",
			s.under_lower, "mem_known", s.mem_known, "available_mib", (double)s.mem_available / 1048576,
			"swap_in_bps", s.swap_in_bps, "major_faults_ps", s.major_faults_ps, "mem_short", s.mem_short,
			"delay", watch_domain_delay(d->watch)),
		NULL);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct drive *d = arg;

	(void)fd;
	(void)what;
	if (watch_domain_sample(d->watch, mono_ms()) || mono_ms() >= d->until_ms)
		watch_end(d);
}

static void on_event(void *arg, const char *event, const json_t *data)
{
	struct drive *d = arg;

	if (getenv("RESIZE_DRIVE_EVENTS")) {
		char *text = json_dumps(data, 0);

		fprintf(stderr, "%s %s\n", event, text ? text : "");
		free(text);
	}
	vcpu_on_event(d->vcpu, event, data);
}

static int start_watch(struct drive *d, char **argv)
{
	struct watch_domain_conf conf = {.pid = atoi(argv[3]), .ram_file = argv[4]};
	struct timeval second = {.tv_sec = 1};

	d->until_ms = mono_ms() + 1000 * atoi(argv[5]);
	d->watch = watch_domain_new(d->q, &conf);
	d->tick = event_new(d->base, -1, EV_PERSIST, on_tick, d);
	return d->watch && d->tick ? event_add(d->tick, &second) : -1;
}

static int start(struct drive *d, int argc, char **argv)
{
	struct balloon_limits l = {.rules = shrink_rules_default};

	if (argc == 5 && !strcmp(argv[2], "vcpu")) {
		d->vcpu = vcpu_set(
			d->base, d->q, (unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]), NULL, on_vcpu_done, d);
		return d->vcpu ? 0 : -1;
	}
	if (argc >= 6 && !strcmp(argv[2], "memory")) {
		l.min_bytes = strtoull(argv[4], NULL, 10) << 20;
		l.max_bytes = strtoull(argv[5], NULL, 10) << 20;
		d->cancel_at = argc > 6 ? strtoull(argv[6], NULL, 10) << 20 : 0;
		l.boot_bytes = argc > 7 ? strtoull(argv[7], NULL, 10) << 20 : 0;
		d->balloon = balloon_set(
			d->base, d->q, strtoull(argv[3], NULL, 10) << 20, &l, on_balloon_progress, on_balloon_done, d);
		return d->balloon ? 0 : -1;
	}
	if (argc == 6 && !strcmp(argv[2], "watch"))
		return start_watch(d, argv);
	fprintf(stderr, "usage: see the head of resize_drive.c\n");
	return -1;
}

int main(int argc, char **argv)
{
	static const struct qmp_handlers handlers = {.on_event = on_event};
	struct drive d = {.base = event_base_new()};
	struct err e = {0};
	int rc = 2;

	if (argc < 4 || !d.base)
		return 2;
	d.q = qmp_new(d.base, argv[1], false, &handlers, &d);
	if (!d.q || qmp_wait_ready(d.q, 30000, &e))
		fprintf(stderr, "resize_drive: %s\n", e.msg);
	else if (!start(&d, argc, argv))
		rc = event_base_dispatch(d.base) ? 1 : 0;
	watch_domain_free(d.watch);
	if (d.tick)
		event_free(d.tick);
	qmp_free(d.q);
	event_base_free(d.base);
	return rc;
}
