/* A same-host move's two QEMUs of one domain: whose the guest is, and clearing away the other. See launch.h.
 *
 * In the order in which it is done, and what a policyd that finds it so does (launch_scan):
 *   launch.json, launch.next.json    the guest is the first's. The second never ran: it is ended; the first's guest must run on
 *                                    if it ran before (resume), for the move may have stopped it
 *   launch.json with "replaced"      the guest is this one's, and it may run already. The other one is ended: its guest stands
 *   launch.json                      as always
 * Called by policyd on its loop thread. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "domain/launch_priv.h"

#define END_LOOKS 500
static const struct timespec end_pause = {.tv_nsec = 10 * 1000 * 1000};

static const char *const leaves[] = {
	"qmp.sock", "qmp-worker.sock", "console.sock", "agent.sock", "qga.sock", "qemu.pid", "qemu.log"};
#define N_LEAVES (sizeof(leaves) / sizeof(leaves[0]))

int launch_next_path(const struct host_services *s, const struct launched *l, const char *leaf, char out[SPEC_PATH_MAX],
	struct err *e)
{
	char own[64];

	launch_leaf(l->generation, leaf, own);
	return rundir_path(s, l->spec.name, own, out, e);
}

/* Not by its monitor: a QEMU that quits in order removes sockets by names that may be another's by now. */
static int end_process(const struct launched *l, struct err *e)
{
	unsigned i;

	if (launch_alive(l))
		kill(l->pid, SIGKILL);
	for (i = 0; i < END_LOOKS && launch_alive(l); i++)
		nanosleep(&end_pause, NULL);
	if (!launch_alive(l))
		return 0;
	return err_set(e, EBUSY, "QEMU (pid %d) of %s does not end, although it was killed; look at its storage",
		(int)l->pid, l->spec.name);
}

/* ---- the hand-off ---- */

/* A socket goes on to be listened on under its new name, unix(7), a log to be written. One that is not there has its name already. */
static void take_names(const struct host_services *s, const struct launched *l)
{
	char from[SPEC_PATH_MAX], to[SPEC_PATH_MAX];

	for (unsigned i = 0; l->generation && i < N_LEAVES; i++)
		if (!launch_next_path(s, l, leaves[i], from, NULL) &&
			!rundir_path(s, l->spec.name, leaves[i], to, NULL))
			rename(from, to);
}

static void remove_leaf(const struct host_services *s, const char *name, const char *leaf)
{
	char path[SPEC_PATH_MAX];

	if (!rundir_path(s, name, leaf, path, NULL))
		unlink(path);
}

static int rename_record(
	const struct host_services *s, const char *name, const char *from_leaf, const char *to_leaf, struct err *e)
{
	char from[SPEC_PATH_MAX], to[SPEC_PATH_MAX];
	int r = rundir_path(s, name, from_leaf, from, e);

	if (!r)
		r = rundir_path(s, name, to_leaf, to, e);
	if (!r && rename(from, to) < 0)
		r = err_set(e, errno, "cannot rename %s to %s: %s", from, to, strerror(errno));
	return r;
}

int launch_next_own(const struct host_services *s, struct launched *next, const struct launched *old, struct err *e)
{
	struct launched was = *next;
	int r;

	next->incoming = false;
	next->replaced = old->pid;
	next->replaced_start = old->start_time;
	r = launch_record_write(s, next, LAUNCH_NEXT_RECORD, e);
	if (!r)
		r = rename_record(s, next->spec.name, LAUNCH_NEXT_RECORD, LAUNCH_RECORD, e);
	if (r < 0)
		*next = was;
	return r;
}

int launch_next_disown(
	const struct host_services *s, const struct launched *next, const struct launched *old, struct err *e)
{
	struct launched back = *old;

	back.resume = next->resume;
	back.replaced = next->pid;
	back.replaced_start = next->start_time;
	return launch_record_write(s, &back, LAUNCH_RECORD, e);
}

/* The other one is gone. */
static int alone(const struct host_services *s, struct launched *l, struct err *e)
{
	take_names(s, l);
	remove_leaf(s, l->spec.name, LAUNCH_MOVE_SOCKET);
	l->replaced = 0;
	l->replaced_start = 0;
	return launch_record_write(s, l, LAUNCH_RECORD, e);
}

int launch_next_done(const struct host_services *s, struct launched *l, struct err *e)
{
	l->resume = false;
	return alone(s, l, e);
}

/* ---- clearing away ---- */

int launch_next_drop(const struct host_services *s, const struct launched *next, struct err *e)
{
	char path[SPEC_PATH_MAX];
	int r = end_process(next, e);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < N_LEAVES; i++)
		if (!launch_next_path(s, next, leaves[i], path, NULL))
			unlink(path);
	remove_leaf(s, next->spec.name, LAUNCH_MOVE_SOCKET);
	remove_leaf(
		s, next->spec.name, LAUNCH_NEXT_RECORD); /* last: while it is there, there is something to clear away */
	return 0;
}

static int owner_resumes(const struct host_services *s, const char *name, struct err *e)
{
	struct launched owner;
	int r = launch_record_read(s, name, LAUNCH_RECORD, &owner, e);

	if (r < 0 || owner.resume)
		return r;
	owner.resume = true;
	return launch_record_write(s, &owner, LAUNCH_RECORD, e);
}

int launch_next_settle(const struct host_services *s, const char *name, struct err *e)
{
	struct launched next;
	int r = launch_record_read(s, name, LAUNCH_NEXT_RECORD, &next, e);

	if (r == -ENOENT || r == -ENOTDIR || r == -ENAMETOOLONG)
		return 0;
	if (r < 0)
		return r;
	if (next.pid ? !launch_is_qemu(s, &next) : launch_find_unrecorded(s, &next) < 0)
		next.pid = 0;
	if (next.resume)
		r = owner_resumes(s, name, e);
	return r < 0 && r != -ENOENT ? r : launch_next_drop(s, &next, e);
}

int launch_next_finish(const struct host_services *s, struct launched *l, struct err *e)
{
	struct launched other = *l;
	int r = 0;

	if (!l->replaced)
		return 0;
	other.pid = l->replaced;
	other.start_time = l->replaced_start;
	other.generation = LAUNCH_ANY_GENERATION;
	if (launch_is_qemu(s, &other))
		r = end_process(&other, e);
	return r < 0 ? r : alone(s, l, e);
}
