/* Starting QEMU: folder, RAM files, taps, record, process; undone in reverse when a step fails. Called by policyd (and by tests) on its loop
 * thread. QEMU is our child only until we die; nothing of it depends on us. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain/launch_priv.h"
#include "domain/ram.h"

/* Makes @path and what is missing above it, for us alone. */
static int make_folders(const char *path, struct err *e)
{
	char part[SPEC_PATH_MAX];
	char *p;

	snprintf(part, sizeof(part), "%s", path);
	for (p = part + 1;; p++) {
		char c = *p;

		if (c && c != '/')
			continue;
		*p = 0;
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return err_set(e, errno, "cannot make folder %s: %s", part, strerror(errno));
		if (!c)
			return 0;
		*p = c;
	}
}

/* Exclusive: a RAM file that is there already may be another QEMU's memory. */
static int make_ram_file(const char *path, uint64_t bytes, struct err *e)
{
	int r = 0, fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EEXIST)
		return err_set(e, EEXIST,
			"RAM file %s is there already: another QEMU may be using it; remove it if none is (fuser %s)",
			path, path);
	if (fd < 0)
		return err_set(e, errno, "cannot make RAM file %s: %s", path, strerror(errno));
	if (ftruncate(fd, (off_t)bytes) < 0) {
		r = err_set(e, errno, "RAM file %s: %s", path, strerror(errno));
		unlink(path);
	}
	close(fd);
	return r;
}

static int make_ram(const struct launch_conf *conf, struct err *e)
{
	const struct domain_spec *s = conf->spec;
	char ram[SPEC_PATH_MAX], vmem[SPEC_PATH_MAX];
	int r;

	r = make_folders(conf->services->paths.ram, e);
	if (!r)
		r = spec_check_pages(s, ram_page_bytes(conf->services->paths.ram), e);
	if (!r)
		r = ram_path(conf->services, s, ram, e);
	if (!r)
		r = vmem_path(conf->services, s, vmem, e);
	if (!r)
		r = make_ram_file(ram, s->mem_boot, e);
	if (r < 0 || !spec_vmem_bytes(s))
		return r;
	r = make_ram_file(vmem, spec_vmem_bytes(s), e);
	if (r < 0)
		unlink(ram);
	return r;
}

static void remove_ram(const struct launch_conf *conf)
{
	char path[SPEC_PATH_MAX];

	if (!ram_path(conf->services, conf->spec, path, NULL))
		unlink(path);
	if (spec_vmem_bytes(conf->spec) && !vmem_path(conf->services, conf->spec, path, NULL))
		unlink(path);
}

static void close_taps(const int *taps)
{
	unsigned i;

	for (i = 0; i < SPEC_NETS_MAX; i++)
		if (taps[i] >= 0)
			close(taps[i]);
}

static int open_taps(const struct launch_conf *conf, int *taps, struct err *e)
{
	unsigned i;
	int fd;

	for (i = 0; i < conf->spec->n_nets; i++) {
		const struct vswitch *sw = services_switch(conf->services, conf->spec->nets[i].sw);

		fd = launch_tap_open(sw->bridge, e);
		if (fd < 0) {
			err_wrap(e, "networks[%u]: switch \"%s\"", i, sw->name);
			return fd;
		}
		taps[i] = fcntl(
			fd, F_DUPFD_CLOEXEC, LAUNCH_TAP_FD + SPEC_NETS_MAX); /* above where the child wants them */
		close(fd);
		if (taps[i] < 0)
			return err_set(e, errno, "networks[%u]: %s", i, strerror(errno));
	}
	return 0;
}

/* ---- the process ---- */

static int file_actions(posix_spawn_file_actions_t *fa, const char *log, const int *taps)
{
	unsigned i, n = 0;
	int r;

	r = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);
	if (!r)
		r = posix_spawn_file_actions_addopen(fa, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (!r)
		r = posix_spawn_file_actions_adddup2(fa, 1, 2);
	for (i = 0; !r && i < SPEC_NETS_MAX && taps[i] >= 0; i++, n++)
		r = posix_spawn_file_actions_adddup2(fa, taps[i], LAUNCH_TAP_FD + (int)i);
	return r ? r : posix_spawn_file_actions_addclosefrom_np(fa, LAUNCH_TAP_FD + (int)n);
}

/* Own session, no signal blocked or ignored because we do. */
static int spawn_attributes(posix_spawnattr_t *at)
{
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	r = posix_spawnattr_setflags(at, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (!r)
		r = posix_spawnattr_setsigmask(at, &none);
	return r ? r : posix_spawnattr_setsigdefault(at, &all);
}

static int spawn(const struct strv *argv, const char *log, const int *taps, pid_t *pid_out, struct err *e)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	int r;

	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&at);
	r = file_actions(&fa, log, taps);
	if (!r)
		r = spawn_attributes(&at);
	if (!r)
		r = posix_spawn(pid_out, argv->v[0], &fa, &at, argv->v, environ);
	posix_spawnattr_destroy(&at);
	posix_spawn_file_actions_destroy(&fa);
	return r ? err_set(e, r, "cannot start %s: %s", argv->v[0], strerror(r)) : 0;
}

static void kill_child(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* From here on a QEMU may exist that only the record knows. */
static int start_recorded(
	const struct launch_conf *conf, const struct strv *argv, const int *taps, struct launched *l, struct err *e)
{
	const char *record = conf->replaces ? LAUNCH_NEXT_RECORD : LAUNCH_RECORD;
	char log[SPEC_PATH_MAX];
	int r;

	r = launch_next_path(conf->services, l, "qemu.log", log, e);
	if (!r)
		r = launch_record_write(conf->services, l, record, e);
	if (!r)
		r = spawn(argv, log, taps, &l->pid, e);
	if (r < 0)
		return r;
	l->start_time = launch_start_time(l->pid); /* 0: it is dead already, and launch_alive says so */
	r = launch_record_write(conf->services, l, record, e);
	if (r < 0)
		kill_child(l->pid);
	return r;
}

static int remove_leftovers(const struct launch_conf *conf, struct err *e)
{
	int r = launch_clear_dead(conf->services, conf->spec, e);

	return r == -EBUSY ? err_set(e, EEXIST, "it runs already") : r;
}

/* A successor in a same-host move keeps what was known of the one it replaces. */
static int first_record(const struct launch_conf *conf, struct launched *l, struct err *e)
{
	const char *machine = conf->machine ? conf->machine : LAUNCH_MACHINE;

	*l = conf->replaces ? *conf->replaces : (struct launched){.guest_agent = !conf->no_guest_agent};
	l->spec = *conf->spec;
	l->pid = 0;
	l->start_time = 0;
	l->console_port = conf->console_port;
	l->incoming = conf->incoming;
	l->generation += conf->replaces != NULL;
	l->resume = conf->resume;
	if (strlen(machine) >= sizeof(l->machine))
		return err_set(e, EINVAL, "machine type \"%s\" is too long", machine);
	memcpy(l->machine, machine, strlen(machine) + 1);
	return 0;
}

/* The folder and the RAM files; a successor finds them there. @made: they are new. */
static int make_place(const struct launch_conf *conf, const char *dir, bool *made, struct err *e)
{
	int r;

	if (conf->replaces)
		return 0;
	r = make_folders(dir, e);
	if (!r)
		r = make_ram(conf, e);
	*made = !r;
	return r;
}

int launch_start(const struct launch_conf *conf, struct launched *out, struct err *e)
{
	int taps[SPEC_NETS_MAX] = {-1, -1, -1, -1, -1, -1, -1, -1};
	struct strv argv = {0};
	struct launched l;
	char dir[SPEC_PATH_MAX];
	bool made = false;
	int r;

	r = first_record(conf, &l, e);
	if (!r)
		r = launch_argv(conf, &argv, e);
	if (!r)
		r = rundir_path(conf->services, conf->spec->name, "", dir, e);
	if (!r && !conf->replaces)
		r = remove_leftovers(conf, e);
	if (r < 0)
		goto out;
	r = make_place(conf, dir, &made, e);
	if (!r)
		r = open_taps(conf, taps, e);
	if (!r)
		r = start_recorded(conf, &argv, taps, &l, e);
	if (!r)
		*out = l;
	if (r < 0 && made)
		remove_ram(conf);
	if (r < 0 && conf->replaces)
		launch_next_drop(conf->services, &l, NULL);
	else if (r < 0)
		launch_remove_folder(dir);
out:
	close_taps(taps);
	strv_fini(&argv);
	return r;
}
