#!/bin/sh
# dist.sh BUILD: checks that the tarball of `make dist` builds alone: unpacked elsewhere, with only its own crates,
# without network and git. Its tests and the server of the demonstration find their crates, too. A tarball made from
# the unpacked one is identical.
set -eu

build=$(realpath "${1:-build}")
: "${MAKE:=make}" "${CARGO:=cargo}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "dist: $*" >&2; exit 1; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$* failed"; }; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=libmux-$version
# the tarball also contains crates for other systems, which have not been downloaded before
{ $CARGO fetch --locked && $CARGO fetch --locked --manifest-path examples/serve9p/Cargo.toml; } >"$work/log" 2>&1 ||
	{ cat "$work/log"; echo "dist: skipped: the crates cannot be downloaded"; exit 0; }
$MAKE -s dist B="$build"
tar -xf "$build/$name.tar.gz" -C "$work"
cd "$work/$name"
large=$(find vendor/winapi* vendor/windows* -size +100k ! -name Cargo.toml)
[ -z "$large" ] || fail "crates for Windows have contents: $large"

export CARGO_HOME="$work/cargo" CARGO_NET_OFFLINE=true
for manifest in Cargo.toml examples/serve9p/Cargo.toml; do
	quietly $CARGO metadata --locked --format-version 1 --manifest-path $manifest
done
# tests/deb.sh builds 9pmux in this way; where it cannot, it is built here
everything=lib
command -v dpkg-buildpackage >/dev/null || everything=all
quietly $MAKE $everything B=build
sh tests/size.sh build >/dev/null
$MAKE -s dist B=build
cmp "$build/$name.tar.gz" "build/$name.tar.gz" || fail "the tarball made again differs"

echo "dist: $name.tar.gz, $(($(wc -c <"$build/$name.tar.gz") / 1024 / 1024)) MiB, builds offline, and is identical when made again"
