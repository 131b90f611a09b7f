#!/bin/sh
# manual.sh - mux(3) and 9pmux(1) are well formed; the programs in mux(3) compile without a warning and do what
# they say.
#
# manual.sh builddir: where libmux.a is.
set -eu

here=$(dirname "$0")
build=$1
out=$build/manual
mkdir -p "$out"

for page in man/mux.3 9pmux/man/9pmux.1; do
	warnings=$(mandoc -Tlint -Wwarning "$here/../$page" 2>/dev/null) || true
	[ -z "$warnings" ] || { echo "$warnings" >&2; exit 1; }
done

# one that locks up is ended, and has failed
if timeout 1 true 2>/dev/null; then
	within() { timeout -k 5 60 "$@"; }
else
	within() { "$@"; }
fi

# run name: its output, sorted: the order in which threads print is theirs
run() {
	sh "$here/../man/example.sh" "$1.c" >"$out/$1.c"
	${CC:-cc} -std=c99 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -I"$here/../include" -o "$out/$1" \
		"$out/$1.c" "$build/libmux.a" -pthread -ldl -lm
	{ within "$out/$1" || echo "status $?"; } | sort -n
}

expect() {
	[ "$2" = "$3" ] || { printf 'manual: %s printed:\n%s\n' "$1" "$2" >&2; exit 1; }
}

[ "$(sh "$here/../man/example.sh" | tr '\n' ' ')" = "double.c loop.c late.c batch.c " ] || { echo "manual: other examples than known here" >&2; exit 1; }
expect double "$(run double)" "1 doubled is 2
20 doubled is 40
300 doubled is 600
4000 doubled is 8000"
expect loop "$(run loop)" "1 doubled is 2
2 doubled is 4
3 doubled is 6"
expect late "$(run late)" "1 has no reply yet
20 doubled is 40"
expect batch "$(run batch)" "1 doubled is 2
2 doubled is 4
3 doubled is 6
4 doubled is 8
5 doubled is 10
6 doubled is 12
7 doubled is 14
8 doubled is 16"
echo "manual: mux(3) and 9pmux(1) are well formed, and the examples of mux(3) work"
