#!/bin/sh
# tables.sh RESULTS: prints the tables of a results file of compare.sh or of 9pmux's load generator
# (9pmux/examples/load), so that no figure is copied by hand.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
results=${1:?tables.sh RESULTS}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# the first line names what was measured
of=$(sed -n '1s/^# \(.*\) benchmark: 1$/\1/p' "$results")
case $of in
libmux) ours=ours others='peer floor' ;;
9pmux) ours=9pmux others='straight socat 9pserve' ;;
link) ours=link others=goal ;;
*) echo "tables: $results is no results file" >&2; exit 1 ;;
esac
awk -f "$here/summary.awk" -v ours="$ours" -v others="$others" "$results" >"$work/summary"
awk -f "$here/number.awk" -f "$here/$of-tables.awk" "$results" "$work/summary" | sed 's/–/-/g' | awk -f "$here/align.awk"
