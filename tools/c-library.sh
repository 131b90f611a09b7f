#!/bin/sh
# c-library.sh ARCHIVE SYMBOLS OUT: makes OUT/libmux.a and OUT/libmux.so from the static archive that
# cargo built.
#
# That archive holds our object and all of Rust's standard library, 23 MB of which ours refers to
# nothing (its functions can not panic, and its memory is malloc's).  So the libraries are made of
# our object alone: a program that links the archive grows by it and by nothing else.  With a
# compiler that makes it refer to more, the whole archive is taken, and the answer is 0 all the same.
set -eu

archive=$(realpath "$1") symbols=$(realpath "$2") out=$3
: "${CC:=cc}" "${AR:=ar}"
version=1

mkdir -p "$out"
out=$(realpath "$out")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

$AR t "$archive" | grep '^mux-' >members
# shellcheck disable=SC2046 # member names have no spaces
$AR x "$archive" $(cat members)

# Whatever is not in the list is no business of a program's.
{
	echo '{ global:'
	sed 's/$/;/' "$symbols"
	echo 'local: *; };'
} >map

shared() {
	$CC -shared -o libmux.so "$@" -pthread -Wl,-z,defs -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now \
		-Wl,--gc-sections -Wl,-soname,libmux.so.$version -Wl,--version-script=map
}

if shared mux-*.o 2>log; then
	$AR rcs libmux.a mux-*.o
else
	echo "c-library: the object needs Rust's runtime; it goes in whole" >&2
	shared -Wl,--whole-archive "$archive" -Wl,--no-whole-archive -lgcc_s -ldl -lm
	cp "$archive" libmux.a
fi
mv libmux.a libmux.so "$out"
