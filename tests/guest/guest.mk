# The test guest: build/guest/vmlinuz and build/guest/initrd (docs/guest.md). What comes from Debian is kept in .cache/guest, so that
# neither 'make clean' nor another build downloads again. The same for every SAN: the guest is the yardstick, not the thing measured.
GUEST_CACHE := $(CURDIR)/.cache/guest
GUEST_C     := $(sort $(wildcard tests/guest/*.c))

guest: build/guest/vmlinuz build/guest/initrd

$(GUEST_CACHE)/complete: tests/guest/fetch.sh tests/guest/debs.sh
	@sh tests/guest/fetch.sh $(GUEST_CACHE)
	@touch $@

build/guest/vmlinuz: $(GUEST_CACHE)/complete
	@mkdir -p $(@D)
	@cp $(GUEST_CACHE)/vmlinuz $@

build/guest/balguest: $(GUEST_C) tests/guest/balguest.h tests/guest/guest.mk
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $@" &&) $(CC) -std=gnu11 -D_GNU_SOURCE -O2 -fno-tree-vectorize $(WARN) -static -pthread -o $@ $(GUEST_C)

build/guest/initrd: build/guest/balguest tests/guest/mkinitrd.sh $(GUEST_CACHE)/complete
	@echo "  INITRD $@"
	@sh tests/guest/mkinitrd.sh $(GUEST_CACHE) build/guest/balguest $@

# Notes when heartbeats arrive (tests/lib/beats.py).
guest: build/guest/hbwatch
build/guest/hbwatch: tests/lib/hbwatch.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $@" &&) $(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -o $@ $<

# QEMU's own guest agent, for the guests of tests that want one (test_guest_agent.py).
guest: build/guest/agent.initrd
build/guest/agent.initrd: tests/guest/agent.sh
	@mkdir -p $(@D)
	@sh tests/guest/agent.sh $(GUEST_CACHE) $@

# The guests of the worked examples: the same guest, and what it serves (docs/guest.md). HAProxy and etcdctl run on a host.
SERVICES := $(CURDIR)/.cache/services
guest: build/guest/web.initrd build/guest/etcd.initrd build/guest/haproxy build/guest/etcdctl

$(SERVICES)/complete: tests/guest/fetch_services.sh tests/guest/debs.sh
	@sh tests/guest/fetch_services.sh $(SERVICES)
	@touch $@

build/guest/web.initrd: build/guest/initrd tests/guest/mkextra.sh tests/guest/net.sh $(wildcard tests/guest/web/*)
	@echo "  INITRD $@"
	@sh tests/guest/mkextra.sh build/guest/initrd $@ etc/net.sh=tests/guest/net.sh etc/rc=tests/guest/web/rc

build/guest/etcd.initrd: build/guest/initrd tests/guest/mkextra.sh tests/guest/net.sh $(wildcard tests/guest/etcd/*) $(SERVICES)/complete
	@echo "  INITRD $@"
	@sh tests/guest/mkextra.sh build/guest/initrd $@ etc/net.sh=tests/guest/net.sh etc/rc=tests/guest/etcd/rc \
	  etc/rc.stop=tests/guest/etcd/rc.stop bin/etcd=$(SERVICES)/root/usr/bin/etcd

build/guest/haproxy: $(SERVICES)/complete
	@mkdir -p $(@D)/lib
	@find $(SERVICES)/root/usr/lib -name '*.so.*' -exec cp -L {} $(@D)/lib \;
	@cp $(SERVICES)/root/usr/sbin/haproxy $@
build/guest/etcdctl: $(SERVICES)/complete
	@mkdir -p $(@D)
	@cp $(SERVICES)/root/usr/bin/etcdctl $@
