#!/bin/sh
# deb.sh BUILD: checks the packages of `make deb`: lintian finds no error; installed, they contain everything that a C
# program needs, and 9pmux runs; purged, they leave no file.
#
# They are installed into this system by root if it has no libmux; otherwise the program is linked with the unpacked
# files. On systems other than Debian and its relatives there is nothing to check.
set -eu

build=$(realpath "${1:-build}")
: "${CC:=cc}" "${MAKE:=make}" "${CARGO:=cargo}"
work=$(mktemp -d)
installed=
leave() {
	[ -z "$installed" ] || apt purge libmux1 libmux-dev 9pmux >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap leave EXIT
trap 'exit 1' HUP INT TERM
fail() { echo "deb: $*" >&2; exit 1; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$* failed"; }; }
# apt-get instead of dpkg, because it waits for another installation to end
apt() { DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 "$@"; }

for tool in apt-get dpkg-buildpackage dh lintian; do
	command -v $tool >/dev/null || { echo "deb: skipped: $tool is missing, so this is not Debian or a relative"; exit 0; }
done

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
[ "$(dpkg-parsechangelog -S Version)" = "$version" ] || fail "debian/changelog has another version than $version"
ours=$(sed -n 's/^version = "\(.*\)"/\1/p' 9pmux/Cargo.toml | head -n 1)
{
	$CARGO tree --locked --edges normal,no-proc-macro --features capi --prefix none
	$CARGO tree --locked -p ninepmux --edges normal,no-proc-macro --prefix none
} | awk '$1 != "libmux" && $1 != "ninepmux" { print $1 }' | sort -u >"$work/crates"
[ -s "$work/crates" ] || fail "cargo tree names no crates"
while read -r crate; do
	grep -q "vendor/$crate/\*" debian/copyright || fail "debian/copyright does not name $crate"
done <"$work/crates"

# as in tests/dist.sh, from which the packages are made
{ $CARGO fetch --locked && $CARGO fetch --locked --manifest-path examples/serve9p/Cargo.toml; } >"$work/log" 2>&1 ||
	{ cat "$work/log"; echo "deb: skipped: the crates cannot be downloaded"; exit 0; }
quietly $MAKE deb B="$build"
arch=$(dpkg-architecture -q DEB_HOST_ARCH)
lib=/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)
runtime=$build/libmux1_${version}_$arch.deb
dev=$build/libmux-dev_${version}_$arch.deb
program=$build/9pmux_${ours}_$arch.deb
lintian --allow-root --fail-on error "$build/deb/libmux_${version}_$arch.changes" ||
	fail "lintian reports errors"

sh man/example.sh double.c >"$work/double.c"
# works PROGRAM: checks that it prints the right result
works() {
	[ "$("$work/$1" | sort -n | head -n 1)" = "1 doubled is 2" ] || fail "the $1 program"
}

unset PKG_CONFIG_PATH PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR LD_LIBRARY_PATH
why=
[ "$(id -u)" -eq 0 ] || why="only root can install"
! pkg-config --exists mux || why="this system has a libmux"
for package in libmux1 libmux-dev 9pmux; do
	! dpkg-query -s $package >/dev/null 2>&1 || why="this system has $package"
done

if [ -n "$why" ]; then
	dpkg-deb -x "$runtime" "$work/root"
	dpkg-deb -x "$dev" "$work/root"
	dpkg-deb -x "$program" "$work/root"
	[ "$("$work/root/usr/bin/9pmux" --version)" = "9pmux $ours" ] || fail "9pmux has another version"
	$CC -I"$work/root/usr/include" -o "$work/shared" "$work/double.c" -L"$work/root$lib" -lmux -pthread
	LD_LIBRARY_PATH=$work/root$lib works shared
	echo "deb: made, and a program works with their contents; not installed: $why"
	exit 0
fi

installed=yes
quietly apt install --no-install-recommends "$runtime" "$dev" "$program"
dpkg -L libmux1 libmux-dev 9pmux >"$work/files"
[ "$(9pmux --version)" = "9pmux $ours" ] || fail "9pmux has another version"
# shellcheck disable=SC2046 # flags are words
$CC -o "$work/shared" "$work/double.c" $(pkg-config --cflags --libs mux)
works shared
library=$(ldd "$work/shared" | awk '$1 == "libmux.so.1" { print $3 }')
[ "$(realpath "$library")" = "$lib/libmux.so.$version" ] || fail "the program uses $library"
# shellcheck disable=SC2046
$CC -static -o "$work/static" "$work/double.c" $(pkg-config --static --cflags --libs mux)
works static
quietly apt purge libmux1 libmux-dev 9pmux
installed=
while read -r file; do
	[ -d "$file" ] || [ ! -e "$file" ] || fail "$file still exists after the purge"
done <"$work/files"
echo "deb: made, installed, linked by pkg-config, shared and static, and purged"
