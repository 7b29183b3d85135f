# Programs that are all there is on a tiny machine (tests/lib/tiny.py). Static, and never with a sanitizer: there is nothing else there.
TINY = $(if $(V),,@echo "  CC    $@" &&) mkdir -p $(@D) && $(CC) -std=gnu11 -D_GNU_SOURCE -I. -O2 $(WARN) -static -pthread -o $@ $(filter %.c,$^)

# the soft-dirty tracker on a kernel that has soft-dirty marks (test_soft_dirty.py)
SOFT_C := tests/integration/soft_drive.c $(addprefix migrate/,tracker.c tracker_soft.c tracker_uffd.c uffd_make.c inject.c freeze.c ptrace_stop.c maps.c bitmap.c) \
          domain/err.c
build/guest/soft_drive: $(SOFT_C) $(wildcard migrate/*.h domain/*.h) tests/integration/tiny.mk
	$(TINY)
guest: build/guest/soft_drive

# caps and weights on a host with cgroup v2 (test_caps_v2.py)
build/guest/cap_drive: tests/integration/cap_drive.c resize/cap.c domain/err.c resize/cap.h domain/err.h tests/integration/tiny.mk
	$(TINY)
guest: build/guest/cap_drive
