# libmux and 9pmux. README.md has the first commands, CONTRIBUTING.md the loop for changes.
#
#	make            build/libmux.a, build/libmux.so, build/9pmux and its completions
#	make setup      install the tools that demo and check use (apt as root; otherwise prints what to install)
#	make demo       show libmux and 9pmux at work with real 9P servers
#	make test       the quick tests, at most a minute
#	make check      all tests; make check-long more, before a release
#	make install    see README.md; also PREFIX, DESTDIR, LIBDIR, or PLAN9=dir with 9PSERVE=1

PREFIX = /usr/local
LIBDIR = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
UNITDIR = $(PREFIX)/lib/systemd/system
DATADIR = $(PREFIX)/share
DESTDIR =

CC = cc
CFLAGS = -O2 -g
CARGO = cargo
INSTALL = install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME = libmux.so.1
REAL = libmux.so.$(VERSION)

B = build
# Where the completions of each shell are installed.
SHELL_bash = bash-completion/completions/9pmux
SHELL_zsh = zsh/site-functions/_9pmux
SHELL_fish = fish/vendor_completions.d/9pmux.fish
SHELLS = bash zsh fish
COMPLETIONS = $(SHELLS:%=$(B)/completions/%)
WARN = -std=gnu99 -Wall -Wextra
EXAMPLES = first-call 9cat select-loop procs deadline

all: lib $(B)/9pmux $(COMPLETIONS)
lib: $(B)/libmux.a $(B)/libmux.so

# --- the libraries

RUST := Cargo.toml Cargo.lock build.rs $(shell find src -name '*.rs')

# Created first, because two cargos that start at the same time would both try to create it.
target/release/libmux.a: $(RUST)
	@mkdir -p target
	$(CARGO) rustc --release --locked --lib --features capi --crate-type staticlib
	@touch $@

$(B)/libmux.a $(B)/libmux.so: $(B)/made ;
$(B)/made: target/release/libmux.a tools/c-library.sh c-tests/symbols.txt
	CC='$(CC)' sh tools/c-library.sh target/release/libmux.a c-tests/symbols.txt $(B)
	ln -sf libmux.so $(B)/$(SONAME)
	@touch $@

# --- 9pmux

NINE := $(RUST) $(shell find 9pmux -name '*.rs' -o -name Cargo.toml)

target/release/9pmux: $(NINE)
	@mkdir -p target
	$(CARGO) build --release --locked -p ninepmux --bin 9pmux
	@touch $@

target/release/examples/load: $(NINE) target/release/9pmux
	$(CARGO) build --release --locked -p ninepmux --example load
	@touch $@

$(B)/9pmux: target/release/9pmux
	@mkdir -p $(B)
	cp $< $@

$(B)/completions/%: $(B)/9pmux
	@mkdir -p $(@D)
	$< completions $* >$@

header:
	MUX_WRITE_HEADER=1 $(CARGO) test --locked --test header

# --- examples, and the server for the demonstration

examples: $(EXAMPLES:%=$(B)/%)

$(B)/%: examples/%.c $(wildcard examples/*.h) include/mux.h $(B)/libmux.a
	$(CC) $(CFLAGS) $(WARN) -Iinclude -o $@ $< $(B)/libmux.a -pthread

$(B)/serve9p: examples/serve9p/Cargo.toml examples/serve9p/Cargo.lock $(wildcard examples/serve9p/src/*.rs examples/serve9p/src/*/*.rs)
	$(CARGO) build --release --locked --manifest-path examples/serve9p/Cargo.toml --target-dir target/serve9p
	@mkdir -p $(B)
	cp target/serve9p/release/serve9p $@

$(B)/tree9p: $(B)/serve9p
	cp target/serve9p/release/tree9p $@

NVIM_EXAMPLES = msgpack-rpc async

$(NVIM_EXAMPLES:%=$(B)/%): $(B)/%: examples/%.rs examples/neovim/mod.rs $(RUST)
	$(CARGO) build --locked --example $*
	@mkdir -p $(B)
	cp target/debug/examples/$* $@

# A server that could not be installed is left out, and the demonstration reports this.
demo:
	-$(MAKE) setup FOR=demo
	$(MAKE) show-demo
# The Neovim examples are built only where Neovim is installed.
show-demo: all examples $(B)/serve9p $(if $(shell command -v nvim),$(NVIM_EXAMPLES:%=$(B)/%))
	BUILD=$(B) sh examples/demo.sh

# The only target that installs anything on the system. check-msrv and check-9pmux-peers fetch files too, which they
# keep below target/ and build/. FOR selects the tools: demo, check, long, bench or plots.
FOR = check
setup:
	sh tools/setup.sh $(FOR)

include make/tests.mk
include make/install.mk
include make/bench.mk
include make/release.mk

clean:
	rm -rf $(B)
	$(CARGO) clean

.PHONY: all lib header examples demo show-demo setup clean
