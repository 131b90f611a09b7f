#!/bin/sh
# abi.sh: programs linked with the last release work with this library.  Its header is kept in abi/
# (`make abi` puts it there at a release); a library with a body for each function of that header is
# compared with one of include/mux.h, by abidiff: functions taken away and types changed are failures,
# functions added are told.
#
# The headers and not the libraries, because the types that matter are those that C programs see, and
# because both are compiled here and now: no other compiler, system or machine is in between.  What the
# header has to do with the library, tests/header.rs and c-tests/layout.c know, and here: it declares
# what the library exports.
#
# A struct that grows at its end (Muxstats may, it has a size) is a change as well: accepted by make abi.
set -eu

: "${CC:=cc}"
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "abi: $*" >&2; exit 1; }

# library HEADER FORM NAME: $work/NAME.so; FORM is a flag, or nothing
library() {
	# the header alone, its own include files empty
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

# same OLD NEW: nothing of OLD is gone or changed in NEW; otherwise $work/report says what
same() {
	abidiff --harmless --no-added-syms "$work/$1.so" "$work/$2.so" >"$work/report"
}

old=$(ls abi/mux-*.h)
[ -f "$old" ] || fail "abi/ is to have one header, that of the last release, and has $old"
release=${old#abi/mux-}
release=${release%.h}

for form in '' -DMUX_MAN3; do
	library "$old" "$form" old
	library include/mux.h "$form" new
	same old new || {
		head -n 40 "$work/report" >&2
		fail "not what $release was${form:+ (with $form)}"
	}
done
nm -D --defined-only "$work/new.so" | awk '{ print $NF }' | LC_ALL=C sort >"$work/declared"
diff "$work/declared" c-tests/symbols.txt >&2 || fail "mux.h declares (<) other functions than the library exports (>)"

# It must be able to fail: a field, what a function takes, what a callback answers, a name, a function less.
library "$old" '' old
n=0
while read -r change; do
	sed "$change" "$old" >"$work/changed.h"
	! cmp -s "$old" "$work/changed.h" || fail "the header has no place for $change any more"
	library "$work/changed.h" '' new
	! same old new || fail "abidiff says nothing of $change"
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
echo "abi: nothing of $release is gone or changed; $n changes to it would have been noticed"
