/* Reading a small file of a guest by its agent: /proc/pressure/memory, /proc/loadavg. Optional, as all that an agent does: it may be missing, or may not be
 * allowed to (guest-file-open among qemu-ga's block-rpcs). Loop thread; nothing blocks. */
#ifndef DOMAIN_QGA_FILE_H
#define DOMAIN_QGA_FILE_H

#include <stddef.h>

#include "domain/qga.h"

#define QGA_FILE_MAX 512 /* no more of it is read */

/* @text: what is in it, with a NUL, borrowed; "" on failure. @e->code: 0; EREMOTEIO the agent refuses or has no such file; EPROTO its answer
 * is none; else as qga_command. Once, from the loop or from inside qga_free. */
typedef void qga_file_fn(void *arg, const char *text, const struct err *e);
/* @path is a literal or lives as long as @q. @q may be NULL or not ready: -ENOTCONN. -ENOMEM. In both cases @done is not called. */
int qga_file_read(struct qga *q, const char *path, qga_file_fn *done, void *arg);

/* Plain base64 (RFC 4648) to at most @size - 1 bytes and a NUL, @size > 0. -EPROTO: it is not base64, or does not fit. Pure. */
int qga_unbase64(const char *text, char *out, size_t size);

#endif
