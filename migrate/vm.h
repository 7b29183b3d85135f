/* What a worker asks of its QEMU, over the worker's own monitor: the choreography of facts and docs/wire.md as single steps.
 * Engine thread. Errors carry QEMU's own words. */
#ifndef MIGRATE_VM_H
#define MIGRATE_VM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "domain/err.h"
#include "domain/ram.h"
#include "migrate/loop.h"

struct qmp;

struct vm {
	struct loop *loop; /* borrowed */
	struct qmp *qmp;
	char migration[32]; /* last status that the MIGRATION event told, "" none */
	bool down;          /* the monitor's connection is gone: QEMU has ended */
};

int vm_open(struct vm *vm, struct loop *loop, const char *qmp_path, unsigned timeout_ms, struct err *e);
void vm_close(struct vm *vm);

/* "running", "paused", "inmigrate", "postmigrate", ... */
int vm_status(struct vm *vm, char out[32], struct err *e);
int vm_stop(struct vm *vm, struct err *e);
int vm_cont(struct vm *vm,
	struct err *e); /* @e must not be NULL; tries again for 5 s while a dead migration is in the way */
int vm_quit(struct vm *vm, struct err *e);
/* "pc-q35-7.2-machine" and "7.2.22". */
int vm_machine(struct vm *vm, char out[64], struct err *e);
int vm_version(struct vm *vm, char out[64], struct err *e);
/* All of guest memory in shared backends, @n blocks of them, with the same sizes? -ENOTSUP says which is not. */
int vm_memory_check(struct vm *vm, const struct ram_block *blocks, unsigned n, struct err *e);
/* Each reason why QEMU would refuse to migrate; and -EBUSY when one is under way. */
int vm_blockers(struct vm *vm, void (*found)(void *arg, const char *why), void *arg, struct err *e);
/* Each device that was given on the command line or added since: its id ("" = it has none) and QEMU's type ("virtio-blk-pci"). */
int vm_devices(struct vm *vm, void (*found)(void *arg, const char *id, const char *type), void *arg, struct err *e);

/* Arguments of migrate-set-capabilities: those that our way of moving device state needs are on; all others that are on are switched off, since an
 * operator's or another tool's earlier migration may have left some (multifd, compression), and QEMU keeps them. @known: query-migrate-capabilities'
 * answer; @pause: before the switch-over. Pure; new reference. */
json_t *vm_capabilities(const json_t *known, bool pause);
json_t *vm_parameters(void); /* of migrate-set-parameters: no limits; new reference */

/* Both sides: x-ignore-shared, events, return-path, pause-before-switchover, validate-uuid, no bandwidth limit. */
int vm_migration_setup(struct vm *vm, struct err *e);
/* Wait until no disk request that was submitted before is in flight (an empty transaction). */
int vm_drain(struct vm *vm, struct err *e);
/* Target: listen on a unix socket for the device state. */
int vm_incoming(struct vm *vm, const char *unix_path, struct err *e);
/* Source: start sending the device state to a unix socket. vm_wait_migration then says how far it is. */
int vm_migrate(struct vm *vm, const char *unix_path, struct err *e);
int vm_migrate_continue(struct vm *vm, struct err *e);
/* Make a started migration end, whatever it was doing. 0 also when there was none. */
int vm_migrate_cancel(struct vm *vm, struct err *e);
/* QEMU's words about a failed migration ("" where it has none). */
void vm_migration_error(struct vm *vm, char *out, size_t size);
/* Bytes that QEMU itself sent as RAM: small, or RAM was sent twice. */
int vm_migration_ram_bytes(struct vm *vm, uint64_t *out, struct err *e);
json_t *vm_announce_args(void); /* of announce-self; new reference */
int vm_announce(struct vm *vm, struct err *e);

#endif
