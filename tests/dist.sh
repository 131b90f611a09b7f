#!/bin/sh
# dist.sh BUILD: the tarball of `make dist` builds by itself: unpacked elsewhere, with no crates but its
# own, no network, no git.  Its tests and the demonstration's server find their crates too.  And made
# again from there it is the same, to the byte.
set -eu

build=$(realpath "${1:-build}")
: "${MAKE:=make}" "${CARGO:=cargo}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "dist: $*" >&2; exit 1; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$* failed"; }; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=libmux-$version
# crates for other systems are in the tarball too, and nowhere here until they are fetched
{ $CARGO fetch --locked && $CARGO fetch --locked --manifest-path examples/serve9p/Cargo.toml; } >"$work/log" 2>&1 ||
	{ cat "$work/log"; echo "dist: skipped: the crates can not be had"; exit 0; }
$MAKE -s dist B="$build"
tar -xf "$build/$name.tar.gz" -C "$work"
cd "$work/$name"

export CARGO_HOME="$work/cargo" CARGO_NET_OFFLINE=true
for manifest in Cargo.toml examples/serve9p/Cargo.toml; do
	quietly $CARGO metadata --locked --format-version 1 --manifest-path $manifest
done
# 9pmux is built so by tests/deb.sh; where that can not be, here
everything=lib
command -v dpkg-buildpackage >/dev/null || everything=all
quietly $MAKE $everything B=build
sh tests/size.sh build >/dev/null
$MAKE -s dist B=build
cmp "$build/$name.tar.gz" "build/$name.tar.gz" || fail "made again, the tarball is another"

echo "dist: $name.tar.gz, $(($(wc -c <"$build/$name.tar.gz") / 1024 / 1024)) MiB, builds offline, and is the same when made again"
