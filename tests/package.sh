#!/bin/sh
# package.sh: the packages libmux and ninepmux can be published: cargo packs them without a warning, and what it
# packs is complete: each package builds alone, outside the source tree.
# Nothing is uploaded, and nothing is fetched.
set -eu

: "${CARGO:=cargo}"
cd "$(dirname "$0")/.."
here=$PWD
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { cat "$work/log" >&2; echo "package: $*" >&2; exit 1; }

export CARGO_NET_OFFLINE=true
# Not verified by cargo, which would compile all dependencies again.
$CARGO package --workspace --locked --allow-dirty --no-verify >"$work/log" 2>&1 || fail "cargo package fails"
! grep '^warning' "$work/log" || fail "cargo package warns"

# version MANIFEST: the version of that package
version() { sed -n 's/^version = "\(.*\)"/\1/p' "$1" | head -n 1; }
libmux=libmux-$(version Cargo.toml)
ninepmux=ninepmux-$(version 9pmux/Cargo.toml)
for package in "$libmux" "$ninepmux"; do
	tar -xzf "$target/package/$package.crate" -C "$work"
	cp Cargo.lock "$work/$package"
done

# built PACKAGE ARG...: compiles an unpacked package, with the dependencies that the source tree has compiled
built() {
	package=$1
	shift
	(cd "$work/$package" && $CARGO check --offline --target-dir "$target" "$@") >"$work/log" 2>&1
}
built "$libmux" --lib || fail "$libmux does not build alone"
built "$ninepmux" --lib --config "patch.crates-io.libmux.path='$work/$libmux'" || fail "$ninepmux does not build alone"

# It must be able to fail.
rm "$work/$libmux/examples/first-call.rs"
! built "$libmux" --lib || fail "a missing file is not noticed"

cd "$here"
echo "package: $libmux and $ninepmux are packed without a warning and build alone"
