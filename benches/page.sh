#!/bin/sh
# page.sh RESULTS NAME: copies RESULTS to docs/plots/NAME, and draws the plots and prints the tables beside it.
set -eu

results=${1:?page.sh RESULTS NAME} name=${2:?page.sh RESULTS NAME}
cd "$(dirname "$0")/.."
[ -s "$results" ] || { echo "page: $results does not exist: measure first" >&2; exit 1; }
sh tools/setup.sh plots
mkdir -p docs/plots
cp "$results" "docs/plots/$name"
sh benches/plots.sh "docs/plots/$name" docs/plots
sh benches/tables.sh "docs/plots/$name" >"docs/plots/${name%.tsv}.txt"
