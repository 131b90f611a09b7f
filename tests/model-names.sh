#!/bin/sh
# model-names.sh [TREE]: the tables of docs/model/README.md, which say what each function of the model is in the
# code, leave none out and name none that is not there, on either side.
#
# Without TREE it looks at this one, and shows that it can fail at others.
set -eu

LC_ALL=C
export LC_ALL
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
cd "${1:-$(dirname "$self")/..}"
page=docs/model/README.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# said FILE COLUMN: the names in that column of the table about FILE.pml and FILE.rs
said() {
	awk -F'|' -v head="### \`docs/model/$1.pml\` and \`src/core/$1.rs\`" -v column="$2" '
		/^#/ { here = $0 == head; next }
		here && /^\|/ {
			n = split($(column + 1), part, "`")
			for (i = 2; i <= n; i += 2) print part[i]
		}' "$page" | sort -u
}

# in_model FILE: its functions and predicates; not switches such as N
in_model() {
	sed -n -e 's/^inline \([a-z_]*\)(.*/\1/p' -e 's/^#define[[:space:]]*\([a-z_]*\).*/\1/p' "docs/model/$1.pml" | sort -u
}

# in_code FILE
in_code() {
	sed -n 's/^ *\(pub *\)\{0,1\}\(([a-z]*) *\)\{0,1\}\(const *\)\{0,1\}fn \([a-z_]*\).*/\4/p' "src/core/$1.rs" | sort -u
}

# differ SIDE FILE: says what is not in both of `here` and `table`
differ() {
	comm -23 "$work/here" "$work/table" | sed "s|.*|model-names: & of $2 is not in $page|"
	comm -13 "$work/here" "$work/table" | sed "s|.*|model-names: $page: & is not in $2|"
}

# the tests of a source file have no names in the model; nor has what only a fault looks at
nothing='^stuck$'
for file in machine tagless waking closing sending receiving deadline finishing tags; do
	in_model $file | grep -v "$nothing" >"$work/here" || true
	said $file 1 >"$work/table"
	differ model docs/model/$file.pml
	in_code $file >"$work/here"
	said $file 2 >"$work/table"
	differ code src/core/$file.rs
done >"$work/faults"
n=$(grep -c '^| `' "$page")

if [ -s "$work/faults" ]; then
	cat "$work/faults" >&2
	exit 1
fi
[ $# -eq 0 ] || exit 0
[ "$n" -gt 50 ] || { echo "model-names: it looks at nothing" >&2; exit 1; }

# It must be able to fail: this tree with one name changed.
faults=0
while read -r file from to; do
	rm -rf "$work/tree"
	mkdir -p "$work/tree/docs" "$work/tree/src"
	cp -r docs/model "$work/tree/docs"
	cp -r src/core "$work/tree/src"
	sed "s/$from/$to/" "$file" >"$work/tree/$file"
	! sh "$self" "$work/tree" 2>/dev/null || { echo "model-names: it does not see $from changed" >&2; exit 1; }
	faults=$((faults + 1))
done <<'!'
src/core/receiving.rs fn.stand_in( fn.stands_in(
src/core/deadline.rs fn.woken( fn.awake(
docs/model/sending.pml inline.queue( inline.enqueue(
docs/model/README.md `pass_role` `pass_on`
!
echo "model-names: the model's functions and the code's are those of the tables; $faults faults would have been seen"
