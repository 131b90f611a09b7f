# Benchmarks; docs/results.md explains the loads and the figures.

# make bench PEER=dir/libmux.a PEER_LIBS='libraries that it needs' measures another library in turns with ours. What
# plan9port's libmux needs from libthread is emulated with plain threads, unless PEER_LIBS contains libthread.a and
# lib9.a: then the peer's callers are procs. LIBTHREAD='libthread.a lib9.a' measures both libraries in procs as well.
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

# The programs that are measured in turns, linked again at each run because the variables may have changed.
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

# Checks that the benchmark works; the figures are ignored.
bench-quick: $(b)/ours
	sh tests/bench.sh $(B)

# The Rust interface, in memory.
bench-rust:
	$(CARGO) bench --locked --bench face

# Plots and tables for docs/results.md from the last results of make bench and make bench-9pmux.
plots:
	sh benches/page.sh $(RESULTS) results.tsv
plots-9pmux:
	sh benches/page.sh $(NINE_RESULTS) 9pmux.tsv
	sh benches/page.sh $(LINK_RESULTS) link.tsv

# Rewrites benches/instructions.txt.
instructions: $(b)/shared
	sh tests/instructions.sh $(B) write

# Messages per second through 9pmux and its alternatives in one run; PEER_9PSERVE=file measures that 9pserve too.
NINE_ROUNDS = 3
NINE_SECONDS = 0.5
NINE_LOADS =
NINE_RESULTS = $(B)/bench/9pmux.tsv
LINK_RESULTS = $(B)/bench/link.tsv
bench-9pmux: target/release/examples/load
	-$(MAKE) setup FOR=bench
	@mkdir -p $(dir $(NINE_RESULTS))
	target/release/examples/load -r $(NINE_ROUNDS) -s $(NINE_SECONDS) -o $(NINE_RESULTS) $(NINE_LOADS)
	target/release/examples/load link -r $(NINE_ROUNDS) -s $(NINE_SECONDS) -o $(LINK_RESULTS)

.PHONY: bench sides bench-quick bench-rust bench-9pmux plots plots-9pmux instructions
