# mailcask. `make help` lists the targets; V=1 shows the commands.

PREFIX  ?= /usr/local
DESTDIR ?=
BUILD   ?= build
CC      ?= gcc
VERSION := 0.1.0

# What the program needs, and what its tests need on top (Debian's package names).
DEPS_BUILD := gcc make pkg-config libssl-dev liburing-dev libzstd-dev liblmdb-dev \
              libxxhash-dev libmodpbase64-dev libgmime-3.0-dev libsystemd-dev libmicrohttpd-dev
DEPS_DEMO  :=
DEPS_TEST  := libcmocka-dev dovecot-pop3d dovecot-imapd isync curl openssl python3 perl zstd man-db zsh prometheus
DEPS_BENCH := mpop fetchmail getmail6 borgbackup restic util-linux findutils
DEPS_PLANT := patch
DEPS_LINT  := clang clang-format clang-tidy
DEPS_DEB   := debhelper dpkg-dev lintian
DEPS_DEBTEST := debootstrap systemd-container curl

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-5s %s\n'
endif

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion \
        -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wcast-qual \
        -Wcast-align -Wformat=2 -Wvla -Wundef -Wwrite-strings -Wpointer-arith \
        -Wswitch-enum -Wnull-dereference -Wdouble-promotion
ifdef WERROR
WARN += -Werror
endif

OPT    ?= -O2 -g
SAN    :=
# Evaluated on first use: `make deps` must work before pkg-config exists.
PKGS    = openssl liburing libzstd lmdb libxxhash gmime-3.0 libsystemd libmicrohttpd
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(PKGS) | sed 's/-I/-isystem /g'))$(PKG_CFLAGS)
LIBS_DAEMON := -lssl -lcrypto -luring -lzstd -llmdb -lxxhash -lmodpbase64 -lsystemd -lmicrohttpd
# Not GMime: tools/display.c loads it when it is needed.
LIBS_TOOLS  := -lcrypto -lzstd -llmdb -lxxhash -lmodpbase64

CPPFLAGS := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DMAILCASK_VERSION='"$(VERSION)"' -I.
HARDEN   := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
ALL_CFLAGS = -std=c17 $(OPT) $(WARN) $(SAN) $(if $(SAN),,$(HARDEN)) -pthread $(CPPFLAGS) \
             $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(SAN) -pthread -pie $(LDFLAGS)

ARCHIVE := $(wildcard archive/*.c)
WORKERS := $(wildcard workers/*.c)
DAEMON  := $(wildcard daemon/*.c)
TOOLS   := $(wildcard tools/*.c)
POP3D   := $(wildcard tests/pop3d/*.c)
SUPPORT := $(wildcard tests/support/*.c)
UNIT    := $(wildcard tests/unit/test_*.c)
HELPERS := $(wildcard tests/helpers/*.c)
PRELOAD := $(wildcard tests/preload/*.c)
BENCHES := $(wildcard bench/*.c)
LIGHT   := $(wildcard bench/light/*.c)
CRASH   := $(wildcard tests/crash/*.c)
FUZZERS := $(wildcard tests/fuzz/fuzz_*.c)
E2E     := $(wildcard tests/e2e/*.t)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
DAEMON_LIB := $(filter-out daemon/mailcaskd.c,$(DAEMON))
TOOLS_LIB  := $(filter-out tools/mailcask.c,$(TOOLS))

LIBS      := $(BUILD)/libdaemon.a $(BUILD)/libworkers.a $(BUILD)/libarchive.a
UNIT_BINS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT))
CRASH_MAINS := $(filter tests/crash/crash_%.c,$(CRASH))
CRASH_BINS := $(patsubst tests/crash/%.c,$(BUILD)/tests/%,$(CRASH_MAINS))
PRELOADS  := $(patsubst tests/preload/%.c,$(BUILD)/tests/%.so,$(PRELOAD))
HELP_BINS := $(patsubst tests/helpers/%.c,$(BUILD)/tests/%,$(HELPERS))
BENCH_BINS := $(patsubst bench/%.c,$(BUILD)/bench/%,$(BENCHES)) $(if $(LIGHT),$(BUILD)/bench/light_server)
REPLAY_BINS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/%,$(FUZZERS))
FUZZ_BINS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZERS))
PROGRAMS  := $(BUILD)/mailcask $(BUILD)/mailcaskd
TEST_SERVER := $(if $(POP3D),$(BUILD)/tests/pop3d)
MAN       := $(BUILD)/man/mailcask.1

.PHONY: bench-programs all deps deps-test deps-bench deps-demo deps-lint deps-planted test demo bench bench-full check-asan \
        check-tsan fuzz crash soak planted lint fmt install man deb deb-test clean help programs test-programs unit
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

all: ## build mailcask and mailcaskd (installs nothing)
	@tests/install-deps --check $(DEPS_BUILD)
	$(Q)$(MAKE) --no-print-directory programs

programs: $(PROGRAMS)
bench-programs: $(BENCH_BINS)
test-programs: $(PROGRAMS) $(TEST_SERVER) $(UNIT_BINS) $(CRASH_BINS) $(REPLAY_BINS) $(HELP_BINS) \
               $(PRELOADS) $(MAN)

$(BUILD)/obj/%.o: %.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libarchive.a: $(call obj,$(ARCHIVE))
$(BUILD)/libworkers.a: $(call obj,$(WORKERS))
$(BUILD)/libdaemon.a: $(call obj,$(DAEMON_LIB))
$(BUILD)/libtools.a: $(call obj,$(TOOLS_LIB))
$(BUILD)/libtestsupport.a: $(call obj,$(SUPPORT))
$(BUILD)/%.a:
	$(say) AR $@
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/mailcaskd: $(call obj,daemon/mailcaskd.c) $(LIBS)
	$(say) LD $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_DAEMON)

$(BUILD)/mailcask: $(call obj,tools/mailcask.c) $(BUILD)/libtools.a $(BUILD)/libdaemon.a $(BUILD)/libarchive.a
	$(say) LD $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_TOOLS)

# All pages, from what the programs say: which there are, the programs know.
$(MAN): $(PROGRAMS) $(wildcard tools/man/*) archive/FORMAT.md workers/POP3.md
	$(say) MAN $(@D)
	$(Q)tools/man/build $(BUILD) $(@D)

$(BUILD)/tests/pop3d: $(call obj,$(POP3D))
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lssl -lcrypto

$(UNIT_BINS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/libtestsupport.a $(BUILD)/libtools.a $(LIBS)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(LIBS_DAEMON) $(LIBS_TOOLS)

# Its functions take the place of the C library's wherever ours call them.
$(BUILD)/tests/test_session_allocation: ALL_LDFLAGS += \
    $(foreach f,malloc calloc realloc strdup strndup,-Wl,--wrap=$f)

# recorder.c takes the place of the C library's calls, so its object comes before all libraries.
$(CRASH_BINS): $(BUILD)/tests/%: $(BUILD)/obj/tests/crash/%.o $(call obj,$(filter-out $(CRASH_MAINS),$(CRASH))) \
               $(BUILD)/libtestsupport.a $(BUILD)/libtools.a $(LIBS)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(LIBS_DAEMON) $(LIBS_TOOLS)

# Each fuzz target with its seeds, as a test.
$(REPLAY_BINS): $(BUILD)/tests/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/replay_main.o $(BUILD)/libtools.a $(LIBS)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_DAEMON) $(LIBS_TOOLS)

$(HELP_BINS): $(BUILD)/tests/%: $(BUILD)/obj/tests/helpers/%.o $(LIBS)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_DAEMON)

# Between a program and its libraries: never sanitized itself.
$(PRELOADS): $(BUILD)/tests/%.so: tests/preload/%.c
	$(say) SO $@
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c17 $(OPT) $(WARN) -fPIC -shared -pthread $(CPPFLAGS) $(CFLAGS) -o $@ $< -ldl

$(BUILD)/bench/light_server: $(call obj,$(LIGHT))
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lssl -lcrypto

$(filter-out %/light_server,$(BENCH_BINS)): $(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(LIBS)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_DAEMON)

deps: ## install what building needs (Debian packages, each named first)
	@tests/install-deps $(DEPS_BUILD)
deps-test:
	@tests/install-deps $(DEPS_BUILD) $(DEPS_TEST)
deps-bench:
	@tests/install-deps $(DEPS_BUILD) $(DEPS_TEST) $(DEPS_BENCH)
deps-demo:
	@tests/install-deps $(DEPS_BUILD) $(DEPS_DEMO)
deps-planted: deps-test
	@tests/install-deps $(DEPS_PLANT)
deps-lint:
	@tests/install-deps $(DEPS_BUILD) $(DEPS_LINT)

# They wait more than they compute.
TEST_JOBS ?= 4
test: deps-test ## install what is missing, build, run every test
	$(Q)$(MAKE) --no-print-directory test-programs
	$(Q)BUILD=$(BUILD) prove -j$(TEST_JOBS) --timer $(PROVE_FLAGS) --exec '' $(sort $(UNIT_BINS) $(CRASH_BINS) $(REPLAY_BINS)) $(sort $(E2E))

unit: test-programs ## run the unit tests only
	$(Q)BUILD=$(BUILD) prove -j$(TEST_JOBS) $(PROVE_FLAGS) --exec '' $(sort $(UNIT_BINS) $(REPLAY_BINS))

demo: deps-demo ## install what is missing, build, archive and restore some mail
	$(Q)$(MAKE) --no-print-directory programs $(TEST_SERVER) $(BUILD)/tests/mailgen
	$(Q)BUILD=$(BUILD) tests/demo

check-asan: deps-test ## the tests under AddressSanitizer and UBSan
	$(Q)$(MAKE) --no-print-directory test BUILD=$(BUILD)/asan OPT='-O1 -g -fno-omit-frame-pointer' \
	    SAN='-fsanitize=address,undefined -fno-sanitize-recover=all'

check-tsan: deps-test ## the threaded tests under ThreadSanitizer
	$(Q)$(MAKE) --no-print-directory test-programs BUILD=$(BUILD)/tsan OPT='-O1 -g' SAN='-fsanitize=thread'
	$(Q)BUILD=$(BUILD)/tsan tests/check-tsan

FUZZ_SECONDS ?= 60
FUZZ_SAN := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
$(BUILD)/fuzz/obj/%.o: %.c
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)clang -std=c17 -O1 -g $(FUZZ_SAN) $(CPPFLAGS) $(PKG_CFLAGS) -pthread -MMD -MP -c $< -o $@

$(BUILD)/fuzz/lib.a: $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(ARCHIVE) $(WORKERS) $(DAEMON_LIB) $(TOOLS_LIB))
$(FUZZ_BINS): $(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(BUILD)/fuzz/lib.a
	$(say) FUZZ $@
	$(Q)clang -fsanitize=fuzzer,address,undefined -pthread -o $@ $^ $(LIBS_DAEMON) $(LIBS_TOOLS)

fuzz: deps-lint ## run each fuzzer for FUZZ_SECONDS (60)
	$(Q)$(MAKE) --no-print-directory $(FUZZ_BINS)
	$(Q)BUILD=$(BUILD) FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run $(notdir $(FUZZ_BINS))

CRASH_IMAGES ?= 12000
CRASH_SEED ?= 1
CRASH_JOBS ?= $(shell nproc)
crash: deps-test ## power cuts and failing calls: CRASH_IMAGES (12000) disks are recovered and checked
	$(Q)$(MAKE) --no-print-directory $(CRASH_BINS)
	$(Q)$(BUILD)/tests/crash_images --images $(CRASH_IMAGES) --seed $(CRASH_SEED) --jobs $(CRASH_JOBS)
	$(Q)$(BUILD)/tests/crash_faults --all --images 4 --jobs $(CRASH_JOBS)

SOAK_SECONDS ?= 3600
soak: deps-test ## a day of the service in SOAK_SECONDS (3600): nothing lost, nothing grows
	$(Q)$(MAKE) --no-print-directory programs $(TEST_SERVER)
	$(Q)BUILD=$(BUILD) SOAK_SECONDS=$(SOAK_SECONDS) tests/soak/run

planted: deps-planted deps-lint ## plant each bug of tests/planted, and see it caught
	$(Q)$(MAKE) --no-print-directory test-programs
	$(Q)BUILD=$(BUILD) tests/planted/run

# BENCH: workloads and options, as `bench/run --help` says; RESULTS: a file for the table, too.
bench: deps-bench ## the benchmarks against their peers within ten minutes, a table
	$(Q)$(MAKE) --no-print-directory programs $(HELP_BINS) bench-programs
	$(Q)BUILD=$(BUILD) bench/run $(if $(RESULTS),--results $(RESULTS)) $(BENCH)

bench-full: RESULTS ?= bench/RESULTS.md
bench-full: deps-bench ## all of them, with every peer, into bench/RESULTS.md: half an hour
	$(Q)$(MAKE) --no-print-directory programs $(HELP_BINS) bench-programs
	$(Q)BUILD=$(BUILD) bench/run --full --results $(RESULTS) $(BENCH)

SOURCES := $(wildcard archive/*.[ch] workers/*.[ch] daemon/*.[ch] tools/*.[ch] tests/*/*.[ch] bench/*.[ch] bench/*/*.[ch])
lint: deps-lint deps-planted ## format, both compilers with -Werror, clang-tidy, the rooms' includes, stale patches
	$(Q)tests/lint $(SOURCES)
	$(Q)tests/planted/run --check
	$(Q)$(MAKE) --no-print-directory test-programs bench-programs WERROR=1 CC=gcc BUILD=$(BUILD)/lint-gcc
	$(Q)$(MAKE) --no-print-directory test-programs bench-programs WERROR=1 CC=clang BUILD=$(BUILD)/lint-clang

fmt: ## format the sources in place
	clang-format -i $(SOURCES)

# Type=notify-reload came with systemd 253.
RELOADS  = $(shell pkg-config --atleast-version=253 libsystemd && echo yes)
UNIT_TYPE = $(if $(RELOADS),Type=notify-reload,Type=notify\nExecReload=/bin/sh -c "kill -HUP $$MAINPID")
PLACE    = $(DESTDIR)$(PREFIX)

man: $(MAN) ## build the manual's pages in $(BUILD)/man

ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
COMPLETIONS = $(PLACE)/share/bash-completion/completions

install: programs man ## install under DESTDIR and PREFIX; starts nothing, makes no user
	install -D -m 0755 $(BUILD)/mailcask $(PLACE)/bin/mailcask
	install -D -m 0755 $(BUILD)/mailcaskd $(PLACE)/sbin/mailcaskd
	for n in 1 5 7 8; do \
	    install -d $(PLACE)/share/man/man$$n && install -m 0644 $(BUILD)/man/*.$$n $(PLACE)/share/man/man$$n || exit 1; \
	done
	install -D -m 0644 tools/completion/mailcask.bash $(COMPLETIONS)/mailcask
	ln -sf mailcask $(COMPLETIONS)/mailcaskd
	install -D -m 0644 tools/completion/_mailcask $(DESTDIR)$(ZSHDIR)/_mailcask
	install -D -m 0644 daemon/package/mailcask.sysusers $(PLACE)/lib/sysusers.d/mailcask.conf
	install -D -m 0644 daemon/package/mailcask.tmpfiles $(PLACE)/lib/tmpfiles.d/mailcask.conf
	install -D -m 0644 daemon/package/mailcask.conf $(PLACE)/share/doc/mailcask/examples/mailcask.conf
	install -m 0644 daemon/package/mailcask-alerts.yml $(PLACE)/share/doc/mailcask/examples/mailcask-alerts.yml
	install -d $(PLACE)/lib/systemd/system
	sed -e 's,@SBINDIR@,$(PREFIX)/sbin,' -e 's,@TYPE@,$(UNIT_TYPE),' \
	    daemon/package/mailcaskd.service.in >$(PLACE)/lib/systemd/system/mailcaskd.service
	chmod 0644 $(PLACE)/lib/systemd/system/mailcaskd.service

deb: ## build a Debian package under $(BUILD)/deb, and check it
	@tests/install-deps $(DEPS_BUILD) $(DEPS_DEB)
	$(Q)rm -rf $(BUILD)/deb && mkdir -p $(BUILD)/deb/mailcask
	$(Q)cp -R Makefile README.md CHANGELOG.md archive workers daemon tools $(BUILD)/deb/mailcask
	$(Q)mv $(BUILD)/deb/mailcask/daemon/package/debian $(BUILD)/deb/mailcask/debian
	$(Q)sed -e 's/@VERSION@/$(VERSION)/' -e "s/@DATE@/$$(date -R -r CHANGELOG.md)/" \
	    daemon/package/debian/changelog >$(BUILD)/deb/mailcask/debian/changelog
	$(Q)cd $(BUILD)/deb/mailcask && dpkg-buildpackage -us -uc -b
	lintian --fail-on error,warning --tag-display-limit 0 $(BUILD)/deb/mailcask_$(VERSION)_*.changes

deb-test: deb ## install, upgrade, run, remove and purge the package in a machine of its own (root)
	@tests/install-deps $(DEPS_DEBTEST)
	$(Q)BUILD=$(BUILD) tests/deb $(BUILD)/deb/mailcask_$(VERSION)_*.deb

clean: ## remove what was built
	rm -rf $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

-include $(shell find $(BUILD)/obj $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)
