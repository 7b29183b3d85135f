# The soft-dirty tracker as the init of a machine whose kernel has soft-dirty marks (test_soft_dirty.py). Static, and never with a sanitizer: it is
# the only file there.
SOFT_C := tests/integration/soft_drive.c $(addprefix migrate/,tracker.c tracker_soft.c tracker_uffd.c uffd_make.c inject.c freeze.c ptrace_stop.c maps.c bitmap.c) \
          domain/err.c
build/guest/soft_drive: $(SOFT_C) $(wildcard migrate/*.h domain/*.h) tests/integration/soft.mk
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $@" &&) $(CC) -std=gnu11 -D_GNU_SOURCE -I. -O2 $(WARN) -static -pthread -o $@ $(SOFT_C)
guest: build/guest/soft_drive
