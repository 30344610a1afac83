# SPDX-License-Identifier: MIT
#
# One makefile for everything. Objects of variant V go to build/V:
#
#   gcc     optimised, the default       asan    address + undefined (gcc)
#   clang   optimised, clang warnings    tsan    thread sanitizer (clang)
#
# Each folder becomes one static library; runtime has two, real and sim, with
# the same interface: a program links one of them (A25).

V ?= gcc
B := build/$V

CC_gcc := gcc
CC_asan := gcc
CC_clang := clang
CC_tsan := clang
CC_fuzz := clang
CC_cross := aarch64-linux-gnu-gcc
CC := $(CC_$V)

WARN := -Wall -Wextra -Wshadow -Wvla -Walloca -Wundef -Wpointer-arith \
	-Wcast-qual -Wwrite-strings -Wmissing-prototypes \
	-Wstrict-prototypes -Wold-style-definition -Wredundant-decls \
	-Wformat=2 -Wnull-dereference -Wimplicit-fallthrough \
	-Wdate-time -Wconversion -Wno-sign-conversion -Werror
WARN_gcc := -Wduplicated-cond -Wlogical-op -Wjump-misses-init \
	-Wstack-usage=4096 -Wstringop-overflow=4
WARN_asan := -Wduplicated-cond -Wlogical-op -Wno-null-dereference \
	-Wno-maybe-uninitialized
WARN_clang := -Wthread-safety -Wunreachable-code-aggressive -Wcomma \
	-Wconditional-uninitialized -Wassign-enum -Wshorten-64-to-32 \
	-Wmissing-variable-declarations -Wextra-semi-stmt
WARN_tsan := $(WARN_clang)
WARN_fuzz := $(WARN_clang) -Wno-missing-prototypes

HARDEN := -fstack-protector-strong -fno-common -D_FORTIFY_SOURCE=2
# branch only: switching coroutine stacks rules out the CPU's shadow stacks
OPT_gcc := -O2 -fcf-protection=branch -fstack-clash-protection $(HARDEN)
OPT_clang := -O2 $(HARDEN)
OPT_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
OPT_tsan := -O1 -fsanitize=thread -fno-omit-frame-pointer
OPT_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_cross := -O2
# a hundred programs are linked
LINK_asan := -fuse-ld=gold

# our kernel-uapi comes before /usr/include/linux
VERSION := 0.1.0
CPPFLAGS := -Ikernel-uapi -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
	-DBLKGRAPH_VERSION='"$(VERSION)"'
# what reports need is lines: the rest is a quarter of a compiler's time
DEBUG := $(if $(filter asan tsan fuzz cross,$V),-g1,-g)
CFLAGS := -std=gnu11 $(DEBUG) -pthread $(WARN) $(WARN_$V) $(OPT_$V) $(EXTRA_CFLAGS)
LDFLAGS := -pthread $(LINK_$V) $(filter -fsanitize%,$(subst fuzzer-no-link$(comma),,$(OPT_$V))) \
	$(EXTRA_LDFLAGS)
comma := ,

# arm64 libraries that are not the system's
ifeq ($V,cross)
CROSS := $(shell tests/setup/cross libs)
CPPFLAGS += -isystem $(CROSS)/usr/include
LDFLAGS += -L$(CROSS)/usr/lib/aarch64-linux-gnu
endif

# one short line a command; make VERBOSE=1 shows them whole
run = $(if $(VERBOSE),,@printf '  %-3s %s\n' $1 $2;)

src = $(sort $(wildcard $(addsuffix /*.c,$1)))
obj = $(patsubst %.c,$B/%.o,$1)

RUNTIME := $(call src,runtime)
REAL := $(RUNTIME) $(call src,runtime/real)
SIM := $(RUNTIME) $(call src,runtime/sim)
GRAPH := $(call src,graph)
DRIVERS := $(call src,drivers drivers/protocol drivers/format drivers/filter \
	$(patsubst %/,%,$(sort $(dir $(wildcard drivers/*/*/*.c)))))
EXPORT := $(call src,export)
UBLK := $(call src,ublk)
FUSE := $(call src,fuse)
NBD := $(call src,nbd)
KERNEL_NBD := $(call src,kernel-nbd)
SERVER := $(filter-out server/main.c,$(call src,server))
CLI := $(call src,cli)

LIB_real := $B/libruntime-real.a
LIB_sim := $B/libruntime-sim.a
LIB_graph := $B/libgraph.a
LIB_drivers := $B/libdrivers.a
LIB_export := $B/libexport.a
LIB_ublk := $B/libublk.a
LIB_fuse := $B/libfuse.a
LIB_nbd := $B/libnbdserver.a
LIB_kernel_nbd := $B/libkernel-nbd.a
LIB_server := $B/libserver.a

LIBS_core := -ljansson -lz -lzstd
LIBS_real := -luring
LIBS_daemon := -ludev -lkmod -lgnutls -lnl-genl-3 -lnl-3

.PHONY: all
all: $B/blkgraphd $B/blkgraph

$B/%.o: %.c
	@mkdir -p $(@D)
	$(call run,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# What carries the targets is none: its branches would only hide theirs.
ifeq ($V,fuzz)
$B/runtime/%.o $B/tests/lib/%.o: CFLAGS += -fno-sanitize=fuzzer-no-link
endif

# libnl's headers are in a folder of their own
$B/kernel-nbd/%.o: CFLAGS += -isystem /usr/include/libnl3

# CUnit's assertions are blocks, so their semicolons are empty statements
$B/tests/%.o: CFLAGS += -Wno-extra-semi-stmt

$(LIB_real): $(call obj,$(REAL))
$(LIB_sim): $(call obj,$(SIM))
$(LIB_graph): $(call obj,$(GRAPH))
$(LIB_drivers): $(call obj,$(DRIVERS))
$(LIB_export): $(call obj,$(EXPORT))
$(LIB_ublk): $(call obj,$(UBLK))
$(LIB_fuse): $(call obj,$(FUSE))
$(LIB_nbd): $(call obj,$(NBD))
$(LIB_kernel_nbd): $(call obj,$(KERNEL_NBD))
$(LIB_server): $(call obj,$(SERVER))
$B/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(call run,AR,$@)$(AR) rcs $@ $^

# graph/ calls the one list of drivers, which calls graph/
group = -Wl,--start-group $1 -Wl,--end-group

$B/blkgraphd: $(call obj,server/main.c) $(LIB_server) $(LIB_ublk) $(LIB_fuse) \
		$(LIB_kernel_nbd) $(LIB_nbd) $(LIB_export) $(LIB_drivers) \
		$(LIB_graph) $(LIB_real)
	$(call run,LD,$@)$(CC) $(LDFLAGS) -o $@ $(call group,$^) \
		$(LIBS_core) $(LIBS_real) $(LIBS_daemon)

$B/blkgraph: $(call obj,$(CLI) runtime/json.c server/statelog-format.c)
	$(call run,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ -ljansson -lz

# Tests: each .c file of a folder is one program.
#   tests/unit, tests/sim   on the simulated runtime
#   tests/real              on real threads and io_uring
progs = $(patsubst %.c,$B/%,$(sort $(wildcard tests/$1/*.c)))
UNIT := $(call progs,unit)
SIMT := $(call progs,sim)
REALT := $(call progs,real)
# shared helpers of the tests: an archive, since some need the simulation
TESTLIB := $B/libtest.a
$(TESTLIB): $(call obj,$(call src,tests/lib))
# parts of the daemon that unit tests exercise without a kernel
LIBS_unit := $(LIB_server) $(LIB_ublk) $(LIB_fuse) $(LIB_nbd) \
	$(LIB_export)

$(UNIT) $(SIMT): $B/tests/%: $B/tests/%.o $(TESTLIB) $(LIBS_unit) \
		$(LIB_drivers) $(LIB_graph) $(LIB_sim)
	$(call run,LD,$@)$(CC) $(LDFLAGS) -o $@ $(call group,$^) \
		$(LIBS_core) -lcunit
$(REALT): $B/tests/%: $B/tests/%.o $(TESTLIB) $(LIB_server) $(LIB_ublk) \
		$(LIB_export) $(LIB_drivers) $(LIB_graph) $(LIB_real)
	$(call run,LD,$@)$(CC) $(LDFLAGS) -o $@ $(call group,$^) \
		$(LIBS_core) $(LIBS_real) -lcunit

# What black box tests run beside the daemon: all of it, but its main.
HELPERS := $(call progs,helper)
$(HELPERS): $B/tests/%: $B/tests/%.o $(LIB_server) $(LIB_ublk) $(LIB_fuse) \
		$(LIB_kernel_nbd) $(LIB_nbd) $(LIB_export) $(LIB_drivers) \
		$(LIB_graph) $(LIB_real)
	$(call run,LD,$@)$(CC) $(LDFLAGS) -o $@ $(call group,$^) \
		$(LIBS_core) $(LIBS_real) $(LIBS_daemon)

# Fuzzing, with V=fuzz only; all but seeds have libFuzzer's main function.
FUZZ := $(call progs,fuzz)
LDFLAGS_fuzzer := -fsanitize=fuzzer
$B/tests/fuzz/seeds: LDFLAGS_fuzzer :=
$(FUZZ): $B/tests/%: $B/tests/%.o $(TESTLIB) $(LIB_server) $(LIB_nbd) \
		$(LIB_drivers) $(LIB_graph) $(LIB_sim)
	$(call run,LD,$@)$(CC) $(LDFLAGS) $(LDFLAGS_fuzzer) -o $@ \
		$(call group,$^) $(LIBS_core)

.PHONY: fuzz-programs
fuzz-programs: $(FUZZ)

# What benchmarks measure against and what guest tests ask the kernel with:
# plain programs, nothing of ours in them.
BENCH := $(filter-out %/runtime-io %/request-path,$(call progs,bench)) \
	$(call progs,vm)
$(BENCH): $B/tests/%: $B/tests/%.o
	$(call run,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ -luring

# What the runtime costs by itself.
$B/tests/bench/runtime-io: %: %.o $(LIB_real)
	$(call run,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_real)

.PHONY: bench-programs
bench-programs: $(BENCH) $B/tests/bench/runtime-io

# What graph and drivers cost by themselves.
PATH_COUNT := $B/tests/bench/request-path
$(PATH_COUNT): %: %.o $(TESTLIB) $(LIB_server) $(LIB_export) \
		$(LIB_drivers) $(LIB_graph) $(LIB_sim)
	$(call run,LD,$@)$(CC) $(LDFLAGS) -o $@ $(call group,$^) \
		$(LIBS_core) -lcunit

# real: what runs on real threads, without the simulation
.PHONY: unit real tests
unit: $(UNIT)
real: $(REALT) $(HELPERS)
tests: $(UNIT) $(SIMT) real bench-programs $(PATH_COUNT)

.PHONY: check check-quick soak bench demo lint asan tsan
check:
	tests/check
check-quick:
	tests/check quick
soak:
	tests/check soak
bench: all bench-programs $(PATH_COUNT)
	tests/bench/run
demo:
	tests/demo
lint:
	tests/lint
asan tsan:
	$(MAKE) V=$@ all tests

# Files and the folders under PREFIX that they go to. The daemon lies beside the
# command, where the command looks for it first.
PREFIX ?= /usr/local
into = $(addprefix $1:,$2)
INSTALLED := $(call into,bin,$B/blkgraph $B/blkgraphd) \
	$(call into,lib/udev/rules.d,$(wildcard udev/*.rules)) \
	$(call into,lib/systemd/system,$(wildcard systemd/*)) \
	$(foreach m,$(wildcard Documentation/man/*.[0-9]),$(call \
		into,share/man/man$(subst .,,$(suffix $m)),$m)) \
	$(call into,share/bash-completion/completions,completion/blkgraph) \
	$(call into,share/zsh/site-functions,completion/_blkgraph) \
	$(call into,share/fish/vendor_completions.d,completion/blkgraph.fish)

.PHONY: install uninstall
install: all
	@set -e; for f in $(INSTALLED); do \
		to="$(DESTDIR)$(PREFIX)/$${f%%:*}"; f=$${f#*:}; \
		mode=644; [ ! -x $$f ] || mode=755; \
		echo "  IN  $$to/$${f##*/}"; \
		install -D -m $$mode -t "$$to" $$f; done
	@[ -n "$(DESTDIR)" ] || tests/setup/after-install "$(PREFIX)"

# What install put, and no folder: others may use those by now.
uninstall:
	@set -e; for f in $(INSTALLED); do \
		at="$(DESTDIR)$(PREFIX)/$${f%%:*}/$${f##*/}"; \
		echo "  RM  $$at"; \
		rm -f "$$at"; done
	@[ -n "$(DESTDIR)" ] || tests/setup/after-install -r "$(PREFIX)"

.PHONY: clean
clean:
	rm -rf build

.SECONDARY:
-include $(shell find $B -name '*.d' 2>/dev/null)
