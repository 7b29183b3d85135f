# Ballast. One Makefile, no recursion: make, make demo, make test, make bench, make install.
# README.md says what each target is for; CONTRIBUTING.md how a room (folder) is added to.

SAN     ?=
CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
comma   := ,
BUILD   ?= build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
PREFIX  ?= /usr/local
DESTDIR ?=

WARN    := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
           -Wold-style-definition -Wundef -Wvla -Wformat=2 -Wwrite-strings -Wimplicit-fallthrough
OPT     ?= -O2
PKGS    := libconfig libevent libevent_openssl libevent_pthreads openssl liblz4 libzstd jansson sqlite3 libxxhash libseccomp libcap-ng
# Asked once, and only when something is compiled: on a new machine 'make deps' runs before pkg-config exists.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(if $$(shell pkg-config --exists $(PKGS) 2>&1 && echo yes),$$(shell pkg-config --cflags $(PKGS)),$$(error \
             libraries are missing: run 'make deps' once, as root (or 'make demo' or 'make test', which do so themselves))))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $$(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)
CFLAGS  ?= -g $(OPT)
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -I. -fPIE -pthread -fstack-protector-strong $(WARN) \
           $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all,-D_FORTIFY_SOURCE=2) $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pie -pthread -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LIBS    = $(PKG_LIBS) -lm

# A room's objects go into one archive; a program is its main file and the archives of the rooms it may see.
room_c   = $(sort $(wildcard $(1)/*.c))
room_o   = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
MAINS    := policyd/main.c migrate/main.c policyd/policysim/main.c
SRC_domain  := $(call room_c,domain)
SRC_conf    := $(call room_c,conf)
SRC_resize  := $(call room_c,resize)
SRC_migrate := $(filter-out $(MAINS),$(call room_c,migrate))
SRC_policyd := $(filter-out $(MAINS),$(foreach d,policyd policyd/watch policyd/decide policyd/act policyd/cluster policyd/api,$(call room_c,$(d))))
SRC_ctl     := $(call room_c,policyd/policyctl)
SRC_sim     := $(filter-out $(MAINS),$(call room_c,policyd/policysim))
SRC_tsup    := $(call room_c,tests/unit/support)
ROOMS    := domain conf resize migrate policyd sim
AR_domain  = $(BUILD)/libdomain.a
AR_migrate = $(BUILD)/libmigrate.a $(AR_domain)
AR_all     = $(BUILD)/libsim.a $(BUILD)/libpolicyd.a $(BUILD)/libmigrate.a $(BUILD)/libresize.a $(BUILD)/libconf.a $(AR_domain)

PROGRAMS := $(addprefix $(BUILD)/,$(if $(wildcard policyd/main.c),policyd) $(if $(SRC_ctl),policyctl) \
            $(if $(wildcard migrate/main.c),policyd-migrate) $(if $(SRC_sim),policysim))

.PHONY: all programs deps demo test unit guest bench layers lint fuzz model clean install help docs
all: programs
programs: $(PROGRAMS)

# ---- compile ---------------------------------------------------------------------------------------------
$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $<" &&) $(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

define archive
$(BUILD)/lib$(1).a: $$(call room_o,$$(SRC_$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call archive,$(r))))

link = $(if $(V),,@echo "  LINK  $@" &&) $(CC) $(ALL_LDFLAGS) -o $@ $(1) $(LIBS)

$(BUILD)/policyd: $(BUILD)/obj/policyd/main.o $(AR_all)
	$(call link,$^)
$(BUILD)/policyd-migrate: $(BUILD)/obj/migrate/main.o $(AR_migrate)
	$(call link,$^)
$(BUILD)/policyctl: $(call room_o,$(SRC_ctl)) $(AR_all)
	$(call link,$^)
$(BUILD)/policysim: $(BUILD)/obj/policyd/policysim/main.o $(AR_all)
	$(call link,$^)

# ---- tests -----------------------------------------------------------------------------------------------
# tests/unit/ROOM/test_NAME.c -> build/tests/unit/ROOM/test_NAME; what they share is in tests/unit/support.
UNIT_C   := $(sort $(wildcard tests/unit/*/test_*.c))
UNIT_BIN := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_C))
$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(call room_o,$(SRC_tsup)) $(AR_all)
	@mkdir -p $(@D)
	$(call link,$^ -lcmocka)
.SECONDARY:

unit: unit-programs
	@python3 tests/run.py --build $(BUILD) --only unit

# The dependencies first, in a make of its own: nothing may ask pkg-config before they are there.
test: deps
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) programs guest unit-programs
	@python3 tests/run.py --build $(BUILD)

.PHONY: unit-programs
unit-programs: $(UNIT_BIN)

layers:
	@sh tests/lint/layers.sh

lint:
	@sh tests/lint/lint.sh

# ---- dependencies ----------------------------------------------------------------------------------------
deps:
	@sh tests/lib/deps.sh

include $(wildcard tests/*/*.mk)

install: programs
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system \
	  $(DESTDIR)$(PREFIX)/share/doc/ballast/examples $(DESTDIR)/etc/policyd/trust
	install -m 755 $(BUILD)/policyd $(BUILD)/policyd-migrate $(DESTDIR)$(PREFIX)/sbin
	install -m 755 $(BUILD)/policyctl $(BUILD)/policysim $(DESTDIR)$(PREFIX)/bin
	sed 's|@PREFIX@|$(PREFIX)|' examples/policyd.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/policyd.service
	install -m 644 README.md CHANGELOG.md LICENSE docs/*.md $(DESTDIR)$(PREFIX)/share/doc/ballast
	cp -r examples/. $(DESTDIR)$(PREFIX)/share/doc/ballast/examples

clean:
	rm -rf build

-include $(shell test -d $(BUILD)/obj && find $(BUILD)/obj -name '*.d')
