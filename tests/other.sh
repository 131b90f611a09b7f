#!/bin/sh
# other.sh BUILD: the library as it is built for systems other than Linux (parking_lot, boxed tables): its unit tests
# pass, and its C libraries are made in BUILD/other.
set -eu

: "${CARGO:=cargo}" "${CC:=cc}"
mkdir -p "$1"
out=$(realpath "$1")/other
cd "$(dirname "$0")/.."
variant='--cfg mux_parking_lot --cfg mux_boxed'

# The variant is of the library alone, so its unit tests share what they depend on with all others.
mkdir -p "$out"
# shellcheck disable=SC2086 # several words
$CARGO rustc -q --locked --lib --profile test --message-format=json -- $variant >"$out/messages" ||
	{ $CARGO rustc --locked --lib --profile test -- $variant; exit 1; }
tests=$(sed -n 's/.*"name":"mux".*"executable":"\([^"]*\)".*/\1/p' "$out/messages")
[ -x "$tests" ] || { echo "other: cargo names no program" >&2; exit 1; }
"$tests" -q

# Cargo would give this archive the name of the one that is installed.
# shellcheck disable=SC2086
$CARGO rustc -q --release --locked --lib --features capi --crate-type staticlib --target-dir target/other -- $variant
sh tools/c-library.sh target/other/release/libmux.a c-tests/symbols.txt "$out"
