#!/bin/sh
# seeded.sh BUILD [PATCH...]: each checker finds the fault that it is there for.
#
# A patch in tests/seeded puts one fault into a copy of src. Its first lines say who has to find it, in which
# test, and in what words:
#
#	# KIND PROGRAM: WORDS
#
# KIND is address, thread (as in sanitize.sh) or memcheck. A fault that is not found fails this test.
set -eu

mkdir -p "$1"
build=$(realpath "$1")/seeded
shift
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- tests/seeded/*.patch

missed=0
found=0

# check TREE KIND PROGRAM WORDS
check() {
	case $2 in
	memcheck)
		if ! command -v valgrind >/dev/null; then
			echo "seeded: left out: no valgrind here"
			return
		fi
		make -s -C "$1" build/libmux.a >/dev/null
		make -s -C "$1/c-tests" LIBDIR=../build BUILD=../build/memcheck/c-tests "$1/build/memcheck/c-tests/$3" >/dev/null
		(cd "$1/c-tests" && BUILD=$1/build/memcheck/c-tests sh ./run.sh valgrind "$3") >"$1/out" 2>&1 && status=0 || status=$?
		cat "$1/build/memcheck/c-tests/log/$3.valgrind" >>"$1/out"
		;;
	*)
		SANITIZE_ONLY=$3 sh "$1/tests/sanitize.sh" "$2" "$1/build" >"$1/out" 2>&1 && status=0 || status=$?
		if grep 'left out: no ' "$1/out"; then
			return
		fi
		;;
	esac
	if [ "$status" -ne 0 ] && grep -q -e "$4" "$1/out"; then
		echo "seeded: $name: $2 finds it in $3"
		found=$((found + 1))
	else
		echo "seeded: $name: $2 does not find it in $3 (status $status, $1/out)" >&2
		head -n 12 "$1/out" | cut -c 1-200 >&2
		missed=$((missed + 1))
	fi
}

# what cargo makes is kept, but for the library itself
mkdir -p "$build/target"
for patch; do
	name=$(basename "$patch" .patch)
	tree=$build/$name
	rm -rf "$tree"
	mkdir -p "$tree"
	cp -R src include c-tests tests tools docs benches build.rs Cargo.toml Cargo.lock Makefile "$tree"
	ln -s "$build/target" "$tree/target"
	# no fuzz: one that does not fit any more is to be made anew
	if ! patch -s -F 0 -p 1 -d "$tree" <"$patch" >"$tree/out" 2>&1; then
		echo "seeded: $name: does not fit src: $(head -n 3 "$tree/out")" >&2
		missed=$((missed + 1))
		continue
	fi
	sed -n '/^---/q; s/^# \(address\|thread\|memcheck\) \([^ :]*\): /\1 \2 /p' "$patch" >"$tree/who"
	while read -r kind program words; do
		check "$tree" "$kind" "$program" "$words"
	done <"$tree/who"
done
echo "seeded: $found found, $missed missed"
[ "$missed" -eq 0 ]
