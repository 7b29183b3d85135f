/* Memory filled with pages that check themselves: fill, free, dirty, verify.
 *
 * A page carries its number, a version, and a checksum over all of it. The version that each page must have is also kept in a
 * table elsewhere in memory, so that an old copy of a page, sound in itself, is found too: that is what a migration that misses
 * a write would leave. The checksum is the sum of word * odd number of its place: any one wrong word changes it for certain, and
 * a rewrite (a new version, and eight words, one in each 512 bytes) costs eight steps and not 512.
 *
 * Threads: the agent fills and frees, one dirtier, one verifier. A page is worked on under its stripe's lock; `mem.shrink` keeps
 * pages from going away under the dirtier and the verifier. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "balguest.h"

#define MAGIC 0x4245554741474c42ull /* "BLGAGUEB" in memory; tests look for it in the RAM file */
#define WORDS (PAGE_BYTES / 8)
#define STAMPS 8
#define STAMP_STEP (WORDS / STAMPS)
#define WHOLE_STEP 8 /* a word in each 64 octets */
#define SUM_MUL 0x9e3779b97f4a7c15ull
#define LCG_MUL 0x5851f42d4c957f2dull
#define RESERVE_BYTES (64ull << 30) /* of address space; memory comes as pages are written */
#define HEADROOM_KB (12u << 10)     /* what a fill leaves to the rest of the guest */
#define STRIPES 256
#define STRIPE_PAGES 64
#define FREE_ALIGN (2u << 20)
#define TICK_NS 5000000ull
#define HOT_SHARE 90 /* percent of the rewrites that go to the hot set */

struct page {
	uint64_t magic, number, version, sum;
	uint64_t body[WORDS - 4];
};

static struct {
	uint8_t *base;
	uint32_t *versions;           /* what each page's version must be */
	atomic_uint_fast64_t n_pages; /* published after they are filled */
	atomic_uint_fast64_t rewrites, verified, dirty_now;
	pthread_rwlock_t shrink;
	pthread_mutex_t stripe[STRIPES];
	pthread_mutex_t order_lock; /* of the order to the dirtier below */
	pthread_cond_t order_cond;
	uint64_t order_mib_s;
	enum dirty_pattern order_pattern;
	unsigned order_hot;
	bool order_whole;
	unsigned order_serial;
} mem = {
	.shrink = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP,
	.order_lock = PTHREAD_MUTEX_INITIALIZER,
	.order_cond = PTHREAD_COND_INITIALIZER,
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
	return x ^ (x >> 29);
}

/* Odd, different for each place. */
static uint64_t factor(unsigned word)
{
	return SUM_MUL * (2ull * word + 1);
}

static uint64_t page_sum(const struct page *p)
{
	const uint64_t *w = (const uint64_t *)p;
	uint64_t sum = 0, f = SUM_MUL;

	for (unsigned i = 0; i < WORDS; i++, f += 2 * SUM_MUL)
		sum += w[i] * f;
	return sum - p->sum * factor(3); /* all but the sum itself */
}

/* The words after the header, and their share of the checksum. Cheap generators: under emulation a guest is filled by some 100 MB/s. */
static uint64_t body_make(uint64_t *w, uint64_t seed, enum page_kind kind)
{
	uint64_t sum = 0, f = factor(4), word = 0;

	for (unsigned i = 4; i < WORDS; i++, f += 2 * SUM_MUL) {
		if (kind == KIND_RAND ||
			(kind == KIND_HALF && !(i & 8))) { /* half: 64 bytes of chance, 64 bytes of the same */
			seed = seed * LCG_MUL + 1;
			word = seed ^ seed >> 29;
		} else if (kind == KIND_TEXT && i % 4 == 0) { /* 32-byte phrases, 16 of them */
			seed = seed * LCG_MUL + 1;
			word = 0x6c61626c61626c61ull + (seed >> 60);
		} else if (kind == KIND_HALF) {
			word = 0x2020202020202020ull;
		}
		w[i] = word;
		sum += word * f;
	}
	return sum;
}

void page_make(void *page, uint64_t number, uint32_t version, enum page_kind kind)
{
	struct page *p = page;

	p->magic = MAGIC;
	p->number = number;
	p->version = version;
	p->sum = body_make(page, mix(number * LCG_MUL + version + 1), kind);
	p->sum += p->magic * factor(0) + p->number * factor(1) + p->version * factor(2);
}

const char *page_check(const void *page, uint64_t number, uint32_t version)
{
	const struct page *p = page;

	if (p->magic != MAGIC)
		return "no page of ours (magic)";
	if (p->number != number)
		return "another page's contents";
	if (p->version != version)
		return p->version < version ? "an old version" : "a version from the future";
	if (page_sum(p) != p->sum)
		return "wrong byte (checksum)";
	return NULL;
}

static struct page *page_at(uint64_t n)
{
	return (struct page *)(mem.base + n * PAGE_BYTES);
}

static pthread_mutex_t *stripe_of(uint64_t n)
{
	return &mem.stripe[n / STRIPE_PAGES % STRIPES];
}

/* Under the page's stripe lock. Reads it once more, so that the report tells a passing fault from a lasting one. */
static void __attribute__((noreturn)) page_fail(uint64_t n, const char *what)
{
	const struct page *p = page_at(n);
	const char *again = page_check(p, n, mem.versions[n]);

	guest_fail("page %llu of %llu at %p: %s; version %llu, must be %u; number %llu; sum %016llx, is %016llx; read "
		   "again: %s",
		(unsigned long long)n, (unsigned long long)mem.n_pages, (const void *)p, what,
		(unsigned long long)p->version, mem.versions[n], (unsigned long long)p->number,
		(unsigned long long)p->sum, (unsigned long long)page_sum(p), again ? again : "right");
}

static void page_verify(uint64_t n)
{
	const char *what;

	pthread_mutex_lock(stripe_of(n));
	what = page_check(page_at(n), n, mem.versions[n]);
	if (what)
		page_fail(n, what);
	pthread_mutex_unlock(stripe_of(n));
	mem.verified++;
}

/* A new version: a word each @step of them and the sum. A page whose version is not what it must be fails here already. */
static void page_rewrite(uint64_t n, unsigned step)
{
	struct page *p = page_at(n);
	uint64_t *w = (uint64_t *)p, seed;

	pthread_mutex_lock(stripe_of(n));
	if (p->magic != MAGIC || p->number != n || p->version != mem.versions[n])
		page_fail(n, "not what was last written, seen when rewriting");
	mem.versions[n]++;
	seed = mix(n ^ (uint64_t)mem.versions[n] << 40);
	p->sum += factor(2); /* the version's word grows by one */
	p->version++;
	for (unsigned i = step; i < WORDS; i += step) {
		uint64_t word = mix(seed += SUM_MUL);

		p->sum += (word - w[i]) * factor(i);
		w[i] = word;
	}
	pthread_mutex_unlock(stripe_of(n));
	mem.rewrites++;
}

static uint64_t meminfo_kb(const char *key)
{
	char buf[2048], *at;

	if (!file_read("/proc/meminfo", buf, sizeof(buf)) || !(at = strstr(buf, key)))
		return 0;
	return strtoull(at + strlen(key), NULL, 10);
}

bool memory_fill(uint64_t bytes, enum page_kind kind, const char **why)
{
	static char text[160];
	uint64_t first = mem.n_pages, n = (bytes + PAGE_BYTES - 1) / PAGE_BYTES, free_kb = meminfo_kb("MemAvailable:");

	if (first + n > RESERVE_BYTES / PAGE_BYTES || n * (PAGE_BYTES / 1024) + HEADROOM_KB > free_kb) {
		snprintf(text, sizeof(text), "%llu MiB asked, %llu MiB available of which %u MiB stay free",
			(unsigned long long)(bytes >> 20), (unsigned long long)(free_kb >> 10), HEADROOM_KB >> 10);
		*why = text;
		return false;
	}
	for (uint64_t i = first; i < first + n; i++) {
		mem.versions[i] = 1;
		page_make(page_at(i), i, 1, kind);
		mem.n_pages = i + 1;
	}
	return true;
}

/* From the end; whole 2 MiB steps of the page tables go back at once, so that free-page reporting sees large free blocks. */
bool memory_free(uint64_t bytes, const char **why)
{
	uint64_t n = (bytes + PAGE_BYTES - 1) / PAGE_BYTES, keep;
	int rc;

	pthread_rwlock_wrlock(&mem.shrink);
	keep = n < mem.n_pages ? mem.n_pages - n : 0;
	rc = madvise(mem.base + keep * PAGE_BYTES, (mem.n_pages - keep) * PAGE_BYTES, MADV_DONTNEED);
	mem.n_pages = keep;
	pthread_rwlock_unlock(&mem.shrink);
	*why = strerror(errno);
	return rc == 0;
}

uint64_t memory_verify(void)
{
	uint64_t n = 0;

	pthread_rwlock_rdlock(&mem.shrink);
	for (; n < mem.n_pages; n++)
		page_verify(n);
	pthread_rwlock_unlock(&mem.shrink);
	return n;
}

/* Goes round all pages for ever with about 1 % of a CPU: works for 1 ms of CPU time, rests for 99. */
static void *verifier(void *arg)
{
	uint64_t at = 0;

	for (;;) {
		uint64_t begin = thread_cpu_ns();

		pthread_rwlock_rdlock(&mem.shrink);
		while (mem.n_pages && thread_cpu_ns() - begin < 1000000)
			for (unsigned i = 0; i < 16; i++) {
				at = at + 1 < mem.n_pages ? at + 1 : 0;
				page_verify(at);
			}
		pthread_rwlock_unlock(&mem.shrink);
		sleep_ms(99);
	}
	return arg;
}

void memory_dirty(uint64_t mib_per_s, enum dirty_pattern pattern, unsigned hot_percent, bool whole)
{
	pthread_mutex_lock(&mem.order_lock);
	mem.order_mib_s = mib_per_s;
	mem.order_pattern = pattern;
	mem.order_hot = hot_percent;
	mem.order_whole = whole;
	mem.order_serial++;
	pthread_cond_signal(&mem.order_cond);
	pthread_mutex_unlock(&mem.order_lock);
}

struct dirty_walk {
	uint64_t seed, at;
	enum dirty_pattern pattern;
	unsigned hot, step;
};

static uint64_t dirty_next(struct dirty_walk *walk, uint64_t n_pages)
{
	uint64_t r = mix(walk->seed += SUM_MUL), range = n_pages;

	if (walk->pattern == DIRTY_SEQ)
		return walk->at++ % n_pages;
	if (walk->pattern == DIRTY_HOT && r % 100 < HOT_SHARE)
		range = n_pages * walk->hot / 100 ? n_pages * walk->hot / 100 : 1;
	return (r >> 16) % range;
}

/* Rewrite for one tick at most; returns what was done, which is less than asked when the CPU is too slow. */
static uint64_t dirty_tick(struct dirty_walk *walk, uint64_t n)
{
	uint64_t done = 0, end = now_ns() + TICK_NS;

	pthread_rwlock_rdlock(&mem.shrink);
	while (done < n && mem.n_pages) {
		page_rewrite(dirty_next(walk, mem.n_pages), walk->step);
		if (!(++done & 31) && now_ns() >= end)
			break;
	}
	pthread_rwlock_unlock(&mem.shrink);
	return done;
}

/* Follows one order until the next one comes. What could not be done in time is not made up for. */
static void dirty_follow(struct dirty_walk *walk, uint64_t mib_per_s, unsigned serial)
{
	uint64_t per_tick_x256 = mib_per_s * 65536 * TICK_NS / NS_PER_S, owed = 0, next = now_ns();
	uint64_t count = 0, since = next;

	while (mem.order_serial == serial) {
		bool all = mib_per_s == UINT64_MAX;

		owed = all ? 0 : owed % 256 + per_tick_x256;
		count += dirty_tick(walk, all ? UINT64_MAX : owed / 256);
		if (now_ns() - since > NS_PER_S / 2) {
			mem.dirty_now = count * PAGE_BYTES * NS_PER_S / (now_ns() - since) >> 20;
			count = 0;
			since = now_ns();
		}
		next += TICK_NS;
		if (all || now_ns() > next + 20 * TICK_NS)
			next = now_ns(); /* behind (or after a blackout): go on from here */
		if (!all || !mem.n_pages)
			sleep_until_ns(next);
	}
}

static void *dirtier(void *arg)
{
	struct dirty_walk walk = {.seed = 1};

	for (;;) {
		uint64_t mib_per_s;
		unsigned serial;

		pthread_mutex_lock(&mem.order_lock);
		while (!mem.order_mib_s) {
			mem.dirty_now = 0;
			pthread_cond_wait(&mem.order_cond, &mem.order_lock);
		}
		mib_per_s = mem.order_mib_s;
		serial = mem.order_serial;
		walk.pattern = mem.order_pattern;
		walk.hot = mem.order_hot;
		walk.step = mem.order_whole ? WHOLE_STEP : STAMP_STEP;
		pthread_mutex_unlock(&mem.order_lock);
		dirty_follow(&walk, mib_per_s, serial);
	}
	return arg;
}

void memory_stat(struct memory_stat *out)
{
	out->filled_bytes = mem.n_pages * PAGE_BYTES;
	out->versions = mem.rewrites;
	out->verified_pages = mem.verified;
	out->dirty_mib_s = mem.dirty_now;
}

static void *reserve(uint64_t bytes)
{
	void *p = mmap(
		NULL, bytes + FREE_ALIGN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		guest_fail("no address space for %llu bytes", (unsigned long long)bytes);
	return (void *)(((uintptr_t)p + FREE_ALIGN - 1) & ~(uintptr_t)(FREE_ALIGN - 1));
}

void memory_init(void)
{
	file_write("/proc/sys/vm/overcommit_memory", "1");
	mem.base = reserve(RESERVE_BYTES);
	mem.versions = reserve(RESERVE_BYTES / PAGE_BYTES * sizeof(*mem.versions));
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_mutex_init(&mem.stripe[i], NULL);
	thread_start(verifier, NULL, 0);
	thread_start(dirtier, NULL, 0);
}
