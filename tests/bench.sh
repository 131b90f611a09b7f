#!/bin/sh
# bench.sh BUILD: the benchmarks work, the library's and 9pmux's: each load runs, with its floor, and gives its figures,
# and tables can be made of them; plots too, where there is a gnuplot. How fast anything is, is no test: the times are
# far too short. And what docs/results.md shows is of the results beside it.
set -eu

build=${1:-build}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
fail() { echo "bench: $*" >&2; exit 1; }

mkdir "$work/bench"
cp "$build/bench/ours" "$work/bench/ours"
sh benches/compare.sh -r 1 -s 0.01 -o "$work/results.tsv" "$work/bench" >"$work/out"
! grep "	stuck	" "$work/results.tsv" || fail "a load did not end"

# figures LIST SIDE: each load has some, of that side
figures() {
	while read -r load; do
		awk -F '\t' -v load="$load" -v side="$2" '
			$2 == side && $3 == load && $6 ~ /^[0-9.e+]+$/ { found = 1 }
			END { exit !found }' "$work/results.tsv" || fail "$load gives no figure of $2"
	done <"$1"
}
"$work/bench/ours" -L >"$work/loads"
"$work/bench/ours" -f -L >"$work/floors"
figures "$work/loads" ours
figures "$work/floors" floor
n=$(grep -c . "$work/loads")
[ "$n" -gt 0 ] || fail "there is no load"

sh benches/tables.sh "$work/results.tsv" >"$work/tables"
while read -r load; do
	grep -q "^| $load *|.*[0-9]" "$work/tables" || fail "$load is in no table"
done <"$work/loads"
# 9pmux's load generator, each kind of load, straight, through 9pmux, and through socat where that is
target/9pmux/release/examples/load -r 1 -s 0.05 -o "$work/9pmux.tsv" 1x1 64x16 64x16r 1000x16 >"$work/out"
! grep NaN "$work/out" || fail "a load of 9pmux's did not end"
for way in straight 9pmux; do
	for load in 1x1 64x16 64x16r 1000x16; do
		awk -F '\t' -v way="$way" -v load="$load" '
			$2 == way && $3 == load && $4 == "rate" && $6 > 0 { found = 1 }
			END { exit !found }' "$work/9pmux.tsv" || fail "9pmux: $load gives no figure of $way"
	done
done
sh benches/tables.sh "$work/9pmux.tsv" >"$work/tables"
grep -q '^| 64x16r *|.*[0-9]' "$work/tables" || fail "9pmux: 64x16r is in no table"

# page RESULTS PLOT...: the tables and these plots are of this results file in docs/plots
page() {
	file=$1
	shift
	tables=docs/plots/${file%.tsv}.txt
	sh benches/tables.sh "docs/plots/$file" | cmp -s - "$tables" || fail "$tables is not of docs/plots/$file: make plots"
	sed '/^[0-9].*rate/s/[0-9.]*$/7/' "docs/plots/$file" >"$work/others.tsv"
	! sh benches/tables.sh "$work/others.tsv" | cmp -s - "$tables" || fail "it does not notice tables of other results"
	if command -v gnuplot >/dev/null; then
		sh benches/plots.sh "docs/plots/$file" "$work/plots" 2>"$work/err" || { cat "$work/err" >&2; fail "no plots"; }
	fi
	for plot; do
		grep -qF -e "<!-- of $file, cksum $(cksum <"docs/plots/$file") -->" "docs/plots/$plot.svg" ||
			fail "docs/plots/$plot.svg is not of docs/plots/$file: make plots"
		! command -v gnuplot >/dev/null || [ -s "$work/plots/$plot.svg" ] || fail "$plot is not made"
	done
	nplot=$((nplot + $#))
}
nplot=0
page results.tsv threads latency outstanding
page 9pmux.tsv 9pmux-clients 9pmux-cost
[ "$nplot" -eq "$(find docs/plots -name '*.svg' | wc -l)" ] || fail "there is a plot in docs/plots that is of nothing"

echo "bench: $n loads of the library's and 4 of 9pmux's run, and the page's tables and plots are of its results"
