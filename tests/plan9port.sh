#!/bin/sh
# plan9port.sh: `make install PLAN9=tree` survives the tree's own build, and `make uninstall` gives every byte back.
#
# The tree is a small imitation: two libraries and a program, built by rules of the kind that plan9port's
# mkfiles have (an archive that is updated member by member, targets clean, nuke, all and install that descend into
# directories), with the mk of Debian's package 9base or the one in MK. Without mk only the files are compared. What a
# build of the real tree does is written down in docs/internals/results.md.
set -eu

: "${CC:=cc}" "${MAKE:=make}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "plan9port: $*" >&2; exit 1; }
PATH=$PATH:/usr/lib/plan9/bin
mk=${MK:-$(command -v mk || true)}

tree=$work/tree
mkdir -p "$tree/lib" "$tree/include" "$tree/src/libmux" "$tree/src/libother" "$tree/src/cmd" "$tree/bin"
cat >"$tree/src/mkhdr" <<'MK'
MKSHELL=sh
MK
cat >"$tree/src/mklib" <<'MK'
default all install:V: $PLAN9/lib/$LIB

%.o: %.c
	cc -I$PLAN9/include -c $stem.c

$PLAN9/lib/$LIB(%):N: %
$PLAN9/lib/$LIB: ${OBJECTS:%=$PLAN9/lib/$LIB(%)}
	ar rsc $PLAN9/lib/$LIB $newmember

clean:V:
	rm -f *.o
nuke:V: clean
	rm -f $PLAN9/lib/$LIB
MK
printf 'typedef struct Mux Mux;\nstruct Mux { int mintag, maxtag; int writeq; };\nvoid muxinit(Mux*);\n' >"$tree/include/mux.h"
printf '#include <mux.h>\nint electmuxer(Mux *m) { return m->writeq; }\n' >"$tree/src/libmux/io.c"
printf '#include <mux.h>\nvoid muxinit(Mux *m) { m->writeq = 0; }\n' >"$tree/src/libmux/mux.c"
printf '<$PLAN9/src/mkhdr\nLIB=libmux.a\nOBJECTS=io.o mux.o\n<$PLAN9/src/mklib\n' >"$tree/src/libmux/mkfile"
printf 'int other(void) { return 1; }\n' >"$tree/src/libother/other.c"
printf '<$PLAN9/src/mkhdr\nLIB=libother.a\nOBJECTS=other.o\n<$PLAN9/src/mklib\n' >"$tree/src/libother/mkfile"
cat >"$tree/src/cmd/prog.c" <<'C'
#include <mux.h>
#include <stdio.h>
int other(void);
static Mux m;
int
main(void)
{
	muxinit(&m);
	printf("%d\n", other());
	return 0;
}
C
cat >"$tree/src/cmd/mkfile" <<'MK'
<$PLAN9/src/mkhdr
all:V: prog
prog: prog.c $PLAN9/lib/libmux.a $PLAN9/lib/libother.a
	cc -I$PLAN9/include -o $target prog.c $PLAN9/lib/libmux.a $PLAN9/lib/libother.a -lpthread
install:V: prog
	cp prog $PLAN9/bin/prog
clean nuke:V:
	rm -f prog
MK
cat >"$tree/src/mkfile" <<'MK'
<$PLAN9/src/mkhdr
LIBS=libmux libother
DIRS=$LIBS cmd
all:V: dir-all
install:V: dir-install
clean:V: dir-clean
libs:V: libs-all
dir-%:V:
	for i in $DIRS; do (cd $i; mk $stem) || exit 1; done
libs-%:V:
	for i in $LIBS; do (cd $i; mk $stem) || exit 1; done
MK

# run DIRECTORY TARGET...: mk in a directory of the tree, as the tree's build calls it
run() {
	(cd "$tree/src/$1" && shift && PLAN9=$tree "$mk" "$@") >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "mk $* fails"; }
}
ours() {
	grep -q muxversion "$tree/lib/libmux.a" || fail "$1: lib/libmux.a is another library"
	cmp -s include/mux.h "$tree/include/mux.h" || fail "$1: include/mux.h is another header"
	[ "$(ar t "$tree/lib/libmux.a" | grep -c '^io')" -eq 0 ] || fail "$1: the archive has got the tree's own objects"
}
snapshot() { (cd "$tree" && find . -type f ! -name prog ! -name '*.o' -exec cksum {} + | sort -k 3); }

built=
if [ -n "$mk" ]; then
	run . all
	run . install
	run . clean
	built=', before and after builds of the tree'
fi
snapshot >"$work/before"
$MAKE -s install PLAN9="$tree"
$MAKE -s install PLAN9="$tree"
ours "make install"
cmp -s "$tree/src/libmux/libmux.a.installed" "$tree/lib/libmux.a" || fail "the tree's mkfile has another archive"
[ -z "$(nm -a "$tree/lib/libmux.a" 2>/dev/null | grep ' N .debug')" ] || fail "the archive has debug information"
if [ -n "$mk" ]; then
	# the steps of plan9port's INSTALL, and what a user may run by hand
	run . clean
	run . libs-nuke
	ours "mk libs-nuke"
	run . all
	run . install
	run . clean
	ours "the tree's build"
	"$tree/bin/prog" >/dev/null || fail "the program"
	run . libs
	ours "mk libs"
	run libmux clean install
	run libmux all
	run libmux
	ours "mk in src/libmux"
	rm "$tree/lib/libmux.a"
	run libmux install
	ours "mk install without an archive"
fi
$MAKE -s uninstall PLAN9="$tree"
snapshot >"$work/after"
diff "$work/before" "$work/after" >&2 || fail "uninstall does not give the tree back"
if [ -n "$mk" ]; then
	run libmux nuke
	run . all
	! grep -q muxversion "$tree/lib/libmux.a" || fail "the tree does not build its own library again"
fi

# A tree without sources, and files that were replaced in the meantime.
bare=$work/bare
mkdir -p "$bare/lib" "$bare/include"
$MAKE -s install PLAN9="$bare"
$MAKE -s uninstall PLAN9="$bare"
[ -z "$(find "$bare" -type f)" ] || fail "uninstall leaves files in a tree without sources"
echo "new header" >"$bare/include/mux.h"
$MAKE -s install PLAN9="$bare"
echo "a newer header" >"$bare/include/mux.h"
$MAKE -s uninstall PLAN9="$bare"
[ "$(cat "$bare/include/mux.h")" = "a newer header" ] || fail "uninstall overwrites a file that is not ours"

[ -n "$mk" ] || echo "plan9port: SKIPPED: the builds of the tree, because there is no mk (Debian's package 9base)"
echo "plan9port: installed into a tree and taken out again$built${built:+ with $mk}"
