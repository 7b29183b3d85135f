/* launch.json (and launch.next.json): what must be known of a running QEMU to take it over again. Written whole and renamed into place, on tmpfs, without
 * fsync: after a crash of the host no QEMU is left either. Called by the files of launch_*.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "domain/launch_priv.h"

#define RECORD_MAX (256u << 10)

/* A policyd from before same-host moves would take a QEMU of a later generation for dead, and remove its memory: so it does not understand the record. */
static int record_format(const struct launched *l)
{
	return l->generation || l->replaced || l->resume ? 2 : 1;
}

static json_t *record_to_json(const struct launched *l)
{
	return json_pack(
		"{s:i, s:o, s:I, s:I, s:i, s:b, s:b, s:i, s:I, s:i, s:b, s:I, s:{s:I, s:I, s:I, s:f}, s:b, s:s, s:i, s:I, s:I, s:b}",
		"format", record_format(l), "spec", spec_to_json(&l->spec), "pid", (json_int_t)l->pid, "start_time",
		(json_int_t)l->start_time, "console_port", (int)l->console_port, "incoming", (int)l->incoming,
		"vcpu_removed", (int)l->vcpu_removed, "unplug_refusals", (int)l->unplug_refusals,
		"unplug_frozen_until_ms", (json_int_t)l->unplug_frozen_until_ms, "cpu_cap", (int)l->cpu_cap,
		"cpu_cap_by_policy", (int)l->cpu_cap_by_policy, "shrink_frozen_until_ms",
		(json_int_t)l->shrink_frozen_until_ms, "guard", "until_ms", (json_int_t)l->guard.until_ms,
		"before_bytes", (json_int_t)l->guard.before_bytes, "step_bytes", (json_int_t)l->guard.step_bytes,
		"faults_before_ps", l->guard.faults_before_ps, "guest_agent", (int)l->guest_agent, "machine",
		l->machine, "generation", (int)l->generation, "replaced", (json_int_t)l->replaced, "replaced_start",
		(json_int_t)l->replaced_start, "resume", (int)l->resume);
}

static int write_file(const char *path, const char *text)
{
	size_t n = strlen(text);
	int r = 0, fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	if (write(fd, text, n) != (ssize_t)n)
		r = errno ? -errno : -ENOSPC;
	if (close(fd) < 0 && !r)
		r = -errno;
	return r;
}

int launch_record_write(const struct host_services *s, const struct launched *l, const char *leaf, struct err *e)
{
	char path[SPEC_PATH_MAX], tmp[SPEC_PATH_MAX], fresh[64], *text;
	json_t *j;
	int r;

	snprintf(fresh, sizeof(fresh), "%s.new", leaf);
	r = rundir_path(s, l->spec.name, leaf, path, e);
	if (!r)
		r = rundir_path(s, l->spec.name, fresh, tmp, e);
	if (r < 0)
		return r;
	j = record_to_json(l);
	text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
	json_decref(j);
	errno = 0;
	r = text ? write_file(tmp, text) : -ENOMEM;
	free(text);
	if (!r && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(tmp);
		return err_set(e, -r, "cannot write %s: %s", path, strerror(-r));
	}
	return 0;
}

static int record_from_json(const json_t *j, struct launched *out, struct err *e)
{
	struct launched l = {0};
	int r, format = 0, console_port, incoming, vcpu_removed = 0, refusals = 0, cpu_cap = 0, by_policy = 0,
	       guest_agent = 0, generation = 0, resume = 0;
	json_int_t replaced = 0, replaced_start = 0, pid, start, frozen_until_ms = 0, shrink_frozen_until_ms = 0,
		   until_ms = 0, before = 0, step = 0;
	double faults = -1;
	const char *machine;
	json_error_t je;
	json_t *spec;

	if (json_unpack_ex((json_t *)j, &je, 0,
		    "{s:i, s:o, s:I, s:I, s:i, s:b, s?b, s?i, s?I, s?i, s?b, s?I, s?{s:I, s:I, s:I, s:F}, s?b, s:s, s?i, s?I, s?I, s?b}",
		    "format", &format, "spec", &spec, "pid", &pid, "start_time", &start, "console_port", &console_port,
		    "incoming", &incoming, "vcpu_removed", &vcpu_removed, "unplug_refusals", &refusals,
		    "unplug_frozen_until_ms", &frozen_until_ms, "cpu_cap", &cpu_cap, "cpu_cap_by_policy", &by_policy,
		    "shrink_frozen_until_ms", &shrink_frozen_until_ms, "guard", "until_ms", &until_ms, "before_bytes",
		    &before, "step_bytes", &step, "faults_before_ps", &faults, "guest_agent", &guest_agent, "machine",
		    &machine, "generation", &generation, "replaced", &replaced, "replaced_start", &replaced_start,
		    "resume", &resume))
		return err_set(e, EBADMSG, "%s", je.text);
	if (format != 1 && format != 2)
		return err_set(e, EBADMSG, "format %d is not known; a newer policyd wrote it", format);
	if (pid < 0 || pid > INT32_MAX || replaced < 0 || replaced > INT32_MAX || generation < 0 || before < 0 ||
		step < 0 || console_port < 0 || console_port > UINT16_MAX || strlen(machine) >= sizeof(l.machine))
		return err_set(e, EBADMSG, "a value is out of range");
	r = spec_from_json(spec, &l.spec, e);
	if (r < 0) {
		err_wrap(e, "spec");
		return -EBADMSG;
	}
	l.pid = (pid_t)pid;
	l.start_time = (uint64_t)start;
	l.console_port = (uint16_t)console_port;
	l.incoming = incoming;
	l.vcpu_removed = vcpu_removed;
	l.unplug_refusals = refusals > 0 ? (unsigned)refusals : 0;
	l.unplug_frozen_until_ms = frozen_until_ms;
	l.cpu_cap = cpu_cap > 0 ? (unsigned)cpu_cap : 0;
	l.cpu_cap_by_policy = by_policy;
	l.guest_agent = guest_agent;
	l.shrink_frozen_until_ms = shrink_frozen_until_ms;
	l.guard = (struct mem_guard){.until_ms = until_ms,
		.before_bytes = (uint64_t)before,
		.step_bytes = (uint64_t)step,
		.faults_before_ps = faults};
	memcpy(l.machine, machine, strlen(machine) + 1);
	l.generation = (unsigned)generation;
	l.replaced = (pid_t)replaced;
	l.replaced_start = (uint64_t)replaced_start;
	l.resume = resume;
	*out = l;
	return 0;
}

int launch_record_read(
	const struct host_services *s, const char *name, const char *leaf, struct launched *out, struct err *e)
{
	char path[SPEC_PATH_MAX], *text = NULL;
	json_error_t je;
	json_t *j = NULL;
	ssize_t n = -1;
	int r, fd;

	r = rundir_path(s, name, leaf, path, e);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(e, errno, "%s: %s", path, strerror(errno));
	text = malloc(RECORD_MAX);
	if (text)
		n = read(fd, text, RECORD_MAX); /* a regular file on tmpfs: whole or not at all */
	close(fd);
	if (n >= 0)
		j = json_loadb(text, (size_t)n, 0, &je);
	free(text);
	if (n < 0)
		return err_set(e, EIO, "%s: cannot be read", path);
	r = j ? record_from_json(j, out, e) : err_set(e, EBADMSG, "%s", je.text);
	if (!r && strcmp(out->spec.name, name))
		r = err_set(e, EBADMSG, "it is about \"%s\"", out->spec.name);
	json_decref(j);
	if (r < 0)
		err_wrap(e, "%s", path);
	return r;
}
