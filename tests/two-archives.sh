#!/bin/sh
# two-archives.sh BUILD: a program can be linked with libmux.a and with another static library of the
# same Rust compiler, in either order.  Both contain Rust's allocator, under the same names.
set -eu

build=${1:-build}
: "${CC:=cc}" "${RUSTC:=rustc}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "two-archives: $*" >&2; exit 1; }

cat >"$work/other.rs" <<'R'
#[no_mangle]
pub extern "C" fn other() -> i32 {
    let mut v = Vec::new();
    for n in 1..=std::hint::black_box(8) {
        v.push(n);
    }
    let mut zeroed = vec![0; std::hint::black_box(64)];
    zeroed[0] = v.iter().sum();
    zeroed[0]
}
R
cat >"$work/main.c" <<'C'
#include <stdlib.h>
#include <mux.h>
int other(void);
static int settag(Mux *m, void *v, unsigned int tag) { (void)m; *(unsigned int*)v = tag; return 0; }
static int gettag(Mux *m, void *v) { (void)m; return (int)*(unsigned int*)v; }
static unsigned int *sent;
static int put(Mux *m, void *v) { (void)m; sent = v; return 0; }
static void *take(Mux *m) { (void)m; return sent; }
int main(void)
{
	static Mux m = { .mintag = 1, .maxtag = 100, .send = put, .recv = take, .gettag = gettag, .settag = settag };
	unsigned int request;

	muxinit(&m);
	if(muxrpc(&m, &request) != &request)
		return 1;
	if(other() != 36)
		return 2;
	muxfree(&m);
	return 0;
}
C
"$RUSTC" --edition 2021 -O --crate-type staticlib --crate-name other -o "$work/libother.a" "$work/other.rs"
# The names contain a hash of the compiler, so with another compiler this test could not fail. libmux.a no longer
# has them if nothing in it uses them, so cargo's archive is compared.
allocator() { nm "$1" 2>/dev/null | awk 'NF == 3 && $3 ~ /__rust_realloc$/ { print $3 }' | sort -u; }
name=$(allocator "$work/libother.a")
[ -n "$name" ] || fail "the other library does not define Rust's allocator"
[ "$(allocator "${CARGO_TARGET_DIR:-target}/release/libmux.a")" = "$name" ] || fail "libmux.a was built by another compiler than $RUSTC"

# both NAME ARCHIVE ARCHIVE: links and runs the program
both() {
	$CC -O2 -Iinclude -o "$work/$1" "$work/main.c" "$2" "$3" -pthread -lgcc_s -ldl -lm 2>"$work/log" || {
		head -n 20 "$work/log" >&2
		fail "$1: the program cannot be linked"
	}
	"$work/$1" || fail "$1: the program returns $?"
}

both libmux-first "$build/libmux.a" "$work/libother.a"
both libmux-last "$work/libother.a" "$build/libmux.a"
echo "two-archives: a program works with libmux.a before and after another Rust library"
