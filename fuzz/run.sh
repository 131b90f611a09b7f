#!/bin/sh
# run.sh SECONDS [TARGET ...]: fuzzes each target (machine, face, nine-clients, nine-server) for so long, beginning
# with the corpus; with 0 it only builds them.
#
# What it needs is a C++ compiler, for libFuzzer, and Linux; no other toolchain than the one that builds the
# library, and no cargo-fuzz. Where rustc has no AddressSanitizer it goes without, and says so. An input
# that fails is kept, and it is said how to run it again. What has been found stays in BUILD/TARGET; with
# KEEP=1 the corpus in fuzz/corpus is made anew of it, without what adds nothing. With RUNS a target ends
# after so many runs. With SEED they are the same each time, as nearly as can be had: libFuzzer looks at addresses
# too, so these are not to be random, and what other runs have found is left where it is.
set -eu

seconds=${1:-60}
test $# -eq 0 || shift
cd "$(dirname "$0")"
: "${CARGO:=cargo}" "${BUILD:=../build/fuzz}" "${CXX:=c++}"
mkdir -p "$BUILD"
BUILD=$(realpath "$BUILD")

if [ "$(uname -s)" != Linux ]; then
	echo "# fuzz: skipped: the targets are for Linux" >&2
	exit 0
fi
if ! command -v "$CXX" >/dev/null; then
	echo "# fuzz: skipped: no C++ compiler ($CXX) to build libFuzzer with" >&2
	exit 0
fi

# rustc would warn that make, which may have started this, does not share its jobs
unset MAKEFLAGS MFLAGS
# shellcheck source=fuzz/flags.sh
. ./flags.sh

test $# -gt 0 || set -- machine face nine-clients nine-server
for target; do
	flags_for "$target"
	RUSTFLAGS=$flags "$CARGO" build --release --locked --target "$host" --target-dir "../target/$dir" \
		--features "$features" --bin "$target"
done
# without what the targets are built with; in a directory of its own, since another run may do the same just now
own=$(mktemp -d "$BUILD/corpus.XXXXXX")
rustc --edition 2024 -O -o "$own/corpus" src/corpus.rs
mv "$own/corpus" "$BUILD/corpus"
rmdir "$own"
test "$seconds" -gt 0 || exit 0

targets=$*
still=
if [ -n "${SEED:-}" ] && setarch -R true 2>/dev/null; then
	still='setarch -R'
fi
for target in $targets; do
	flags_for "$target"
	program=$(realpath "../target/$dir/$host/release/$target")
	dir=$BUILD/$target
	mkdir -p "$dir/corpus"
	if [ -n "${SEED:-}" ]; then
		# beside what has been found, in the order of their names; libFuzzer wants them in one line
		rm -rf "$dir/seeds"
		mkdir "$dir/seeds"
		"$BUILD/corpus" unpack "$dir/seeds" <"corpus/$target.hex"
		find "$dir/seeds" -type f | sort | tr '\n' ',' | sed 's/,$//' >"$dir/seeds.list"
		set -- "-seed=$SEED" -reload=0 "-seed_inputs=@$dir/seeds.list"
	else
		"$BUILD/corpus" unpack "$dir/corpus" <"corpus/$target.hex"
		set -- "$dir/corpus"
	fi
	echo "# fuzz: $target, $seconds seconds; log in $dir/log"
	touch "$dir/begun"
	if ! $still "$program" -max_total_time="$seconds" -runs="${RUNS:--1}" -max_len=512 -timeout=60 \
		-print_final_stats=1 -use_value_profile=1 -artifact_prefix="$dir/" "$@" 2>"$dir/log" >&2; then
		tail -n 60 "$dir/log" >&2
		find "$dir" -maxdepth 1 -newer "$dir/begun" -name '*-*' | while read -r found; do
			echo "# ${found##*/}, in hexadecimal:"
			od -An -v -tx1 "$found" | tr -d ' \n'
			echo
		done >&2
		echo "# fuzz: $target fails; again: $program $dir/crash-..." >&2
		exit 1
	fi
	grep -E '^#.*DONE|stat::number_of_executed|^Done' "$dir/log" | sed "s/^/# $target: /"
	if [ -n "${KEEP:-}" ]; then
		rm -rf "$dir/least"
		mkdir "$dir/least"
		"$program" -set_cover_merge=1 "$dir/least" "$dir/corpus" 2>"$dir/merge.log" >&2
		"$BUILD/corpus" pack "$dir/least" >"corpus/$target.hex"
	fi
done
