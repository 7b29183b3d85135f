/* QEMU, as a worker uses it: see vm.h. What is asked and in which order was measured with QEMU 7.2 and 10.0. */
#include "migrate/vm.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "domain/qmp.h"

#define CALL_MS 10000
#define CANCEL_MS 5000
#define KICK_MS 20
#define CONT_TRIES 1000
#define CONT_PAUSE_MS 5

static void on_qmp_event(void *arg, const char *event, const json_t *data)
{
	struct vm *vm = arg;
	const char *status = json_string_value(json_object_get(data, "status"));

	if (strcmp(event, "MIGRATION") == 0 && status)
		snprintf(vm->migration, sizeof(vm->migration), "%s", status);
}

static void on_qmp_down(void *arg, const struct err *e)
{
	struct vm *vm = arg;

	(void)e;
	vm->down = true;
}

static const struct qmp_handlers handlers = {.on_event = on_qmp_event, .on_down = on_qmp_down};

int vm_open(struct vm *vm, struct loop *loop, const char *qmp_path, unsigned timeout_ms, struct err *e)
{
	int rc;

	memset(vm, 0, sizeof(*vm));
	vm->loop = loop;
	vm->qmp = qmp_new(loop->base, qmp_path, false, &handlers, vm);
	if (!vm->qmp)
		return err_set(e, ENOMEM, "no memory");
	rc = qmp_wait_ready(vm->qmp, timeout_ms, e);
	if (rc)
		err_wrap(e, "QEMU's monitor");
	return rc;
}

void vm_close(struct vm *vm)
{
	qmp_free(vm->qmp);
	vm->qmp = NULL;
}

static int call(struct vm *vm, const char *cmd, json_t *args, unsigned timeout_ms, json_t **ret, struct err *e)
{
	int rc;

	if (!vm->qmp) {
		json_decref(args);
		return err_set(e, ENOTCONN, "%s: there is no connection to QEMU", cmd);
	}
	rc = qmp_call(vm->qmp, cmd, args, timeout_ms, ret, e);
	if (rc)
		err_wrap(e, "QEMU, %s", cmd);
	return rc;
}

/* ---- looking --------------------------------------------------------------------------------------------- */

static int ask_string(
	struct vm *vm, const char *cmd, json_t *args, const char *key, char *out, size_t size, struct err *e)
{
	json_t *ret = NULL;
	const char *s;
	int rc = call(vm, cmd, args, CALL_MS, &ret, e);

	if (rc)
		return rc;
	s = json_string_value(key ? json_object_get(ret, key) : ret);
	if (s)
		snprintf(out, size, "%s", s);
	else
		rc = err_set(e, EPROTO, "QEMU, %s: the answer lacks what we asked for", cmd);
	json_decref(ret);
	return rc;
}

int vm_status(struct vm *vm, char out[32], struct err *e)
{
	return ask_string(vm, "query-status", NULL, "status", out, 32, e);
}

int vm_machine(struct vm *vm, char out[64], struct err *e)
{
	return ask_string(
		vm, "qom-get", json_pack("{s:s, s:s}", "path", "/machine", "property", "type"), NULL, out, 64, e);
}

int vm_version(struct vm *vm, char out[64], struct err *e)
{
	json_t *ret = NULL;
	int major, minor, micro, rc = call(vm, "query-version", NULL, CALL_MS, &ret, e);

	if (rc)
		return rc;
	if (json_unpack(ret, "{s:{s:i, s:i, s:i}}", "qemu", "major", &major, "minor", &minor, "micro", &micro) == 0)
		snprintf(out, 64, "%d.%d.%d", major, minor, micro);
	else
		rc = err_set(e, EPROTO, "QEMU, query-version: no version in the answer");
	json_decref(ret);
	return rc;
}

static int memdev_check(
	const json_t *dev, const struct ram_block *blocks, unsigned n, unsigned *seen, uint64_t *total, struct err *e)
{
	const char *id = json_string_value(json_object_get(dev, "id"));
	uint64_t size = (uint64_t)json_integer_value(json_object_get(dev, "size"));

	id = id ? id : "?";
	if (!json_is_true(json_object_get(dev, "share")))
		return err_set(e, ENOTSUP,
			"memory backend \"%s\" is private; it must be a file with share=on to be moved", id);
	*total += size;
	for (unsigned i = 0; i < n; i++) {
		if (!(*seen & 1u << i) && blocks[i].bytes == size) {
			*seen |= 1u << i;
			return 0;
		}
	}
	return err_set(e, ENOTSUP, "memory backend \"%s\" (%llu MiB) has no RAM file of its size in the RAM folder", id,
		(unsigned long long)(size >> 20));
}

int vm_memory_check(struct vm *vm, const struct ram_block *blocks, unsigned n, struct err *e)
{
	json_t *ret = NULL, *dev;
	unsigned seen = 0;
	uint64_t total = 0;
	size_t i;
	int rc = call(vm, "query-memdev", NULL, CALL_MS, &ret, e);

	if (rc)
		return rc;
	json_array_foreach(ret, i, dev) {
		if (rc == 0)
			rc = memdev_check(dev, blocks, n, &seen, &total, e);
	}
	if (rc == 0 && json_array_size(ret) != n)
		rc = err_set(e, ENOTSUP, "QEMU has %zu memory backends but %u RAM files are mapped",
			json_array_size(ret), n);
	json_decref(ret);
	return rc;
}

static bool migration_rests(const char *status)
{
	static const char *const rests[] = {"none", "completed", "failed", "cancelled"};

	for (size_t i = 0; i < sizeof(rests) / sizeof(rests[0]); i++)
		if (strcmp(status, rests[i]) == 0)
			return true;
	return false;
}

int vm_blockers(struct vm *vm, void (*found)(void *arg, const char *why), void *arg, struct err *e)
{
	json_t *ret = NULL, *reason;
	const char *status;
	size_t i;
	int rc = call(vm, "query-migrate", NULL, CALL_MS, &ret, e);

	if (rc)
		return rc;
	json_array_foreach(json_object_get(ret, "blocked-reasons"), i, reason)
		found(arg, json_string_value(reason) ? json_string_value(reason) : "QEMU gives no reason");
	status = json_string_value(json_object_get(ret, "status"));
	if (status && !migration_rests(status))
		rc = err_set(e, EBUSY, "QEMU is in a migration already (%s)", status);
	json_decref(ret);
	return rc;
}

int vm_devices(struct vm *vm, void (*found)(void *arg, const char *id, const char *type), void *arg, struct err *e)
{
	static const char *const folders[] = {"/machine/peripheral", "/machine/peripheral-anon"};

	for (unsigned f = 0; f < 2; f++) {
		json_t *ret = NULL, *dev;
		size_t i;
		int rc = call(vm, "qom-list", json_pack("{s:s}", "path", folders[f]), CALL_MS, &ret, e);

		if (rc)
			return rc;
		json_array_foreach(ret, i, dev) {
			const char *type = json_string_value(json_object_get(dev, "type"));
			const char *id = json_string_value(json_object_get(dev, "name"));
			char bare[96] = "";

			if (type && id && sscanf(type, "child<%95[^>]>", bare) == 1)
				found(arg, f ? "" : id, bare);
		}
		json_decref(ret);
	}
	return 0;
}

/* ---- changing -------------------------------------------------------------------------------------------- */

int vm_stop(struct vm *vm, struct err *e)
{
	return call(vm, "stop", NULL, CALL_MS, NULL, e); /* waits for the disks */
}

static bool never(void *arg)
{
	return ((struct vm *)arg)->down;
}

/* A migration that was cancelled or has failed takes QEMU some ms more to forget: "Migration is not finalized yet". */
int vm_cont(struct vm *vm, struct err *e)
{
	int rc = -EAGAIN;

	for (unsigned i = 0; i < CONT_TRIES; i++) {
		rc = call(vm, "cont", NULL, CALL_MS, NULL, e);
		if (rc != -EREMOTEIO || !e || !strstr(e->msg, "not finalized"))
			break;
		loop_wait(vm->loop, never, vm, CONT_PAUSE_MS, NULL);
	}
	return rc;
}

int vm_quit(struct vm *vm, struct err *e)
{
	int rc = call(vm, "quit", NULL, CALL_MS, NULL, e);

	return rc == -EPIPE ? 0 : rc; /* gone before it could answer */
}

json_t *vm_capabilities(const json_t *known, bool pause)
{
	static const char *const wanted[] = {
		"x-ignore-shared", "events", "return-path", "validate-uuid", "pause-before-switchover"};
	unsigned n = sizeof(wanted) / sizeof(wanted[0]) - !pause;
	json_t *list = json_array(), *entry;
	size_t i;

	json_array_foreach(known, i, entry) {
		const char *name = json_string_value(json_object_get(entry, "capability"));
		bool want = false;

		for (unsigned w = 0; name && w < n; w++)
			want = want || !strcmp(name, wanted[w]);
		if (want || json_is_true(json_object_get(entry, "state")))
			json_array_append_new(
				list, json_pack("{s:s, s:b}", "capability", name ? name : "", "state", want));
	}
	return json_pack("{s:o}", "capabilities", list);
}

/* QEMU's default limit is 128 MiB/s, and it would iterate for what it thinks will not fit 300 ms. TLS is ours, around its stream. */
json_t *vm_parameters(void)
{
	return json_pack("{s:I, s:I, s:s, s:s}", "max-bandwidth", (json_int_t)1 << 40, "downtime-limit",
		(json_int_t)60000, "tls-creds", "", "tls-hostname", "");
}

int vm_migration_setup(struct vm *vm, struct err *e)
{
	json_t *known = NULL;
	int rc;

	rc = call(vm, "query-migrate-capabilities", NULL, CALL_MS, &known, e);
	if (rc)
		return rc;
	rc = call(vm, "migrate-set-capabilities", vm_capabilities(known, true), CALL_MS, NULL, e);
	json_decref(known);
	return rc ? rc : call(vm, "migrate-set-parameters", vm_parameters(), CALL_MS, NULL, e);
}

int vm_drain(struct vm *vm, struct err *e)
{
	return call(vm, "transaction", json_pack("{s:[]}", "actions"), CALL_MS, NULL, e);
}

static json_t *unix_uri(const char *path)
{
	return json_pack("{s:s+}", "uri", "unix:", path);
}

int vm_incoming(struct vm *vm, const char *unix_path, struct err *e)
{
	return call(vm, "migrate-incoming", unix_uri(unix_path), CALL_MS, NULL, e);
}

int vm_migrate(struct vm *vm, const char *unix_path, struct err *e)
{
	vm->migration[0] = 0;
	return call(vm, "migrate", unix_uri(unix_path), CALL_MS, NULL, e);
}

int vm_migrate_continue(struct vm *vm, struct err *e)
{
	return call(vm, "migrate-continue", json_pack("{s:s}", "state", "pre-switchover"), CALL_MS, NULL, e);
}

static bool migration_over(void *arg)
{
	const struct vm *vm = arg;

	return vm->down || !strcmp(vm->migration, "cancelled") || !strcmp(vm->migration, "failed") ||
		!strcmp(vm->migration, "completed");
}

/* A cancel that meets QEMU on its way to the pause before the switch-over leaves its migration thread waiting there for ever: state "cancelling",
 * and "cont" refused (7.2: 54 of 1500 cancels). To continue from just that state wakes it; in any other it is refused and does no harm. */
static void cancel_kick(struct vm *vm)
{
	call(vm, "migrate-continue", json_pack("{s:s}", "state", "cancelling"), CALL_MS, NULL, NULL);
}

int vm_migrate_cancel(struct vm *vm, struct err *e)
{
	int rc;

	if (migration_over(vm))
		return 0;
	rc = call(vm, "migrate_cancel", NULL, CALL_MS, NULL, e);
	if (rc == 0)
		rc = loop_wait(vm->loop, migration_over, vm, KICK_MS, e);
	for (unsigned i = 0; rc == -ETIMEDOUT && i < CANCEL_MS / KICK_MS; i++) {
		cancel_kick(vm);
		rc = loop_wait(vm->loop, migration_over, vm, KICK_MS, e);
	}
	return rc;
}

void vm_migration_error(struct vm *vm, char *out, size_t size)
{
	struct err e = {0};

	out[0] = 0;
	if (ask_string(vm, "query-migrate", NULL, "error-desc", out, size, &e) != 0)
		out[0] = 0;
}

int vm_migration_ram_bytes(struct vm *vm, uint64_t *out, struct err *e)
{
	json_t *ret = NULL;
	int rc = call(vm, "query-migrate", NULL, CALL_MS, &ret, e);

	if (rc)
		return rc;
	*out = (uint64_t)json_integer_value(json_object_get(json_object_get(ret, "ram"), "total"));
	json_decref(ret);
	return 0;
}

json_t *vm_announce_args(void)
{
	return json_pack("{s:i, s:i, s:i, s:i}", "initial", 50, "max", 550, "rounds", 5, "step", 50);
}

int vm_announce(struct vm *vm, struct err *e)
{
	return call(vm, "announce-self", vm_announce_args(), CALL_MS, NULL, e);
}
