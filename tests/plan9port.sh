#!/bin/sh
# plan9port.sh: `make install PLAN9=tree` survives the tree's own build, and `make uninstall` gives every byte back.
#
# With 9PSERVE=1 the same holds for 9pserve.
#
# The tree is a small imitation: two libraries and two programs, built by rules of the kind that plan9port's
# mkfiles have (an archive that is updated member by member, targets clean, nuke, all and install that descend into
# directories), with the mk of Debian's package 9base or the one in MK. Without mk only the files are compared. What a
# build of the real tree does is written down in docs/results.md.
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
# The tree's own 9pserve.
cat >"$tree/src/cmd/9pserve.c" <<'C'
#include <stdio.h>
int
main(void)
{
	puts("the tree's own 9pserve");
	return 0;
}
C
cat >"$tree/src/cmd/mkfile" <<'MK'
<$PLAN9/src/mkhdr
TARG=`ls *.c | sed 's/\.c//'`
DIRS=`ls -l | sed -n 's/^d.* //p'`
PROGS=${TARG:%=o.%}
all:V: $PROGS dir-all
o.%: %.c $PLAN9/lib/libmux.a $PLAN9/lib/libother.a
	cc -I$PLAN9/include -o $target $stem.c $PLAN9/lib/libmux.a $PLAN9/lib/libother.a -lpthread
install:V: $PROGS dir-install
	for i in $TARG; do rm -f $PLAN9/bin/$i; cp o.$i $PLAN9/bin/$i; done
clean:V: dir-clean
	rm -f *.o o.*
nuke:V: clean dir-nuke
	for i in $TARG; do rm -f $PLAN9/bin/$i; done
dir-%:V:
	for i in $DIRS; do (cd $i; mk $stem) || exit 1; done
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
snapshot() { (cd "$tree" && find . -type f ! -name prog ! -name '*.o' ! -name 'o.*' -exec cksum {} + | sort -k 3); }

# the tree's own builds
builds() {
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
}
# own_9pserve STEP: the tree has its own 9pserve
own_9pserve() {
	[ -z "$mk" ] || [ "$("$tree/bin/9pserve")" = "the tree's own 9pserve" ] || fail "$1: another 9pserve"
}
# our_9pserve STEP: the tree's 9pserve is 9pmux: it prints its usage, and posts a service
our_9pserve() {
	cmp -s "$tree/bin/9pserve" "$tree/bin/9pmux" || fail "$1: 9pserve is another program"
	status=0
	PLAN9=$tree "$tree/bin/9pserve" -u >"$work/usage" 2>&1 || status=$?
	{ [ $status -eq 1 ] && grep -q '^usage: 9pserve' "$work/usage"; } || fail "$1: $(cat "$work/usage"), status $status"
	status=0
	PLAN9=$tree "$tree/bin/9pserve" -u "unix!$work/nowhere/s" >"$work/usage" 2>&1 || status=$?
	{ [ $status -eq 1 ] && grep -q "9pserve: announce unix!$work/nowhere/s: " "$work/usage"; } || fail "$1: 9pserve: $(cat "$work/usage")"
}

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
[ -z "$mk" ] || builds
$MAKE -s uninstall PLAN9="$tree"
snapshot >"$work/after"
diff "$work/before" "$work/after" >&2 || fail "uninstall does not give the tree back"
own_9pserve "install and uninstall without 9PSERVE"

# with 9pserve, which the tree's builds leave in place
$MAKE -s install PLAN9="$tree" 9PSERVE=1
$MAKE -s install PLAN9="$tree" 9PSERVE=1
our_9pserve "make install"
if [ -n "$mk" ]; then
	builds
	our_9pserve "the tree's build"
	run cmd nuke
	run cmd install
	our_9pserve "mk nuke and install"
	rm "$tree/bin/9pserve" "$tree/bin/9pmux"
	run cmd install
	our_9pserve "mk install without the programs"
	run . clean
fi
$MAKE -s uninstall PLAN9="$tree"
snapshot >"$work/after"
diff "$work/before" "$work/after" >&2 || fail "uninstall does not give the tree and its 9pserve back"
own_9pserve "uninstall"
if [ -n "$mk" ]; then
	# An uninstall between two builds.
	$MAKE -s install PLAN9="$tree" 9PSERVE=1
	run cmd install
	$MAKE -s uninstall PLAN9="$tree"
	run cmd install
	own_9pserve "the build after uninstall"
fi
if [ -n "$mk" ]; then
	run libmux nuke
	run . all
	! grep -q muxversion "$tree/lib/libmux.a" || fail "the tree does not build its own library again"
fi

# A tree without sources, and files that were replaced in the meantime.
bare=$work/bare
mkdir -p "$bare/lib" "$bare/include" "$bare/bin"
$MAKE -s install PLAN9="$bare"
$MAKE -s uninstall PLAN9="$bare"
[ -z "$(find "$bare" -type f)" ] || fail "uninstall leaves files in a tree without sources"
$MAKE -s install PLAN9="$bare" 9PSERVE=1
cmp -s "$bare/bin/9pserve" "$bare/bin/9pmux" || fail "a tree without sources has no 9pserve"
$MAKE -s uninstall PLAN9="$bare"
[ -z "$(find "$bare" -type f)" ] || fail "uninstall leaves 9pserve in a tree without sources"
echo "new header" >"$bare/include/mux.h"
$MAKE -s install PLAN9="$bare"
echo "a newer header" >"$bare/include/mux.h"
$MAKE -s uninstall PLAN9="$bare"
[ "$(cat "$bare/include/mux.h")" = "a newer header" ] || fail "uninstall overwrites a file that is not ours"

# The tree's programs come first in PATH, and its grep has other options.
mkdir "$work/first"
printf '#!/bin/sh\nexit 1\n' >"$work/first/grep"
chmod +x "$work/first/grep"
PATH="$work/first:$PATH" $MAKE -s install PLAN9="$bare" 9PSERVE=1
PATH="$work/first:$PATH" $MAKE -s uninstall PLAN9="$bare"
[ "$(find "$bare" -type f)" = "$bare/include/mux.h" ] || fail "with another grep uninstall leaves $(find "$bare" -type f)"

# Programs of the tree's owner with our names, a 9pmux of another version and a link to it.
program=$bare/bin/9pmux
echo "a 9pmux of its owner" >"$program"
ln -s 9pmux "$bare/bin/9pserve"
$MAKE -s install PLAN9="$bare"
$MAKE -s uninstall PLAN9="$bare"
[ "$(cat "$bare/bin/9pserve")" = "a 9pmux of its owner" ] || fail "uninstall removes a program that was not installed"
$MAKE -s install PLAN9="$bare" 9PSERVE=1
! grep -q owner "$program" || fail "the owner's program is not replaced"
$MAKE -s install PLAN9="$bare" 9PSERVE=1
$MAKE -s uninstall PLAN9="$bare"
[ "$(cat "$program")" = "a 9pmux of its owner" ] || fail "uninstall does not restore the owner's program"
[ "$(readlink "$bare/bin/9pserve")" = 9pmux ] || fail "uninstall does not restore the owner's link"
# An installation of another version is replaced, and not kept.
rm "$program" "$bare/bin/9pserve"
$MAKE -s install PLAN9="$bare" 9PSERVE=1
for name in 9pmux 9pserve; do
	echo "an older 9pmux" >"$bare/bin/$name"
	(cd "$bare" && cksum "bin/$name")
done >"$bare/bin/9pmux.installed"
$MAKE -s install PLAN9="$bare" 9PSERVE=1
[ ! -e "$program.orig" ] || fail "an older version of ours is kept as the original"
# A program that has replaced ours stays.
echo "a newer 9pmux of its owner" >"$program"
$MAKE -s uninstall PLAN9="$bare"
[ "$(find "$bare/bin" -type f)" = "$program" ] || fail "uninstall leaves $(find "$bare/bin" -type f)"

[ -n "$mk" ] || echo "plan9port: SKIPPED: the builds of the tree, because there is no mk (Debian's package 9base)"
echo "plan9port: installed into a tree and taken out again$built${built:+ with $mk}"
