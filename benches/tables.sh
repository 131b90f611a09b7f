#!/bin/sh
# tables.sh RESULTS [PAGE]: the tables of a results file, of compare.sh's or of 9pmux's load generator
# (9pmux/examples/load), as markdown: printed, or put into PAGE between its lines "<!-- tables -->" and
# "<!-- end of tables -->", for 9pmux "9pmux tables". So no figure in a page is typed by hand.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
results=${1:?tables.sh RESULTS [PAGE]}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# what it is of stands in its first line
of=$(sed -n '1s/^# \(.*\) benchmark: 1$/\1/p' "$results")
case $of in
libmux) name=tables ours=ours others='peer floor' ;;
9pmux) name='9pmux tables' ours=9pmux others='straight socat 9pserve' ;;
*) echo "tables: $results is no results file" >&2; exit 1 ;;
esac
awk -f "$here/summary.awk" -v ours="$ours" -v others="$others" "$results" >"$work/summary"
awk -f "$here/number.awk" -f "$here/$of-tables.awk" "$results" "$work/summary" >"$work/tables"

if [ $# -lt 2 ]; then
	cat "$work/tables"
else
	sh "$here/into.sh" "$2" "$name" <"$work/tables"
fi
