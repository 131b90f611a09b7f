#!/bin/sh
# Measures our libmux.a and a peer's by turns, one round of each after the other so that both meet the same
# machine, and prints for each load both medians, their spread and ours/peer (above 1: ours is better).
#
#   PEER=dir/libmux.a [PEER_LIBS="what that archive needs"] [OURS=...] benches/compare.sh [-u] [-r rounds] [-s seconds] [-l pattern]
#
# The floors need no library and are measured on our side alone. JSON lines of all rounds: $RESULTS, if set.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
OURS=${OURS:-$here/../target/release/libmux.a}
PEER=${PEER:?PEER=dir/libmux.a}
PEER_LIBS=${PEER_LIBS:-}
rounds=5 seconds=1 only='*' unbuffered=
while getopts ur:s:l: c; do
	case $c in
	u) unbuffered=-u ;;
	r) rounds=$OPTARG ;;
	s) seconds=$OPTARG ;;
	l) only=$OPTARG ;;
	*) sed -n '2,7s/^# *//p' "$0" >&2; exit 2 ;;
	esac
done

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
results=${RESULTS:-$dir/results}
: >"$results"

# build NAME ARCHIVE [LIBS...]; the same object with either
cc=${CC:-cc}
$cc -std=c11 -O2 -Wall -Wextra -I"$here/../include" -c "$here/bench.c" -o "$dir/bench.o"
build() {
	name=$1
	shift
	$cc -o "$dir/$name" "$dir/bench.o" "$@" -lpthread -ldl -lm
}
build ours "$OURS"
# shellcheck disable=SC2086 # several words are meant
build peer "$PEER" $PEER_LIBS

# round SIDE LOAD: one line of JSON, marked with the side; a stuck round is a line with no median
round() {
	# shellcheck disable=SC2086
	line=$("$dir/$1" -j -r1 -s "$seconds" $unbuffered -l "$2" 2>/dev/null) || line="{\"load\":\"$2\",\"stuck\":1}"
	echo "{\"side\":\"$1\",${line#?}" >>"$results"
}

# summary LOAD: of the lines on standard input
summary() {
	awk -v load="$1" '
	function field(name,   s) {
		if (!match($0, "\"" name "\":\"?[^,\"}]*"))
			return ""
		s = substr($0, RSTART, RLENGTH)
		sub(/^[^:]*:"?/, "", s)
		return s
	}
	function sort(side,   i, j, t) {
		for (i = 2; i <= n[side]; i++)
			for (j = i; j > 1 && v[side, j] < v[side, j - 1]; j--) {
				t = v[side, j]; v[side, j] = v[side, j - 1]; v[side, j - 1] = t
			}
	}
	function median(side) {
		return (v[side, int((n[side] + 1) / 2)] + v[side, int(n[side] / 2) + 1]) / 2
	}
	function cell(side) {
		if (!n[side])
			return sprintf("%34s", (side in stuck) ? "stuck" : "-")
		sort(side)
		return sprintf("%11.1f (%9.1f..%9.1f)", median(side), v[side, 1], v[side, n[side]])
	}
	field("load") == load && field("stuck") { stuck[field("side")]++; next }
	field("load") == load { s = field("side"); v[s, ++n[s]] = field("median") + 0; unit = field("unit") }
	END {
		printf "%-11s %s %s  %s", load, cell("ours"), cell("peer"), unit
		if (n["ours"] && n["peer"]) {
			r = median("ours") / median("peer")
			printf "  %.2fx", unit == "ns/call" ? 1 / r : r
		}
		if ("ours" in stuck)
			printf "  ours stuck in %d", stuck["ours"]
		if ("peer" in stuck)
			printf "  peer stuck in %d", stuck["peer"]
		printf "\n"
	}'
}

printf '%-11s %34s %34s\n' load "ours: median (least..most)" "peer: median (least..most)"
for load in $("$dir/ours" -L); do
	case $load in
	$only) ;;
	*) continue ;;
	esac
	i=0
	while [ $i -lt "$rounds" ]; do
		i=$((i + 1))
		round ours "$load"
		case $load in
		floor-* | mem-floor) ;;
		*) round peer "$load" ;;
		esac
	done
	summary "$load" <"$results"
done
