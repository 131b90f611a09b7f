#!/bin/sh
# abi.sh: programs linked with the last release work with this library. The header of the last release is in abi/
# (`make abi` puts it there at a release). abidiff compares a library with a body for each function of that header with
# one of include/mux.h. Removed functions and changed types are failures; new functions are printed.
#
# The headers are compared instead of the libraries, because programs depend on the types of the header, and because
# both are compiled here: no difference of compilers, systems or machines can interfere. tests/header.rs and
# c-tests/layout.c compare the header with the library. This script also checks that the header declares exactly the
# functions that the library exports.
#
# A struct that grows at its end (Muxstats may, because it has a size) is a change as well: make abi accepts it.
set -eu

: "${CC:=cc}"
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "abi: $*" >&2; exit 1; }

# library HEADER FORM NAME: makes $work/NAME.so; FORM is a compiler flag or empty
library() {
	# the header alone, with empty files for its includes
	mkdir -p "$work/empty"
	: >"$work/empty/pthread.h"
	{
		echo '#include <pthread.h>'
		# shellcheck disable=SC2086 # no flag is no word
		$CC -E -P -I"$work/empty" $2 "$1" | awk '
			BEGIN { RS = ";" }
			{ outside = depth == 0; depth += gsub(/{/, "{") - gsub(/}/, "}") }
			outside && depth == 0 && /\(/ && !/typedef|{/ { print $0, "{ for (;;) ; }"; next }
			/[^ \t\n]/ { print $0, ";" }'
	} >"$work/$3.c"
	$CC -std=gnu99 -g -shared -fPIC -Wl,-soname,libmux.so.1 -o "$work/$3.so" "$work/$3.c"
}

# same OLD NEW: checks that NEW keeps everything of OLD unchanged; otherwise $work/report has the differences
same() {
	abidiff --harmless --no-added-syms "$work/$1.so" "$work/$2.so" >"$work/report"
}

old=$(ls abi/mux-*.h)
[ -f "$old" ] || fail "abi/ must contain one header, that of the last release, and contains $old"
release=${old#abi/mux-}
release=${release%.h}

for form in '' -DMUX_MAN3; do
	library "$old" "$form" old
	library include/mux.h "$form" new
	same old new || {
		head -n 40 "$work/report" >&2
		fail "the interface differs from $release${form:+ (with $form)}"
	}
done
nm -D --defined-only "$work/new.so" | awk '{ print $NF }' | LC_ALL=C sort >"$work/declared"
diff "$work/declared" c-tests/symbols.txt >&2 || fail "mux.h declares (<) other functions than the library exports (>)"

# It must be able to fail: a changed field, parameter, callback result or name, and a removed function.
library "$old" '' old
n=0
while read -r change; do
	sed "$change" "$old" >"$work/changed.h"
	! cmp -s "$old" "$work/changed.h" || fail "the header no longer contains the text that $change changes"
	library "$work/changed.h" '' new
	! same old new || fail "abidiff does not report $change"
	n=$((n + 1))
done <<'!'
s/unsigned int maxtag;/unsigned long maxtag;/
s/int canblock/long canblock/
s/void \*(\*recv)/int (*recv)/
s/unsigned int mintag;/unsigned int lowest;/
/^void muxhangup/d
!

library include/mux.h '' new
abidiff "$work/old.so" "$work/new.so" | sed -n "s/.*\[A\] '\(.*\)'.*/abi: new since $release: \1/p"
echo "abi: everything of $release is unchanged; $n changes of it would have been noticed"
