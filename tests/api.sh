#!/bin/sh
# api.sh: tests/api.rs uses every public name of the library, and 9pmux/tests/api.rs those of the module client of
# ninepmux: each type, function, constant, field, variant and method that rustdoc lists. What these files use cannot
# be removed or changed without notice, because they would not compile.
set -eu

: "${CARGO:=cargo}"
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "api: $*" >&2; exit 1; }

$CARGO doc -q --locked --no-deps --lib --workspace
doc=${CARGO_TARGET_DIR:-target}/doc

# names PAGES [MODULE/]: the public names of a crate, or of a module, one a line. What a type implements of a trait,
# and what all types have, is below the heading of a section.
names() {
	grep -o 'href="[a-z_/]*\.[A-Za-z_]*\.html"' "$1/all.html" | sort -u | sed 's/href="\(.*\)"/\1/' >"$work/items"
	while read -r item; do
		case $item in "${2-}"*) ;; *) continue ;; esac
		echo "$item" | sed 's/.*\.\(.*\)\.html/\1/'
		awk 'match($0, /id="[a-z]+-implementations"/) { print substr($0, 1, RSTART - 1); exit } { print }' \
			"$1/$item" >"$work/page"
		{ grep -o 'id="[a-z]*\.[A-Za-z_]*' "$work/page" || true; } | sed 's/.*\.//'
	done <"$work/items" | sort -u
}

# unused FILE: those of the names on standard input that the file does not use
unused() {
	while read -r name; do
		grep -qw -- "$name" "$1" || echo "$name"
	done
}

# covers FILE KNOWN...: the file uses all names in $work/names, which include the known ones
covers() {
	file=$1
	shift
	for name; do
		grep -qx "$name" "$work/names" || fail "rustdoc's pages have another form: $name is not found in them"
	done
	left=$(unused "$file" <"$work/names")
	[ -z "$left" ] || fail "$file does not use
$left"
	echo "api: $file uses all $(wc -l <"$work/names") public names"
}

names "$doc/mux" >"$work/names"
covers tests/api.rs Mux Transport TagPool rpc_timeout try_finish max_outstanding EmptyRange Reply
names "$doc/ninepmux" client/ >"$work/names"
covers 9pmux/tests/api.rs File Transfer start_read muid Refused OREAD
[ "$(echo no_such_name | unused tests/api.rs)" = no_such_name ] || fail "a name that is missing is not noticed"
