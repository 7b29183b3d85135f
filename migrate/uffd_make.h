/* A userfaultfd in QEMU's address space, made by a system call injected there (inject.h), its descriptor fetched by pidfd_getfd. Engine thread;
 * one thread of QEMU stands still for 0.2-14 ms. */
#ifndef MIGRATE_UFFD_MAKE_H
#define MIGRATE_UFFD_MAKE_H

#include <sys/types.h>

#include "domain/err.h"

/* @flags: beside O_CLOEXEC and O_NONBLOCK (UFFD_USER_MODE_ONLY). The caller owns the descriptor that is returned, or -errno.
 * @theirs_out NULL: QEMU's own copy is closed, so that what it guards ends with us. Else it stays open there, under this number: what it guards
 * goes on when we die, until uffd_drop or QEMU's end. */
int uffd_make(pid_t pid, unsigned flags, int *theirs_out, struct err *e);
/* Another descriptor of what QEMU holds open as @theirs. -EBADF: that is no userfaultfd. */
int uffd_fetch(pid_t pid, int theirs, struct err *e);
/* Close QEMU's copy. */
int uffd_drop(pid_t pid, int theirs, struct err *e);

#endif
