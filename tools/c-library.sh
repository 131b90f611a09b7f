#!/bin/sh
# c-library.sh ARCHIVE SYMBOLS OUT: makes OUT/libmux.a and OUT/libmux.so from the static archive that
# cargo built.
#
# That archive contains our object and 23 MB of Rust's standard library, to which our object does not refer: its
# functions cannot panic, and its memory is malloc's. The libraries are therefore made from our object alone, so that
# a program grows by nothing else. The object is linked once more by itself:
#
#	* What no function of mux.h reaches is dropped. Rust 1.85 leaves a handler of allocation errors there, which
#	  refers to the standard library, so that a program could not be linked without --gc-sections.
#	* Every symbol that is not in SYMBOLS becomes local. __rust_alloc and its siblings would otherwise be
#	  defined twice in a program that also contains another Rust archive of the same compiler.
#
# If a linker cannot do that, the object is taken as it is. If a compiler makes the object refer to the standard
# library, the whole archive is taken. The exit status is 0 in both cases, and a message says so.
set -eu

archive=$(realpath "$1") symbols=$(realpath "$2") out=$3
: "${CC:=cc}" "${AR:=ar}" "${OBJCOPY:=objcopy}"
version=1

mkdir -p "$out"
out=$(realpath "$out")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

$AR t "$archive" | grep '^mux-' >members
# shellcheck disable=SC2046 # member names have no spaces
$AR x "$archive" $(cat members)

# shellcheck disable=SC2046 # flags are words
if $CC -r -nostdlib -Wl,--gc-sections $(sed 's/^/-Wl,-u,/' "$symbols") -o libmux.o mux-*.o 2>log &&
	$OBJCOPY -R .llvmbc -R .llvmcmd --keep-global-symbols="$symbols" --strip-unneeded-symbol=__rg_oom \
		--strip-unneeded-symbol=__rust_no_alloc_shim_is_unstable libmux.o 2>>log; then
	objects=libmux.o
else
	echo "c-library: this linker cannot make the other symbols local; the object is taken as it is" >&2
	objects=$(echo mux-*.o)
fi

{
	echo '{ global:'
	sed 's/$/;/' "$symbols"
	echo 'local: *; };'
} >map

shared() {
	$CC -shared -o libmux.so "$@" -pthread -Wl,-z,defs -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now \
		-Wl,--gc-sections -Wl,-soname,libmux.so.$version -Wl,--version-script=map
}

# shellcheck disable=SC2086 # object names are words
if shared $objects 2>log; then
	rm -f libmux.a
	$AR rcs libmux.a $objects
else
	echo "c-library: the object needs Rust's runtime, so the whole archive is taken" >&2
	shared -Wl,--whole-archive "$archive" -Wl,--no-whole-archive -lgcc_s -ldl -lm
	cp "$archive" libmux.a
fi
mv libmux.a libmux.so "$out"
