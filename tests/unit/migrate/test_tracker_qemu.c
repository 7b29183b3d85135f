/* The userfaultfd tracker on a real QEMU under -sandbox on: KVM where a real-mode ROM runs under it, and TCG. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/inject.h"
#include "migrate/maps.h"
#include "tests/unit/support/xfer_rig.h"
#include "tests/unit/support/skip.h"
#include "tests/unit/support/tracking.h"

#define MIB (1ULL << 20)

/* A ROM that rewrites the first word of 96 pages from 64 KiB on, for ever, in real mode (facts: runs under KVM here). */
static const uint8_t rom_code[] = {
	0xb8, 0x00, 0x10,             /* start: mov ax, 0x1000 */
	0xb9, 0x60, 0x00,             /*        mov cx, 96 */
	0x8e, 0xc0,                   /* next:  mov es, ax */
	0x26, 0xff, 0x06, 0x00, 0x00, /*        inc word [es:0] */
	0x05, 0x00, 0x01,             /*        add ax, 0x100 */
	0xe2, 0xf4,                   /*        loop next */
	0xba, 0xf8, 0x03,             /*        mov dx, 0x3f8 */
	0xb0, 0x2e,                   /*        mov al, '.' */
	0xee,                         /*        out dx, al */
	0xeb, 0xe6,                   /*        jmp start */
};
static const uint8_t rom_reset[] = {0xea, 0x00, 0x00, 0x00, 0xf0}; /* jmp f000:0000 */

#define QEMU_BYTES (32 * MIB)
#define ROM_PAGES 96

struct find {
	const char *path;
	uint64_t start;
};

static bool on_map(void *arg, const struct maps_line *m)
{
	struct find *f = arg;

	if (!f->start && !strcmp(m->path, f->path))
		f->start = m->start;
	return true;
}

static pid_t qemu_start(const char *dir, const char *accel, struct ram_block *b)
{
	char bios[128], backend[640];
	FILE *f;
	pid_t pid;

	snprintf(bios, sizeof(bios), "%s/bios", dir);
	f = fopen(bios, "w");
	assert_non_null(f);
	fwrite(rom_code, 1, sizeof(rom_code), f);
	fseek(f, 0xfff0, SEEK_SET);
	fwrite(rom_reset, 1, sizeof(rom_reset), f);
	fseek(f, 0xffff, SEEK_SET);
	fputc(0, f);
	fclose(f);
	snprintf(b->path, sizeof(b->path), "%s/ram", dir);
	b->bytes = QEMU_BYTES;
	b->page_bytes = 4096;
	snprintf(backend, sizeof(backend), "memory-backend-file,id=ram,share=on,size=32M,mem-path=%s", b->path);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("qemu-system-x86_64", "qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", accel,
			"-cpu", "qemu64", "-machine", "pc,memory-backend=ram", "-m", "32M", "-object", backend, "-bios",
			bios, "-serial", "null", "-monitor", "none", "-sandbox",
			"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", NULL);
		_exit(127);
	}
	return pid;
}

static uint16_t word_of(const struct ram_block *b, unsigned page)
{
	int fd = open(b->path, O_RDONLY | O_CLOEXEC);
	uint16_t w = 0;

	if (fd >= 0 && pread(fd, &w, sizeof(w), 0x10000 + page * 4096) != sizeof(w))
		w = 0;
	if (fd >= 0)
		close(fd);
	return w;
}

/* Waits until the ROM goes round. false: QEMU ended, or nothing in 5 s. */
static bool qemu_runs(pid_t pid, const struct ram_block *b)
{
	uint16_t first = 0;
	int status;

	for (int i = 0; i < 500; i++) {
		uint16_t now = word_of(b, ROM_PAGES - 1);

		if (first && now && now != first)
			return true;
		first = first ? first : now;
		if (waitpid(pid, &status, WNOHANG) == pid)
			return false;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return false;
}

static void track_qemu(pid_t pid, struct ram_block *b)
{
	struct find f = {.path = b->path};
	struct bitmap found;
	struct tracker t;
	struct err e = {0};

	assert_int_equal(maps_walk(pid, on_map, &f, &e), 0);
	b->qemu_addr = f.start;
	if (tracker_open(pid, b, 1, &t, &e))
		fail_msg("%s", e.msg);
	assert_int_equal(bitmap_init(&found, QEMU_BYTES / 4096), 0);
	assert_int_equal(t.ops->arm(&t, &e), 0);
	for (int round = 0; round < 5; round++) {
		uint16_t now = word_of(b, ROM_PAGES - 1);

		for (int i = 0; i < 1000 && (uint16_t)(word_of(b, ROM_PAGES - 1) - now) < 3; i++)
			nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
		bitmap_clear(&found);
		assert_int_equal(harvest(&t, &found), ROM_PAGES);
		for (unsigned p = 0; p < ROM_PAGES; p++)
			assert_true(bitmap_test(&found, 16 + p));
	}
	bitmap_fini(&found);
	t.ops->close(&t);
}

/* And the engine on it: moved while it runs, SIGSTOP for the last round. */
static void move_qemu(pid_t pid, const struct ram_block *b)
{
	const uint64_t bytes = QEMU_BYTES;
	struct xfer_rig r;
	struct xfer_stats st;
	struct err e = {0};
	int status;

	rig_init(&r, &bytes, 1, 2);
	munmap(r.src_map[0], bytes);
	close(r.src_fd[0]);
	r.src[0] = *b;
	r.src_fd[0] = open(b->path, O_RDWR | O_CLOEXEC);
	r.src_map[0] = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (tracker_open(pid, r.src, 1, &r.tracker, &e))
		fail_msg("%s", e.msg);
	rig_start(&r);
	for (int i = 0; i < 3; i++)
		if (xfer_tx_round(r.tx, false, &st, &e))
			fail_msg("%s", e.msg);
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_int_equal(xfer_tx_round(r.tx, true, &st, &e), 0);
	rig_join(&r);
	assert_int_equal(r.rx_ret, 0);
	rig_assert_equal(&r);
	r.tracker.ops->close(&r.tracker);
	kill(pid, SIGCONT);
	r.src[0].bytes = 4096;
	rig_fini(&r);
}

static void on_accel(const char *accel)
{
	char dir[64] = "/dev/shm/ballast-qemu-XXXXXX";
	struct ram_block b = {0};
	int status;
	pid_t pid;

	need_tracking();
	assert_non_null(mkdtemp(dir));
	pid = qemu_start(dir, accel, &b);
	if (!qemu_runs(pid, &b)) {
		remove_tree(dir);
		skip_because("a real-mode ROM does not run under -accel %s here", accel);
	}
	track_qemu(pid, &b);
	move_qemu(pid, &b);
	/* It still runs. */
	uint16_t before = word_of(&b, 0);
	for (int i = 0; i < 500 && word_of(&b, 0) == before; i++)
		nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
	assert_int_not_equal(word_of(&b, 0), before);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	remove_tree(dir);
}

static void qemu_tcg(void **state)
{
	(void)state;
	on_accel("tcg");
}

static void qemu_kvm(void **state)
{
	(void)state;
	if (access("/dev/kvm", R_OK | W_OK)) {
		skip_because("no /dev/kvm");
	}
	on_accel("kvm");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qemu_tcg),
		cmocka_unit_test(qemu_kvm),
	};

	return cmocka_run_group_tests_name("tracker_qemu", tests, NULL, NULL);
}
