/* The test guest's program: what its files share. It is the guest's first process (/init); see docs/guest.md.
 *
 * balguest.c  boot, power, console lines       memory.c  pages that check themselves
 * agent.c     commands on the virtio port      beat.c    heartbeat, hot-plug, power button
 * burn.c      CPU load                         disk.c    reads of a disk into checked memory
 *
 * Threads: one per job, named in each file. Anything wrong with memory ends in guest_fail and never comes back. */
#ifndef TESTS_GUEST_BALGUEST_H
#define TESTS_GUEST_BALGUEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u
#define ANSWER_MAX 4096
#define NS_PER_S 1000000000ull

/* ---- balguest.c ---- */
/* One line on the console, whole, from any thread. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "BG fail REASON", then the power goes off; a panic if that does not work. */
void guest_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* "BG stop", /etc/rc.stop to its end if there is one, then the power goes off. */
void guest_poweroff(void) __attribute__((noreturn));
uint64_t now_ns(void); /* CLOCK_MONOTONIC */
uint64_t thread_cpu_ns(void);
void sleep_ms(unsigned ms);
void sleep_until_ns(uint64_t t);
/* Start a detached thread. @rt_priority 0: an ordinary one. Fails the guest when it cannot. */
void thread_start(void *(*fn)(void *), void *arg, unsigned rt_priority);
/* Read a small file into @buf (ends with 0, newline cut). False when it is not there. */
bool file_read(const char *path, char *buf, size_t size);
bool file_write(const char *path, const char *text);
/* "64M", "1G", "4096" -> bytes; false when it is no size. */
bool size_parse(const char *text, uint64_t *bytes_out);

/* ---- memory.c ---- */
enum page_kind { KIND_HALF, KIND_RAND, KIND_TEXT };
enum dirty_pattern { DIRTY_UNIFORM, DIRTY_HOT, DIRTY_SEQ };
struct memory_stat {
	uint64_t filled_bytes, versions, verified_pages, dirty_mib_s;
};
void memory_init(void); /* starts the dirtier and the verifier */
/* Each answers with a sentence in @why on failure. */
bool memory_fill(uint64_t bytes, enum page_kind kind, const char **why);
bool memory_free(uint64_t bytes, const char **why);
/* UINT64_MAX: as fast as it can. @whole: each rewrite changes every 64 octets of a page, not eight words of it. */
void memory_dirty(uint64_t mib_per_s, enum dirty_pattern pattern, unsigned hot_percent, bool whole);
uint64_t memory_verify(void); /* pages checked */
void memory_stat(struct memory_stat *out);
/* For other files' pages: make and check a page of ours anywhere. */
void page_make(void *page, uint64_t number, uint32_t version, enum page_kind kind);
/* NULL when right; else what is wrong. */
const char *page_check(const void *page, uint64_t number, uint32_t version);

/* ---- beat.c ---- */
void beat_init(unsigned hz);
void beat_rate(unsigned hz);
uint64_t beat_counter(void);

/* ---- burn.c ---- */
unsigned cpus_online(void);
void burn_set(unsigned percent, unsigned n_threads);

/* ---- disk.c ---- */
bool disk_fill(const char *dev, uint64_t bytes, const char **why);
bool disk_readloop(const char *dev, uint64_t bytes, const char **why); /* in the background; 0 bytes stops it */
uint64_t disk_reads(void);

/* ---- agent.c ---- */
void agent_run(void) __attribute__((noreturn)); /* the first thread ends up here */

#endif
