#!/bin/sh
# api.sh: tests/api.rs uses every public name of the library: each type, function, constant, field, variant and
# method that rustdoc lists. What that file uses cannot be removed or changed without notice, because the file
# would not compile.
set -eu

: "${CARGO:=cargo}"
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "api: $*" >&2; exit 1; }

$CARGO doc -q --locked --no-deps --lib
pages=${CARGO_TARGET_DIR:-target}/doc/mux

# names: the public names, one a line. What a type implements of a trait, and what all types have, is below the
# heading of a section.
names() {
	grep -o 'href="[a-z_/]*\.[A-Za-z_]*\.html"' "$pages/all.html" | sort -u | sed 's/href="\(.*\)"/\1/' >"$work/items"
	while read -r item; do
		echo "$item" | sed 's/.*\.\(.*\)\.html/\1/'
		awk 'match($0, /id="[a-z]+-implementations"/) { print substr($0, 1, RSTART - 1); exit } { print }' \
			"$pages/$item" >"$work/page"
		{ grep -o 'id="[a-z]*\.[A-Za-z_]*' "$work/page" || true; } | sed 's/.*\.//'
	done <"$work/items" | sort -u
}

# unused: those of the names on standard input that the file does not use
unused() {
	while read -r name; do
		grep -qw -- "$name" tests/api.rs || echo "$name"
	done
}

names >"$work/names"
n=$(wc -l <"$work/names")
for name in Mux Transport TagPool rpc_timeout try_finish max_outstanding EmptyRange Reply; do
	grep -qx "$name" "$work/names" || fail "rustdoc's pages have another form: $name is not found in them"
done
left=$(unused <"$work/names")
[ -z "$left" ] || fail "tests/api.rs does not use
$left"
[ "$(echo no_such_name | unused)" = no_such_name ] || fail "a name that is missing is not noticed"
echo "api: tests/api.rs uses all $n public names"
