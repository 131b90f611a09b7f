#!/bin/sh
# page.sh RESULTS NAME: docs/results.md anew: RESULTS become docs/plots/NAME, and its plots and tables are made of that.
set -eu

results=${1:?page.sh RESULTS NAME} name=${2:?page.sh RESULTS NAME}
cd "$(dirname "$0")/.."
[ -s "$results" ] || { echo "page: $results is not there: measure first" >&2; exit 1; }
sh tools/setup.sh plots
mkdir -p docs/plots
cp "$results" "docs/plots/$name"
sh benches/plots.sh "docs/plots/$name" docs/plots
sh benches/tables.sh "docs/plots/$name" docs/results.md
