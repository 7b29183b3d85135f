/* Direct reads of a disk into checked memory, over and over: DMA that writes guest memory behind the CPUs' back.
 *
 * `diskfill` writes pages of ours to the disk. The reader keeps one buffer for all of it and goes round: check what the last
 * round left, wipe it, read it again. So what a read brought is checked one whole round later, and a migration that missed it
 * (it would leave the wiped page) is found. One reader; its thread starts with the first order. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balguest.h"

#define BATCH_BYTES (256u << 10)
#define BATCH_PAGES (BATCH_BYTES / PAGE_BYTES)

static struct {
	pthread_mutex_t lock; /* held by the reader for a batch, by the agent to give an order */
	int fd;
	char *buf;
	uint64_t n_batches, at;
	bool first_round, started;
	atomic_uint_fast64_t reads;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

bool disk_fill(const char *dev, uint64_t bytes, const char **why)
{
	char *buf = aligned_alloc(PAGE_BYTES, BATCH_BYTES);
	int fd = open(dev, O_WRONLY | O_DIRECT | O_CLOEXEC);
	bool ok = buf && fd >= 0;

	for (uint64_t n = 0; ok && n < bytes / BATCH_BYTES; n++) {
		for (unsigned i = 0; i < BATCH_PAGES; i++)
			page_make(buf + i * PAGE_BYTES, n * BATCH_PAGES + i, 1, KIND_HALF);
		ok = pwrite(fd, buf, BATCH_BYTES, (off_t)(n * BATCH_BYTES)) == (ssize_t)BATCH_BYTES;
	}
	*why = strerror(errno);
	free(buf);
	if (fd >= 0)
		close(fd);
	return ok;
}

static void batch_check(const char *buf, uint64_t n)
{
	for (unsigned i = 0; i < BATCH_PAGES; i++) {
		const char *what = page_check(buf + i * PAGE_BYTES, n * BATCH_PAGES + i, 1);

		if (what)
			guest_fail("disk page %llu, read before: %s", (unsigned long long)(n * BATCH_PAGES + i), what);
	}
}

static void batch_read(void)
{
	char *buf = disk.buf + disk.at * BATCH_BYTES;

	if (!disk.first_round)
		batch_check(buf, disk.at);
	memset(buf, 0, BATCH_BYTES);
	if (pread(disk.fd, buf, BATCH_BYTES, (off_t)(disk.at * BATCH_BYTES)) != (ssize_t)BATCH_BYTES)
		guest_fail("disk read at %llu: %s", (unsigned long long)(disk.at * BATCH_BYTES), strerror(errno));
	disk.reads++;
	if (++disk.at == disk.n_batches) {
		disk.at = 0;
		disk.first_round = false;
	}
}

static void *reader(void *arg)
{
	for (;;) {
		pthread_mutex_lock(&disk.lock);
		if (disk.n_batches)
			batch_read();
		pthread_mutex_unlock(&disk.lock);
		sleep_ms(disk.n_batches ? 1 : 100);
	}
	return arg;
}

/* Checks the last round before it goes. */
static void reader_stop(void)
{
	for (uint64_t n = 0; n < disk.n_batches; n++)
		if (!disk.first_round || n < disk.at)
			batch_check(disk.buf + n * BATCH_BYTES, n);
	free(disk.buf);
	if (disk.fd >= 0)
		close(disk.fd);
	disk.buf = NULL;
	disk.fd = -1;
	disk.n_batches = 0;
}

bool disk_readloop(const char *dev, uint64_t bytes, const char **why)
{
	bool ok = true;

	pthread_mutex_lock(&disk.lock);
	reader_stop();
	if (bytes >= BATCH_BYTES) {
		disk.fd = open(dev, O_RDONLY | O_DIRECT | O_CLOEXEC);
		disk.buf = disk.fd < 0 ? NULL : aligned_alloc(PAGE_BYTES, bytes / BATCH_BYTES * BATCH_BYTES);
		*why = strerror(errno);
		ok = disk.buf;
		disk.n_batches = ok ? bytes / BATCH_BYTES : 0;
		disk.at = 0;
		disk.first_round = true;
	}
	pthread_mutex_unlock(&disk.lock);
	if (ok && bytes && !disk.started)
		thread_start(reader, NULL, 0);
	disk.started |= ok && bytes;
	return ok;
}

uint64_t disk_reads(void)
{
	return disk.reads;
}
