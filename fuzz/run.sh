#!/bin/sh
# run.sh SECONDS [TARGET ...]: fuzzes each target (machine, face, nine-clients, nine-server) for that time, beginning
# with the corpus; with 0 it only builds them.
#
# It needs Linux and a C++ compiler, for libFuzzer, and otherwise only the toolchain that builds the library, without
# cargo-fuzz. If rustc has no AddressSanitizer, it runs without, and prints that. A failing input is kept, and the
# command that repeats it is printed. Inputs that were found stay in BUILD/TARGET; with KEEP=1 the corpus in fuzz/corpus
# is rewritten from them, without redundant inputs. With RUNS a target ends after that number of runs. With SEED the
# runs are almost the same each time: libFuzzer also uses addresses, so their randomization is disabled, and inputs
# found by other runs are not used.
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

# rustc would warn that make, if it has started this script, does not share its jobs
unset MAKEFLAGS MFLAGS
# shellcheck source=fuzz/flags.sh
. ./flags.sh

test $# -gt 0 || set -- machine face nine-clients nine-server
for target; do
	flags_for "$target"
	RUSTFLAGS=$flags "$CARGO" build --release --locked --target "$host" --target-dir ../target/fuzz \
		--features "$features" --bin "$target"
done
# without the flags of the targets; in a directory of its own, because another run may build it at the same time
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
	program=$(realpath "../target/fuzz/$host/release/$target")
	dir=$BUILD/$target
	mkdir -p "$dir/corpus"
	if [ -n "${SEED:-}" ]; then
		# apart from the inputs found, sorted by name; libFuzzer needs them in one line
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
