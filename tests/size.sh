#!/bin/sh
# size.sh BUILD: checks what the library adds to a program: at most 160 KiB as a shared library, at most 150 KiB of a
# program linked with the archive, without any linker flag. It also checks that no code can panic, so that a fault of
# the library cannot print, end the program or unwind into C: the object refers only to functions of C.
set -eu

build=${1:-build}
: "${CC:=cc}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

size() { wc -c <"$1" | tr -d ' '; }
fail() { echo "size: $*" >&2; exit 1; }

cp "$build/libmux.so" "$work/libmux.so"
strip "$work/libmux.so"
shared=$(size "$work/libmux.so")

cat >"$work/without.c" <<'C'
#include <stdio.h>
int main(void) { puts("mux"); return 0; }
C
cat >"$work/with.c" <<'C'
#include <stdio.h>
#include <mux.h>
int main(void) { static Mux m; void *p; muxinit(&m); muxprocs(&m); p = muxrpc(&m, &m);
	muxrpccanfinish(muxrpcstart(&m, &m), &p); puts("mux"); return p != NULL; }
C
$CC -O2 -o "$work/without" "$work/without.c"
$CC -O2 -Iinclude -o "$work/with" "$work/with.c" "$build/libmux.a" -pthread
strip "$work/with" "$work/without"
growth=$(($(size "$work/with") - $(size "$work/without")))

echo "size: libmux.so $((shared / 1024)) KiB stripped; a program grows by $((growth / 1024)) KiB"
[ "$shared" -le $((160 * 1024)) ] || fail "the shared library is larger than 160 KiB"
[ "$growth" -le $((150 * 1024)) ] || fail "a program grows by more than 150 KiB"

# The names of Rust's functions are mangled; __rust_no_alloc_shim is a mark of the allocator, and is defined in the
# archive itself.
nm "$build/libmux.a" 2>/dev/null | awk '$1 == "U" { print $2 }' | sort -u >"$work/undefined"
nm "$build/libmux.a" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u >"$work/defined"
rust=$(comm -23 "$work/undefined" "$work/defined" | grep -E '^_R|^_ZN|rust' || true)
[ -z "$rust" ] || fail "the object refers to Rust's runtime:
$rust"
echo "size: the object refers only to C functions"
