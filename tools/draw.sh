#!/bin/sh
# draw.sh: draws the pictures in docs anew, each .svg from the .dot beside it, by graphviz. Each gets the
# checksum of what it was drawn from, for tests/docs.sh: the rest of it differs from one graphviz to the next.
set -eu

cd "$(dirname "$0")/../docs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for dot in *.dot; do
	svg=${dot%.dot}.svg
	dot -Tsvg -o "$work/$svg" "$dot"
	awk -v mark="<!-- of $dot, cksum $(cksum <"$dot") -->" '
		/^<svg/ && !done { print mark; done = 1 }
		{ print }' "$work/$svg" >"$work/marked"
	cat "$work/marked" >"$svg"
done
