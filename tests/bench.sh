#!/bin/sh
# bench.sh BUILD: checks that the benchmarks of the library and of 9pmux work: each load and its floor run and print their
# figures, from which tables and, with gnuplot, plots are made. Speed is not checked, because the times are much too
# short. It also checks that docs/results.md shows the results beside it.
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

# figures LIST SIDE: checks that each load has figures of that side
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
[ "$n" -gt 0 ] || fail "there are no loads"

sh benches/tables.sh "$work/results.tsv" >"$work/tables"
while read -r load; do
	grep -q "^| $load *|.*[0-9]" "$work/tables" || fail "$load is in no table"
done <"$work/loads"
# 9pmux's load generator: each kind of load, directly, through 9pmux, and through socat if it is installed
target/release/examples/load -r 1 -s 0.05 -o "$work/9pmux.tsv" 1x1 64x16 64x16r 1000x16 >"$work/out"
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

# page RESULTS PLOT...: checks that the tables and these plots were made from this results file in docs/plots
page() {
	file=$1
	shift
	tables=docs/plots/${file%.tsv}.txt
	sh benches/tables.sh "docs/plots/$file" | cmp -s - "$tables" || fail "$tables was not made from docs/plots/$file: make plots"
	sed -e '/^[0-9].*rate/s/[0-9.]*$/7/' -e '/^[0-9].*ratio/s/[0-9.]*$/7/' "docs/plots/$file" >"$work/others.tsv"
	! sh benches/tables.sh "$work/others.tsv" | cmp -s - "$tables" || fail "tables of other results are not noticed"
	if command -v gnuplot >/dev/null; then
		sh benches/plots.sh "docs/plots/$file" "$work/plots" 2>"$work/err" || { cat "$work/err" >&2; fail "no plots"; }
	fi
	for plot; do
		grep -qF -e "<!-- of $file, cksum $(cksum <"docs/plots/$file") -->" "docs/plots/$plot.svg" ||
			fail "docs/plots/$plot.svg was not made from docs/plots/$file: make plots"
		! command -v gnuplot >/dev/null || [ -s "$work/plots/$plot.svg" ] || fail "no plot $plot was made"
	done
	nplot=$((nplot + $#))
}
nplot=0
page results.tsv threads latency outstanding
page 9pmux.tsv 9pmux-clients 9pmux-cost
page link.tsv link
[ "$nplot" -eq "$(find docs/plots -name '*.svg' | wc -l)" ] || fail "docs/plots contains a plot that no results file has"

echo "bench: $n loads of the library and 4 of 9pmux run; the tables and plots of the page are those of its results"
