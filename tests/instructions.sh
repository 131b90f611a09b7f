#!/bin/sh
# instructions.sh BUILD [write]: how many of the library's instructions a call takes, counted by callgrind, against what
# benches/instructions.txt says; more than a tenth above that is a failure. With write, it makes that file anew.
#
# Counted is what the processor executes inside libmux.so: neither the callbacks, nor malloc, nor anything else of
# the C library, which are other machines' and other days'. One thread calls in memory, so that the count does not
# depend on chance; two runs of different length are subtracted, so that beginning and end do not count. Another
# rustc makes other instructions of the same source: hence the tenth.
set -eu

build=${1:-build}
cd "$(dirname "$0")/.."
record=benches/instructions.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
fail() { echo "instructions: $*" >&2; exit 1; }

command -v valgrind >/dev/null || { echo "instructions: skipped: no valgrind"; exit 0; }

# executed LOAD CALLS: instructions inside libmux.so. Below calls= is the cost of what was called, which is counted
# where it is spent.
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
		# names may be given where a call is noted first
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

# percall LOAD
percall() {
	less=$(executed "$1" 1000) || exit
	more=$(executed "$1" 3000) || exit
	echo $(((more - less + 1000) / 2000))
}

# judge LOAD RECORDED NOW: fails when it is too many
judge() {
	if [ "$3" -eq 0 ]; then
		echo "instructions: $1: none were counted in libmux.so" >&2
		return 1
	elif [ $((10 * $3)) -gt $((11 * $2)) ]; then
		echo "instructions: $1: $3 a call, where there were $2; if they are worth it: make instructions" >&2
		return 1
	elif [ $((10 * $3)) -lt $((9 * $2)) ]; then
		echo "instructions: $1: $3 a call, where there were $2: make instructions, so that they do not come back"
	else
		echo "instructions: $1: $3 a call ($2 recorded)"
	fi
}

if [ "${2:-}" = write ]; then
	{
		echo '# How many instructions of the library a call takes, in memory; tests/instructions.sh says how they are counted.'
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
	# and it must be able to fail
	! judge "$load" $((now * 10 / 12)) "$now" 2>/dev/null || fail "it does not see that there are more"
done <"$work/record"
[ "$n" -gt 0 ] || fail "$record has no loads"
exit $status
