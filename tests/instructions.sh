#!/bin/sh
# instructions.sh BUILD [write]: counts the library's instructions for each call by callgrind, and compares them with
# benches/instructions.txt. More than a tenth above that is a failure. With write, it rewrites that file.
#
# Only instructions inside libmux.so are counted: the callbacks, malloc and other parts of the C library vary between
# machines. One thread calls in memory, so that the count does not depend on chance; two runs of different length are
# subtracted, so that the beginning and the end do not count. The tenth allows for another rustc, which generates other
# instructions from the same source.
set -eu

build=${1:-build}
cd "$(dirname "$0")/.."
record=benches/instructions.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
fail() { echo "instructions: $*" >&2; exit 1; }

command -v valgrind >/dev/null || { echo "instructions: skipped: no valgrind"; exit 0; }

# executed LOAD CALLS: prints the number of instructions inside libmux.so. The line after calls= is the cost of the
# called function, which is counted in that function.
executed() {
	valgrind --tool=callgrind --callgrind-out-file="$work/out" "$build/bench/shared" -n "$2" "$1" >"$work/log" 2>&1 ||
		{ cat "$work/log" >&2; fail "$1 does not run under callgrind"; }
	awk '
		/^ob=/ {
			match($0, /\([0-9]+\)/)
			id = substr($0, RSTART, RLENGTH)
			if (length($0) > RSTART + RLENGTH)
				ours[id] = /libmux\.so/
			within = ours[id]
			next
		}
		# a name may be defined at its first use in a call
		/^cob=.*\) / {
			match($0, /\([0-9]+\)/)
			ours[substr($0, RSTART, RLENGTH)] = /libmux\.so/
			next
		}
		/^calls=/ { skip = 1; next }
		/^[0-9+*-]/ {
			if (within && !skip)
				sum += $2
			skip = 0
		}
		END { print sum + 0 }' "$work/out"
}

# percall LOAD: prints the instructions of one call
percall() {
	less=$(executed "$1" 1000) || exit
	more=$(executed "$1" 3000) || exit
	echo $(((more - less + 1000) / 2000))
}

# judge LOAD RECORDED NOW: fails if there are too many
judge() {
	if [ "$3" -eq 0 ]; then
		echo "instructions: $1: no instructions were counted in libmux.so" >&2
		return 1
	elif [ $((10 * $3)) -gt $((11 * $2)) ]; then
		echo "instructions: $1: $3 for each call instead of $2; if that is justified: make instructions" >&2
		return 1
	elif [ $((10 * $3)) -lt $((9 * $2)) ]; then
		echo "instructions: $1: $3 for each call instead of $2: make instructions, to keep the improvement"
	else
		echo "instructions: $1: $3 for each call ($2 recorded)"
	fi
}

if [ "${2:-}" = write ]; then
	{
		echo '# Instructions of the library for each call, in memory; tests/instructions.sh describes how they are counted.'
		echo "# Made by make instructions, with $(rustc --version)."
		for load in mem-1 outstanding-1 outstanding-64 outstanding-4096; do
			n=$(percall "$load") || exit
			printf '%s\t%s\n' "$load" "$n"
		done
	} >"$work/record"
	cat "$work/record" >"$record"
	cat "$record"
	exit
fi

status=0 n=0
grep -v '^#' "$record" >"$work/record"
while read -r load recorded; do
	n=$((n + 1))
	now=$(percall "$load")
	judge "$load" "$recorded" "$now" || status=1
	# It must be able to fail.
	! judge "$load" $((now * 10 / 12)) "$now" 2>/dev/null || fail "it does not notice additional instructions"
done <"$work/record"
[ "$n" -gt 0 ] || fail "$record has no loads"
exit $status
