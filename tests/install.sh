#!/bin/sh
# install.sh BUILD: make install into an empty directory; a program compiled with nothing but pkg-config,
# shared and static; the installed 9pmux before a server, where BUILD has one; uninstall leaves no file. PLAN9 in the environment
# is ignored, because every user of plan9port sets it there (tests/plan9port.sh has the tree of plan9port).
set -eu

build=${1:-build}
: "${CC:=cc}" "${MAKE:=make}"
work=$(mktemp -d)
started=
trap '[ -z "$started" ] || kill $started 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
dest=$work/dest
fail() { echo "install: $*" >&2; exit 1; }
left() { find "$1" ! -type d; }

PLAN9=$work/theirs
export PLAN9
mkdir -p "$PLAN9/lib" "$PLAN9/include"

$MAKE -s install DESTDIR="$dest" PREFIX=/opt/mux
for file in lib/libmux.a lib/libmux.so lib/libmux.so.1 include/mux.h lib/pkgconfig/mux.pc \
	share/man/man3/mux.3 bin/9pmux share/man/man1/9pmux.1 share/bash-completion/completions/9pmux \
	share/zsh/site-functions/_9pmux share/fish/vendor_completions.d/9pmux.fish \
	lib/systemd/system/9pmux@.socket lib/systemd/system/9pmux@.service; do
	[ -s "$dest/opt/mux/$file" ] || fail "no $file"
done

cat >"$work/call.c" <<'C'
#include <mux.h>
#include <stdio.h>
static void *wire;
static int settag(Mux *m, void *p, unsigned tag) { (void)m; *(unsigned *)p = tag; return 0; }
static int gettag(Mux *m, void *p) { (void)m; return (int)*(unsigned *)p; }
static int tosend(Mux *m, void *p) { (void)m; wire = p; return 0; }
static void *torecv(Mux *m) { (void)m; return wire; }
int
main(void)
{
	static Mux m;
	unsigned message = 0;

	m.mintag = 5;
	m.maxtag = 6;
	m.send = tosend;
	m.recv = torecv;
	m.gettag = gettag;
	m.settag = settag;
	muxinit(&m);
	if (muxrpc(&m, &message) != &message || message != 5)
		return 1;
	puts("called");
	return 0;
}
C
export PKG_CONFIG_PATH="$dest/opt/mux/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$dest"
# shellcheck disable=SC2046 # flags are words
$CC -o "$work/shared" "$work/call.c" $(pkg-config --cflags --libs mux)
LD_LIBRARY_PATH="$dest/opt/mux/lib" "$work/shared" >/dev/null || fail "the shared program"
readelf -d "$work/shared" | grep -q 'libmux\.so\.1' || fail "the program does not ask for libmux.so.1"
# shellcheck disable=SC2046
$CC -static -o "$work/static" "$work/call.c" $(pkg-config --static --cflags --libs mux)
"$work/static" >/dev/null || fail "the static program"

# 9pmux: it runs, its completions are bash's, and it serves what a server has
ninepmux=$dest/opt/mux/bin/9pmux
"$ninepmux" --version | grep -q '^9pmux [0-9]' || fail "9pmux does not print its version"
if command -v bash >/dev/null; then
	bash -n "$dest/opt/mux/share/bash-completion/completions/9pmux" || fail "bash does not accept the completions"
fi
units=', systemd-analyze is not there'
if command -v systemd-analyze >/dev/null; then
	mkdir "$work/units"
	cp "$dest/opt/mux/lib/systemd/system"/9pmux@.* "$work/units"
	# The program is not at its place yet.
	sed -i "s:/opt/mux/bin/:$dest/opt/mux/bin/:" "$work/units/9pmux@.service"
	grep -q "^ExecStart=$dest/opt/mux/bin/9pmux serve " "$work/units/9pmux@.service" || fail "the unit starts something else"
	SYSTEMD_UNIT_PATH="$work/units:" systemd-analyze verify --man=no "$work/units/9pmux@store.service" \
		"$work/units/9pmux@store.socket" 2>"$work/said" || fail "systemd-analyze says $(cat "$work/said")"
	! grep 9pmux "$work/said" || fail "systemd-analyze has warnings"
	units=', systemd accepts the units'
fi
served=
if [ -x "$build/serve9p" ] && [ -x "$build/9cat" ]; then
	mkdir "$work/files"
	echo "a file of the server" >"$work/files/file"
	"$build/serve9p" "$work/server" "$work/files" >"$work/log" 2>&1 &
	started=$!
	tries=0
	until [ -S "$work/server" ]; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || fail "the server does not start"
		sleep 0.1
	done
	"$ninepmux" serve --attach-once "unix!$work/server" "unix!$work/muxed" &
	mux=$!
	started="$started $mux"
	until [ -S "$work/muxed" ]; do
		kill -0 $mux || fail "the installed 9pmux does not start"
		sleep 0.1
	done
	[ "$("$build/9cat" "unix!$work/muxed" file)" = "a file of the server" ] || fail "9pmux serves something else"
	kill $mux
	wait $mux || fail "9pmux ends with status $?"
	[ ! -e "$work/muxed" ] || fail "9pmux leaves its socket"
	served=', serves'
fi

$MAKE -s uninstall DESTDIR="$dest" PREFIX=/opt/mux
[ -z "$(left "$dest")" ] || fail "uninstall leaves $(left "$dest")"

[ -z "$(left "$PLAN9")" ] || fail "into the tree that the environment names went $(left "$PLAN9")"

# each alone
$MAKE -s install-9pmux DESTDIR="$dest" PREFIX=/opt/mux
[ "$(left "$dest" | wc -l)" -eq 7 ] || fail "install-9pmux installs $(left "$dest")"
$MAKE -s uninstall-9pmux DESTDIR="$dest" PREFIX=/opt/mux
[ -z "$(left "$dest")" ] || fail "uninstall-9pmux leaves $(left "$dest")"

# files of others with our names
for file in lib/libmux.a lib/libmux.so include/mux.h bin/9pmux; do
	mkdir -p "$(dirname "$dest/opt/mux/$file")"
	echo "of another project" >"$dest/opt/mux/$file"
done
$MAKE -s uninstall DESTDIR="$dest" PREFIX=/opt/mux 2>"$work/said"
[ "$(left "$dest" | wc -l)" -eq 4 ] || fail "uninstall removes files of others, and leaves $(left "$dest")"
[ "$(grep -c 'stays, because it is not ours' "$work/said")" -eq 4 ] || fail "uninstall says $(cat "$work/said")"

echo "install: installed, linked by pkg-config, shared and static; 9pmux runs$served$units; gone again"
