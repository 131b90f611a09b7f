# Tests. `make test` is the quick loop, `make check` must pass before a change lands, and
# `make check-long` is run before a release. tests/README.md says where a test belongs.

# --- the quick loop: installs nothing, at most 60 seconds when it is warm

# Each of these needs seconds.
SLOW_C_TESTS = faults.% callbacks.% release.% signals.% soak.% stress.%

test: lib
	$(CARGO) test -q --locked --workspace
	$(C_TESTS) check MODES=native LINKS=static SCRIPTS= WITHOUT='$(SLOW_C_TESTS)'
	sh tests/faults/run.sh --fit
	sh tests/docs.sh

# One suite of C tests; the variables after it select the modes and the programs.
C_TESTS = $(MAKE) -s -C c-tests LIBDIR=../$(B) BUILD=../$(B)/c-tests CC='$(CC)'

# --- required before a change lands: lint and check

CLIPPY = $(CARGO) clippy -q --locked
lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/model/Cargo.toml --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CLIPPY) --workspace --all-targets -- -D warnings
	$(CLIPPY) --lib --features capi -- -D warnings
	$(CLIPPY) -p ninepmux --no-default-features --lib -- -D warnings
	$(CLIPPY) --manifest-path tests/model/Cargo.toml --target-dir target/model --bins -- -D warnings
	RUSTFLAGS='--cfg mux_fuzz' $(CLIPPY) --all-features --manifest-path fuzz/Cargo.toml --target-dir target/fuzz-lint -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc -q --locked --workspace --no-deps

# The parts run two at a time. Each begins when the parts whose products it uses have ended, and prints its duration. The
# output of a part is printed when it ends. A part does not inherit the job server, because most of its programs cannot use it.
CHECK = check-builds check-rust check-msrv check-model check-sanitizers check-c check-fuzz check-faults-quick check-results \
	check-other check-cross-quick check-9pmux-peers check-demo
TIMES = $(B)/times
check:
	$(MAKE) setup FOR=check
	@rm -f $(TIMES)
	$(MAKE) -j2 -Orecurse --no-print-directory $(CHECK:%=timed-%)
	@sh tests/timed.sh --sum $(TIMES)

$(CHECK:%=timed-%): timed-%:
	@MAKEFLAGS='$(filter-out -j% -O% --jobserver%,$(MAKEFLAGS))' sh tests/timed.sh $(TIMES) $* $(MAKE) $*
timed-check-c: timed-check-builds
timed-check-results timed-check-9pmux-peers timed-check-demo: timed-check-rust timed-check-builds
timed-check-9pmux-peers timed-check-demo: export PEERS = all
# These share a directory of cargo's.
timed-check-other: timed-check-rust
timed-check-faults-quick: timed-check-rust timed-check-model
timed-check-cross-quick: timed-check-msrv

# The products that several parts use.
check-builds: all examples $(B)/serve9p $(B)/tree9p $(B)/bench/ours $(B)/bench/shared target/release/examples/load

# Unit tests, process tests, and a million simulation steps of the 9P engine.
NINE_STEPS = 1000000
check-rust:
	MUX_STEPS=$(NINE_STEPS) $(CARGO) test -q --locked --workspace
	sh tests/faults/run.sh --fit

# The C tests with threads and coroutines, natively. memcheck runs only the programs that fail allocations or end a Mux,
# in which it can find more than the sanitizers; check-long runs all of them.
VALGRIND_TESTS = badinput nomem release dropped
check-c: lib
	$(C_TESTS) check MODES='native oneproc'
	$(C_TESTS) check MODES=valgrind LINKS=static SCRIPTS= ONLY='$(VALGRIND_TESTS:%=%.%)'

# The library as it is built for systems other than Linux. The tests that are left out are slow, or fork: parking_lot works
# neither without memory nor after a fork.
check-other:
	CC='$(CC)' CARGO='$(CARGO)' sh tests/other.sh $(B)
	$(MAKE) -s -C c-tests check LIBDIR=../$(B)/other BUILD=../$(B)/other/c-tests CC='$(CC)' MODES=native LINKS=static SCRIPTS= \
		WITHOUT='$(SLOW_C_TESTS) forked.%'

# With exactly the minimum Rust of Cargo.toml.
check-msrv:
	CC='$(CC)' CARGO='$(CARGO)' sh tests/msrv.sh $(B) || test $$? -eq 77

# Other architectures, and musl, compiled with Rust 1.85; docs/platforms.md lists what ran. Not part of
# check-long, because of its duration; the C tests on i686 are part of check.
CROSS = aarch64 armv7 i686 s390x musl
check-cross:
	$(MAKE) setup FOR=cross
	for a in $(CROSS); do CARGO='$(CARGO)' sh tests/cross.sh $$a $(B) || exit 1; done
check-cross-quick:
	LINKS=static WITHOUT='$(SLOW_C_TESTS)' CARGO='$(CARGO)' sh tests/cross.sh i686 $(B) c || test $$? -eq 77

# Other systems, compiled with Rust 1.85; nothing is run.
check-systems:
	$(MAKE) setup FOR=cross
	CARGO='$(CARGO)' sh tests/systems.sh

# The real source under two model checkers, for about a minute.
check-model:
	CARGO='$(CARGO)' sh tests/model/run.sh short

# Each seeded fault must be found by each finder that its patch names. The quick variant checks four of them with the model
# checkers.
FAULTS = CARGO='$(CARGO)' BUILD=$(B) sh tests/faults/run.sh
check-faults:
	$(FAULTS)
check-faults-quick:
	$(FAULTS) --quick

check-sanitizers:
	sh tests/sanitize.sh address $(B) quick
	sh tests/sanitize.sh thread $(B) quick

# The same inputs in each run.
FUZZ = CARGO='$(CARGO)' BUILD=../$(B)/fuzz sh fuzz/run.sh
check-fuzz:
	SEED=1 RUNS=10000 $(FUZZ) 120

# The files that are built and installed, and the documents.
check-results: all
	sh tests/size.sh $(B)
	CC='$(CC)' CARGO='$(CARGO)' sh tests/rust-crate.sh
	CARGO='$(CARGO)' sh tests/api.sh
	CARGO='$(CARGO)' sh tests/package.sh
	CC='$(CC)' sh tests/two-archives.sh $(B)
	sh tests/docs.sh
	sh tests/start.sh
	sh tests/bench.sh $(B)
	sh tests/instructions.sh $(B)
	sh tests/manual.sh $(B)
	sh tests/install.sh $(B)
	sh tests/plan9port.sh
	sh tests/abi.sh
	sh tests/dist.sh $(B)

# Licences and sources of the dependencies. Needs cargo-deny (cargo install cargo-deny); not part of check.
check-licences:
	for m in Cargo.toml fuzz/Cargo.toml tests/model/Cargo.toml examples/serve9p/Cargo.toml; do \
		$(CARGO) deny --locked --all-features --workspace --config deny.toml --manifest-path $$m check bans licenses sources || exit 1; done

# The Rust API beside that of the last release, or of the revision BASE. Needs cargo-semver-checks; not part of check.
BASE =
check-semver:
	CARGO='$(CARGO)' sh tests/semver.sh $(BASE) || test $$? -eq 77

# 9pmux between servers and clients of other projects; PEERS=all fails if one of them is missing.
check-9pmux-peers: $(B)/9cat $(B)/tree9p $(B)/9pmux
	sh 9pmux/tests/peers.sh $(B)

# Linux's own client in a virtual machine; a part of check-long.
check-kernel long-kernel: $(B)/serve9p $(B)/9pmux
	CC='$(CC)' sh tests/kernel.sh $(B) || test $$? -eq 77

# The demonstration, with short files.
check-demo: all examples $(B)/serve9p $(NVIM_EXAMPLES:%=$(B)/%)
	BUILD=$(B) MB=2 sh examples/demo.sh

# --- before a release

LONG = long-valgrind long-sanitizers long-model long-simulation long-faults long-fuzz long-kernel long-deb
check-long:
	$(MAKE) setup FOR=long
	$(MAKE) check
	for part in $(LONG); do $(MAKE) $$part || exit 1; done

long-valgrind: lib
	$(C_TESTS) check MODES=valgrind SCRIPTS=
long-sanitizers: lib
	sh tests/sanitize.sh address $(B)
	sh tests/sanitize.sh thread $(B)
long-model:
	CARGO='$(CARGO)' sh tests/model/run.sh long
long-simulation:
	MUX_STEPS=500000000 $(CARGO) test --locked --release -p ninepmux --lib --config profile.release.debug-assertions=true simulation
long-faults: check-faults
# Begins with the corpus and makes new inputs in each run. KEEP=1 replaces the corpus by the inputs that were found.
FUZZ_SECONDS = 3600
long-fuzz fuzz:
	$(FUZZ) $(FUZZ_SECONDS)
long-deb:
	sh tests/deb.sh $(B)

# Ten minutes of each kind of program, which checks that memory, descriptors and threads do not grow.
SOAK_SECONDS = 600
soak: all
	$(C_TESTS) soak SOAK_SECONDS=$(SOAK_SECONDS)

coverage:
	CARGO='$(CARGO)' sh tests/coverage.sh $(B)

.PHONY: test lint check $(CHECK) $(CHECK:%=timed-%) check-cross check-systems check-faults check-kernel check-licences check-semver check-long $(LONG) fuzz soak coverage
