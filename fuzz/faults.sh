#!/bin/sh
# faults.sh [SECONDS]: the fuzzers find faults. Each of these is put into a copy of the library, or of 9pmux, and
# the targets that have to find it run, from nothing, for so long at most. It prints what each needed
# (docs/fuzzing.md), and fails unless all of them have found it.
set -eu

seconds=${1:-300}
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
: "${CARGO:=cargo}"
targets=$PWD/target
# shellcheck source=fuzz/flags.sh
. fuzz/flags.sh

missed=0

# fresh: a copy without a fault
fresh() {
	rm -rf "$copy/libmux"
	mkdir "$copy/libmux"
	cp -r Cargo.toml Cargo.lock build.rs src include docs benches 9pmux fuzz "$copy/libmux"
}

# hunt NAME TARGETS: TARGETS have to find what is in the copy
hunt() {
	# all of one kind
	flags_for "$2"
	# shellcheck disable=SC2046,SC2086 # the targets are words
	RUSTFLAGS=$flags "$CARGO" build -q --release --locked --manifest-path "$copy/libmux/fuzz/Cargo.toml" \
		--target "$host" --target-dir "$targets/$dir" --features "$features" $(printf -- '--bin %s ' $2)
	for program in $2; do
		mkdir "$copy/libmux/$program"
		begun=$(date +%s)
		"$targets/$dir/$host/release/$program" -max_total_time="$seconds" -max_len=512 -timeout=10 -seed=1 \
			-print_final_stats=1 -artifact_prefix="$copy/libmux/" "$copy/libmux/$program" \
			>"$copy/log" 2>&1 && how='not found' || how=found
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$copy/log")
		test -n "$runs" || runs=$(sed -n 's/^#\([0-9]*\).*/\1/p' "$copy/log" | tail -n 1)
		says=$(grep -a -E -A1 "panicked at|^face:|SUMMARY|libFuzzer: timeout" "$copy/log" | head -n 2 | tr '\n' ' ' | cut -c1-150)
		# it has ended otherwise than by a finding
		[ -n "$says" ] || how='not found'
		[ "$how" = found ] || missed=$((missed + 1))
		echo "$1: $program: $how, $(($(date +%s) - begun)) s, $runs runs: $says"
	done
}

# fault NAME TARGETS FILE FROM TO: the line of FILE that holds FROM has TO in its place; TARGETS have to find that
fault() {
	fresh
	F=$4 T=$5 awk 'BEGIN { f = ENVIRON["F"]; t = ENVIRON["T"] }
		!done && (i = index($0, f)) { $0 = substr($0, 1, i - 1) t substr($0, i + length(f)); done = 1 }
		{ print } END { exit !done }' "$3" >"$copy/mutant" || { echo "faults: $1: $3 has no '$4'" >&2; exit 1; }
	cp "$copy/mutant" "$copy/libmux/$3"
	hunt "$1" "$2"
}

# nine TARGETS PATCH...: the same with each of the faults in 9pmux/faults, which the simulation has to find too
nine() {
	finders=$1
	shift
	for patch; do
		fresh
		# no fuzz: one that does not fit any more is to be made anew
		patch -s -F 0 -d "$copy/libmux/9pmux" -p 1 <"9pmux/faults/$patch.patch"
		hunt "$(head -n 1 "9pmux/faults/$patch.patch")" "$finders"
	done
}

fault 'the tag is free at once when a call is given up' 'machine face' src/core/deadline.rs \
	'            call.stage = Stage::GivenUp;' \
	'            call.stage = Stage::GivenUp; if let Some(tag) = call.tag { self.tags.give_back(tag); }'
fault 'an early reply is lost when send fails' 'machine face' src/core/sending.rs \
	'let over = call.reply.is_some();' \
	'let over = call.reply.is_some() && result.is_ok(); if !over { call.reply = None; }'
fault 'the role is lost when the muxer is late' 'machine face' src/core/deadline.rs \
	'self.stats.errors += 1;' \
	'self.stats.errors += 1; if self.muxer == Muxer::Call(id.0) { self.despair(); return Step::TimedOut; }'
fault 'an orphan is delivered twice' face src/rpc/mod.rs \
	'self.transport.orphan(orphan);' \
	'let twice = unsafe { std::ptr::read(&orphan) }; self.transport.orphan(twice); self.transport.orphan(orphan);'
fault 'the sender of a batch forgets the failure of the first' face src/rpc/batching.rs \
	'answer = result;' 'let _ = result;'
nine 'nine-clients nine-server' tag-free-at-reply held-not-told
nine nine-clients flush-overtakes-flush afid-for-any-aname gone-not-clunked
fault 'a driver is not told that a client may be read again' nine-clients 9pmux/src/engine/arriving.rs \
	'if gone > 0 {' 'if gone > usize::MAX / 2 {'

[ "$missed" -eq 0 ] || { echo "faults: $missed not found" >&2; exit 1; }
