#!/bin/sh
# msrv.sh BUILD: everything builds with exactly the minimum Rust that Cargo.toml states, and the unit tests pass.
#
# With that compiler (tools/rust-1.85.sh) it builds the C libraries, links and runs a C program with each of them,
# builds 9pmux and every example, and runs the unit tests of both packages. Where the compiler cannot be had it says
# so, and the exit status is 77: nothing was checked.
set -eu

: "${CC:=cc}" "${CARGO:=cargo}"
mkdir -p "$1"
out=$(realpath "$1")/msrv
cd "$(dirname "$0")/.."
fail() { echo "msrv: $*" >&2; exit 1; }

minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
[ "$(sed -n 's/^rust-version = "\(.*\)"/\1/p' 9pmux/Cargo.toml)" = "$minimum" ] || fail "the packages state two minimum versions"
status=0
environment=$(sh tools/rust-1.85.sh) || status=$?
if [ "$status" -eq 77 ]; then
	echo "msrv: SKIPPED: there is no Rust $minimum here, so the minimum version was not checked"
	[ -z "${SKIPPED:-}" ] || : >"$SKIPPED"
	exit 77
fi
[ "$status" -eq 0 ] || exit "$status"
eval "$environment"
case $("$RUSTC" --version) in
"rustc $minimum"*) ;;
*) fail "$RUSTC is $("$RUSTC" --version), not $minimum" ;;
esac

mkdir -p "$out" target
# with what tests/cross.sh builds by the same compiler
export CARGO_TARGET_DIR=target/cross
$CARGO rustc -q --release --locked --lib --features capi --crate-type staticlib
sh tools/c-library.sh target/cross/release/libmux.a c-tests/symbols.txt "$out"
ln -sf libmux.so "$out/libmux.so.1"
for example in examples/*.c; do
	program=$(basename "$example" .c)
	$CC -O2 -std=gnu99 -Iinclude -o "$out/$program" "$example" "$out/libmux.a" -pthread
	$CC -O2 -std=gnu99 -Iinclude -o "$out/$program.shared" "$example" -L"$out" -lmux -Wl,-rpath,"$out" -pthread
done
for program in first-call first-call.shared; do
	"$out/$program" | grep -q 'three: THREE' || fail "$program prints something else"
done

# With short random runs: `make check-rust` has the long ones. Tests without optimisation would take longer than the
# compiler saves.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
MUX_RUNS=200 MUX_STEPS=20000 MUX_RESTART_STEPS=5000 $CARGO test -q --locked --workspace --lib --bins --examples
$CARGO build -q --locked -p ninepmux --bin 9pmux
$CARGO build -q --locked --manifest-path examples/serve9p/Cargo.toml
target/cross/debug/9pmux --version >/dev/null || fail "9pmux does not run"
echo "msrv: the C libraries, 9pmux and the examples build with Rust $minimum; the unit tests pass"
