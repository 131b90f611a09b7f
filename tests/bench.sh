#!/bin/sh
# bench.sh BUILD: the benchmark works: each load runs, with its floor, and gives its figures, and tables can be made of
# them; plots too, where there is a gnuplot. How fast anything is, is no test: the times are far too short. And what
# docs/performance.md shows is of the results beside it.
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
	grep -q "^| $load |.*[0-9]" "$work/tables" || fail "$load is in no table"
done <"$work/loads"
plots=
if command -v gnuplot >/dev/null; then
	sh benches/plots.sh "$work/results.tsv" "$work/plots" 2>"$work/err" || { cat "$work/err" >&2; fail "no plots"; }
	for plot in docs/plots/*.svg; do
		[ -s "$work/plots/$(basename "$plot")" ] || fail "$plot is not made"
	done
	plots=' and plots'
fi

# the page, and the plots, are of the results file that lies there
cp docs/performance.md "$work/page.md"
sh benches/tables.sh docs/plots/results.tsv "$work/page.md"
cmp -s docs/performance.md "$work/page.md" || fail "the tables in docs/performance.md are not of docs/plots/results.tsv: make plots"
sed '/^[0-9].*rate/s/[0-9.]*$/7/' docs/plots/results.tsv >"$work/others.tsv"
sh benches/tables.sh "$work/others.tsv" "$work/page.md"
! cmp -s docs/performance.md "$work/page.md" || fail "it does not see that the tables are of other results"
for plot in docs/plots/*.svg; do
	grep -qF -e "<!-- of results.tsv, cksum $(cksum <docs/plots/results.tsv) -->" "$plot" ||
		fail "$plot is not of docs/plots/results.tsv: make plots"
done

echo "bench: $n loads run, tables$plots can be made of them, and the page's are of its results"
