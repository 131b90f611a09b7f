# libmux and 9pmux: make, make demo, make check, make install.  See README.md.

PREFIX = /usr/local
LIBDIR = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
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
# where completions are installed, by the shell's name
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

# Two cargos may run at once, and each would make the directory by a name that it then changes.
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

# In a directory of its own: the library that it takes is another than the C library, and cargo has one name for both.
NINE := $(RUST) $(shell find 9pmux -name '*.rs' -o -name Cargo.toml)

target/9pmux/release/9pmux: $(NINE)
	@mkdir -p target
	$(CARGO) build --release --locked -p ninepmux --bin 9pmux --target-dir target/9pmux
	@touch $@

target/9pmux/release/examples/load: $(NINE) target/9pmux/release/9pmux
	$(CARGO) build --release --locked -p ninepmux --example load --target-dir target/9pmux
	@touch $@

$(B)/9pmux: target/9pmux/release/9pmux
	@mkdir -p $(B)
	cp $< $@

$(B)/completions/%: $(B)/9pmux
	@mkdir -p $(@D)
	$< completions $* >$@

header:
	MUX_WRITE_HEADER=1 $(CARGO) test --locked --test header

# --- examples and what they are shown against

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

# these only where their server is
demo: all examples $(B)/serve9p $(if $(shell command -v nvim),$(NVIM_EXAMPLES:%=$(B)/%))
	-sh examples/install-tools.sh diod
	BUILD=$(B) sh examples/demo.sh

# --- tests

# The library as other systems than this one would be given it, and 9pmux at its fastest with the assertions in.
OTHER = CARGO_TARGET_DIR=target/other RUSTFLAGS='--cfg mux_parking_lot --cfg mux_boxed' $(CARGO)
CHECKED = CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
	$(CARGO) test --locked --release -p ninepmux --lib --target-dir target/checked

# What the tests need of cargo, two directories at a time: in each the last crate is compiled by
# one processor.
for-check: all examples $(B)/serve9p $(NVIM_EXAMPLES:%=$(B)/%) $(B)/bench/ours $(B)/bench/shared target/9pmux/release/examples/load \
	for-check-tests for-check-checked for-check-other for-check-model for-check-fuzz for-check-fuzz-nine
for-check-tests: $(NVIM_EXAMPLES:%=$(B)/%)
	$(CARGO) test --locked --no-run
	$(CARGO) test --locked -p ninepmux --no-run
for-check-checked:
	@mkdir -p target
	$(CHECKED) --no-run
for-check-other:
	@mkdir -p target
	$(OTHER) test --locked --lib --no-run
	$(OTHER) rustc --release --locked --lib --features capi --crate-type staticlib
for-check-model:
	@mkdir -p target
	CARGO='$(CARGO)' sh tests/model/run.sh build
for-check-fuzz:
	@mkdir -p target
	CARGO='$(CARGO)' BUILD=../$(B)/fuzz sh fuzz/run.sh 0 machine face
for-check-fuzz-nine:
	@mkdir -p target
	CARGO='$(CARGO)' BUILD=../$(B)/fuzz sh fuzz/run.sh 0 nine-clients nine-server

check:
	SANITIZERS=1 sh examples/install-tools.sh
	$(MAKE) -j2 for-check
	$(CARGO) test --locked
	$(CARGO) test --locked -p ninepmux
	$(MAKE) check-9pmux NINE_STEPS=1000000
	PEERS=all $(MAKE) check-9pmux-peers
	sh 9pmux/faults.sh fit
	$(OTHER) test --locked --lib
	CC='$(CC)' sh tools/c-library.sh target/other/release/libmux.a c-tests/symbols.txt $(B)/other
	# parking_lot has memory of its own, which is never given back, and can not do without it, nor after a fork
	$(MAKE) -C c-tests check LIBDIR=../$(B)/other BUILD=../$(B)/other/c-tests CC='$(CC)' MODES=native LINKS=static SCRIPTS= \
		WITHOUT='faults.% callbacks.% soak.% signals.% forked.%'
	$(MAKE) check-model
	$(MAKE) -C c-tests check LIBDIR=../$(B) BUILD=../$(B)/c-tests CC='$(CC)' MODES='native oneproc'
	# the shared library has the same object, so one of the two is enough for what takes longest
	$(MAKE) -C c-tests check LIBDIR=../$(B) BUILD=../$(B)/c-tests CC='$(CC)' MODES=valgrind LINKS=static SCRIPTS=
	sh tests/sanitize.sh address $(B) quick
	sh tests/sanitize.sh thread $(B) quick
	# two side by side; the same runs each time
	export CARGO='$(CARGO)' BUILD=../$(B)/fuzz SEED=1 RUNS=20000; \
		sh fuzz/run.sh 120 machine nine-clients & sh fuzz/run.sh 120 face nine-server && wait $$!
	sh tests/size.sh $(B)
	sh tests/docs.sh
	sh tests/model-names.sh
	sh tests/model.sh $(B) quick
	sh tests/bench.sh $(B)
	sh tests/instructions.sh $(B)
	sh tests/manual.sh $(B)
	sh tests/install.sh $(B)
	sh tests/abi.sh
	sh tests/dist.sh $(B)
	sh tests/deb.sh $(B)
	PEERS=all BUILD=$(B) MB=2 sh examples/demo.sh

# ten minutes of each kind of program, in which nothing may grow
SOAK_SECONDS = 600
soak: all
	$(MAKE) -C c-tests soak LIBDIR=../$(B) BUILD=../$(B)/c-tests CC='$(CC)' SOAK_SECONDS=$(SOAK_SECONDS)

# Every configuration of docs/model, and every fault.
model:
	sh examples/install-tools.sh spin
	@mkdir -p $(B)
	CC='$(CC)' sh tests/model.sh $(B)

# the source under model checkers: a minute or so, and three quarters of an hour
check-model:
	CARGO='$(CARGO)' sh tests/model/run.sh short
check-model-long:
	CARGO='$(CARGO)' sh tests/model/run.sh long

# Random clients and a random server of the 9P multiplexor, so many steps, with the assertions in.
NINE_STEPS = 500000000
check-9pmux:
	MUX_STEPS=$(NINE_STEPS) $(CHECKED)

# That this finds faults, one after the other.
check-9pmux-faults:
	CARGO='$(CARGO)' sh 9pmux/faults.sh $(B)

# 9pmux between servers and clients that nobody here wrote; PEERS=all fails where one of them is missing.
check-9pmux-peers: $(B)/9cat $(B)/tree9p $(B)/9pmux
	-sh examples/install-tools.sh diod socat tshark python3-venv
	sh 9pmux/tests/peers.sh $(B)

# Messages a second through 9pmux, and what else there is, side by side; PEER_9PSERVE=file measures that too.
NINE_ROUNDS = 3
NINE_SECONDS = 0.5
NINE_LOADS =
NINE_RESULTS = $(B)/bench/9pmux.tsv
bench-9pmux: target/9pmux/release/examples/load
	-sh examples/install-tools.sh socat
	@mkdir -p $(dir $(NINE_RESULTS))
	target/9pmux/release/examples/load -r $(NINE_ROUNDS) -s $(NINE_SECONDS) -o $(NINE_RESULTS) $(NINE_LOADS)

# docs/fuzzing.md; KEEP=1 has the corpus made anew of what was found
FUZZ_SECONDS = 3600
fuzz:
	CARGO='$(CARGO)' BUILD=../$(B)/fuzz sh fuzz/run.sh $(FUZZ_SECONDS)

# that it finds faults, each of which has five minutes for each target
fuzz-faults:
	CARGO='$(CARGO)' sh fuzz/faults.sh 300

# What takes longer: the C tests under every sanitizer with both libraries, faults put into the library that
# they and memcheck must find; and how much of src the tests reach.
sanitize: all
	# the half that check leaves out
	$(MAKE) -C c-tests check LIBDIR=../$(B) BUILD=../$(B)/c-tests CC='$(CC)' MODES=valgrind LINKS=shared SCRIPTS=
	sh tests/sanitize.sh address $(B)
	sh tests/sanitize.sh thread $(B)
	sh tests/seeded.sh $(B)

coverage:
	CARGO='$(CARGO)' sh tests/coverage.sh $(B)

# --- installation

# With PLAN9=dir, into a plan9port tree: what was there is kept beside it, as libmux.a.orig and
# mux.h.orig. Only on the command line: who uses plan9port has PLAN9 in the environment anyway.
INTO_PLAN9 := $(if $(filter command,$(origin PLAN9)),$(PLAN9))
ifneq ($(INTO_PLAN9),)
install: lib
	@test -d '$(PLAN9)/lib' && test -d '$(PLAN9)/include' || \
		{ echo 'install: $(PLAN9) is not a plan9port tree' >&2; exit 1; }
	for f in lib/libmux.a include/mux.h; do \
		test ! -e '$(PLAN9)'/$$f || test -e '$(PLAN9)'/$$f.orig || cp -p '$(PLAN9)'/$$f '$(PLAN9)'/$$f.orig || exit 1; \
	done
	$(INSTALL) -m 644 $(B)/libmux.a '$(PLAN9)/lib/libmux.a'
	$(INSTALL) -m 644 include/mux.h '$(PLAN9)/include/mux.h'

uninstall:
	for f in lib/libmux.a include/mux.h; do \
		if test -e '$(PLAN9)'/$$f.orig; then mv '$(PLAN9)'/$$f.orig '$(PLAN9)'/$$f; \
		else rm -f '$(PLAN9)'/$$f; fi || exit 1; \
	done
else
install: install-lib install-9pmux
uninstall: uninstall-lib uninstall-9pmux

install-lib: lib
	$(INSTALL) -d '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(MANDIR)/man3'
	$(INSTALL) -m 644 $(B)/libmux.a '$(DESTDIR)$(LIBDIR)/libmux.a'
	strip --strip-debug '$(DESTDIR)$(LIBDIR)/libmux.a'
	$(INSTALL) -m 755 -s $(B)/libmux.so '$(DESTDIR)$(LIBDIR)/$(REAL)'
	ln -sf $(REAL) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libmux.so'
	$(INSTALL) -m 644 include/mux.h '$(DESTDIR)$(INCLUDEDIR)/mux.h'
	printf '%s\n' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' \
		'Name: mux' 'Description: protocol multiplexor' 'Version: $(VERSION)' \
		'Libs: -L$${libdir} -lmux' 'Libs.private: -pthread' 'Cflags: -I$${includedir}' \
		>'$(DESTDIR)$(LIBDIR)/pkgconfig/mux.pc'
	$(INSTALL) -m 644 man/mux.3 '$(DESTDIR)$(MANDIR)/man3/mux.3'

uninstall-lib:
	rm -f '$(DESTDIR)$(LIBDIR)/libmux.a' '$(DESTDIR)$(LIBDIR)/$(REAL)' '$(DESTDIR)$(LIBDIR)/$(SONAME)' \
		'$(DESTDIR)$(LIBDIR)/libmux.so' '$(DESTDIR)$(INCLUDEDIR)/mux.h' \
		'$(DESTDIR)$(LIBDIR)/pkgconfig/mux.pc' '$(DESTDIR)$(MANDIR)/man3/mux.3'

install-9pmux: $(B)/9pmux $(COMPLETIONS)
	$(INSTALL) -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(MANDIR)/man1'
	$(INSTALL) -m 755 -s $(B)/9pmux '$(DESTDIR)$(BINDIR)/9pmux'
	$(INSTALL) -m 644 9pmux/man/9pmux.1 '$(DESTDIR)$(MANDIR)/man1/9pmux.1'
	$(foreach shell,$(SHELLS),$(INSTALL) -D -m 644 $(B)/completions/$(shell) '$(DESTDIR)$(DATADIR)/$(SHELL_$(shell))' &&) true

uninstall-9pmux:
	rm -f '$(DESTDIR)$(BINDIR)/9pmux' '$(DESTDIR)$(MANDIR)/man1/9pmux.1' \
		$(foreach shell,$(SHELLS),'$(DESTDIR)$(DATADIR)/$(SHELL_$(shell))')
endif

# --- measuring; docs/performance.md

# make bench PEER=dir/libmux.a PEER_LIBS='what that archive needs' measures another library by turns with ours. What
# plan9port's asks of libthread is there on plain threads, unless PEER_LIBS has its libthread.a and lib9.a: then the
# peer's callers are procs. LIBTHREAD='those two' measures both libraries in procs besides.
ROUNDS = 5
SECONDS = 0.5
LOADS = *
OURS = $(B)/libmux.a
PEER =
PEER_LIBS =
LIBTHREAD = $(if $(findstring libthread,$(PEER_LIBS)),$(PEER_LIBS))
PEER_NAME = peer
RESULTS = $(B)/bench/results.tsv

b = $(B)/bench
BENCH := $(addprefix $(b)/,$(addsuffix .o,bench messages transports loops floors latency outstanding memory loads))
PEER_THREADS := $(if $(findstring libthread,$(PEER_LIBS)),libthread,pthreads)

$(b)/%.o: benches/%.c benches/bench.h include/mux.h
	@mkdir -p $(b)
	$(CC) -std=c11 -O2 -g -Wall -Wextra -Wno-missing-field-initializers -Iinclude -c -o $@ $<

$(b)/plain9.a: $(b)/plain9.o
	ar rcs $@ $<

$(b)/ours: $(BENCH) $(b)/pthreads.o $(B)/libmux.a
	$(CC) -o $@ $^ -pthread

$(b)/shared: $(BENCH) $(b)/pthreads.o $(B)/libmux.so
	$(CC) -o $@ $(BENCH) $(b)/pthreads.o -L$(B) -lmux -Wl,-rpath,$(abspath $(B)) -pthread

# what is measured by turns, linked anew each time, with whatever the variables say now
SIDES = $(b)/sides
side = $(CC) -o $(SIDES)/$(1) $(BENCH) $(b)/$(2).o $(3) -pthread -ldl -lm
sides: $(BENCH) $(addprefix $(b)/,pthreads.o libthread.o plain9.a) $(OURS)
	@rm -rf $(SIDES)
	@mkdir $(SIDES)
	$(call side,ours,pthreads,$(OURS))
	$(if $(PEER),$(call side,peer,$(PEER_THREADS),$(PEER) $(PEER_LIBS) $(b)/plain9.a))
	$(if $(LIBTHREAD),$(call side,ours-libthread,libthread,$(OURS) $(LIBTHREAD)))
	$(if $(LIBTHREAD),$(if $(PEER),$(call side,peer-libthread,libthread,$(PEER) $(LIBTHREAD))))

bench: sides
	CC='$(CC)' PEER_NAME="$(PEER_NAME)" sh benches/compare.sh -r $(ROUNDS) -s $(SECONDS) -l '$(LOADS)' -o $(RESULTS) $(SIDES)

# that it works, whatever it says
bench-quick: $(b)/ours
	sh tests/bench.sh $(B)

# over the Rust face, in memory
bench-rust:
	$(CARGO) bench --locked --bench face

# What docs/performance.md shows, of what make bench has measured, and make bench-9pmux: plots and tables, with the
# results they are of.
plots:
	sh benches/page.sh $(RESULTS) results.tsv
plots-9pmux:
	sh benches/page.sh $(NINE_RESULTS) 9pmux.tsv

# benches/instructions.txt anew
instructions: $(b)/shared
	sh tests/instructions.sh $(B) write

# --- releases

# What the next release must not break; at a release, when all is done.
abi:
	rm -f abi/mux-*.h
	cp include/mux.h abi/mux-$(VERSION).h

dist:
	@mkdir -p $(B)
	CARGO='$(CARGO)' sh tools/dist.sh $(B)

# Debian packages, of what dist has, in a tree of their own, with variables of their own.
deb: dist
	rm -rf $(B)/deb $(B)/libmux*_$(VERSION)_*.deb $(B)/9pmux_*.deb
	mkdir $(B)/deb
	tar -xf $(B)/libmux-$(VERSION).tar.gz -C $(B)/deb
	cd $(B)/deb/libmux-$(VERSION) && MAKEFLAGS= dpkg-buildpackage -b -us -uc
	rm -rf $(B)/deb/libmux-$(VERSION)
	cp $(B)/deb/*.deb $(B)

clean:
	rm -rf $(B)
	$(CARGO) clean


.PHONY: for-check for-check-tests for-check-checked for-check-other for-check-model for-check-fuzz for-check-fuzz-nine all lib install-lib uninstall-lib install-9pmux uninstall-9pmux header examples demo check soak sanitize coverage bench bench-rust plots plots-9pmux instructions bench-quick sides install uninstall abi dist deb model check-model check-model-long check-9pmux check-9pmux-faults check-9pmux-peers bench-9pmux fuzz fuzz-faults clean
