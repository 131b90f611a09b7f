#!/bin/sh
# docs.sh [TREE]: what the pages say is there is there. Every relative link in a page leads to a file; every
# path of the tree that a page names in backticks exists, and every test, `file::function`, that docs/9pmux.md
# names; each picture is of the .dot beside it, by the checksum that tools/draw.sh left in it.
#
# Without TREE it looks at this one, and shows that it can fail at others.
set -eu

LC_ALL=C
export LC_ALL
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
cd "${1:-$(dirname "$self")/..}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# in backticks, what begins with one of these is a path of the tree; with * or ? it stands for at least one
dirs='9pmux abi benches c-tests debian docs examples fuzz include man src tests tools [.]ci'
# but not these, which are plan9port's
theirs=' src/libmux '

# A paragraph is looked at as a whole, since what is in backticks may go on in the next line.

# links PAGE: the targets of its links, outside of code
links() {
	awk 'function look() {
			gsub(/`[^`]*`/, "`", text)
			while (match(text, /\]\([^)]*\)/)) {
				print substr(text, RSTART + 2, RLENGTH - 3)
				text = substr(text, RSTART + RLENGTH)
			}
			text = ""
		}
		/^[ \t]*```/ { code = !code; look(); next }
		code { next }
		/^\[[^]]*\]: / { print $2; next }
		/^[ \t]*$/ { look() }
		{ text = text " " $0 }
		END { look() }' "$1"
}

# paths PAGE: the paths that it names in backticks or in blocks of code
paths() {
	awk -v dirs="$dirs" 'BEGIN { gsub(/ /, "|", dirs); path = "^(" dirs ")/" }
		function words(s,   n, w, i) {
			n = split(s, w, /[ \t"'\''(),;:=]+/)
			for (i = 1; i <= n; i++)
				if (w[i] ~ path) {
					sub(/[.]+$/, "", w[i])
					print w[i]
				}
		}
		function look(   n, j, part) {
			n = split(text, part, /`/)
			for (j = 2; j < n; j += 2)
				words(part[j])
			text = ""
		}
		/^[ \t]*```/ { code = !code; look(); next }
		code { words($0); next }
		/^[ \t]*$/ { look() }
		{ text = text " " $0 }
		END { look() }' "$1"
}

# fault PAGE: what is wrong with it
fault() { echo "docs: $*" >>"$work/faults"; }

: >"$work/faults"
npage=0 nlink=0 npath=0 npicture=0 ntest=0
for page in *.md 9pmux/*.md docs/*.md docs/*/*.md; do
	[ -f "$page" ] || continue
	npage=$((npage + 1))
	links "$page" >"$work/links"
	while read -r link; do
		case $link in
		*://* | mailto:* | '#'*) continue ;;
		esac
		nlink=$((nlink + 1))
		[ -e "$(dirname "$page")/${link%%#*}" ] || fault "$page: a link to $link, which is not there"
	done <"$work/links"
	paths "$page" >"$work/paths"
	while read -r path; do
		case $theirs in
		*" $path "*) continue ;;
		esac
		npath=$((npath + 1))
		for found in $path; do break; done
		[ -e "$found" ] || fault "$page: $path, which is not there"
	done <"$work/paths"
	case $page in
	*/9pmux.md) ;;
	*) continue ;;
	esac
	grep -o '`[a-z0-9]*::[a-z0-9_]*`' "$page" | tr -d '`' | sort -u >"$work/tests"
	while read -r name; do
		ntest=$((ntest + 1))
		grep -qs "^ *fn ${name#*::}()" "9pmux/src/engine/tests/${name%%::*}.rs" "9pmux/tests/${name%%::*}.rs" ||
			fault "$page: the test $name, which is not there"
	done <"$work/tests"
done
for dot in docs/*.dot; do
	[ -f "$dot" ] || continue
	npicture=$((npicture + 1))
	svg=${dot%.dot}.svg
	grep -qF -e "<!-- of $(basename "$dot"), cksum $(cksum <"$dot") -->" "$svg" 2>/dev/null ||
		fault "$svg is not of $dot as it is: run tools/draw.sh"
done
for svg in docs/*.svg; do
	[ ! -f "$svg" ] || [ -f "${svg%.svg}.dot" ] || fault "$svg has no .dot"
done

if [ -s "$work/faults" ]; then
	cat "$work/faults" >&2
	exit 1
fi
[ $# -eq 0 ] || exit 0
if [ $nlink -eq 0 ] || [ $npath -eq 0 ] || [ $npicture -eq 0 ] || [ $ntest -eq 0 ]; then
	echo "docs: $npage pages, $nlink links, $npath paths, $npicture pictures, $ntest tests: it looks at nothing" >&2
	exit 1
fi

# It must be able to fail: a tree that is right, then one thing in it wrong at a time.
tree=$work/tree
n=0
# good: such a tree
good() {
	rm -rf "$tree"
	mkdir -p "$tree/docs" "$tree/src"
	# shellcheck disable=SC2016 # the backticks are the page's
	printf '%s\n' '# A page' '[`x`](docs/x.md#top) [web](https://example.org/none) `src/*.rs` `[y](none)`' \
		'```' 'sh src/x.rs' '```' >"$tree/README.md"
	echo '[back](../README.md)' >"$tree/docs/x.md"
	echo x >"$tree/src/x.rs"
	echo 'digraph { a }' >"$tree/docs/x.dot"
	echo "<!-- of x.dot, cksum $(cksum <"$tree/docs/x.dot") -->" >"$tree/docs/x.svg"
}
good
sh "$self" "$tree" || { echo "docs: it finds fault where there is none" >&2; exit 1; }
while IFS='|' read -r name file line; do
	good
	printf '%b\n' "$line" >>"$tree/$file"
	! sh "$self" "$tree" 2>/dev/null || { echo "docs: it does not see $name" >&2; exit 1; }
	n=$((n + 1))
done <<'!'
a dead link|README.md|Text, and [a link](none.md).
a dead link beside a live one|docs/x.md|[back](../README.md), [away](../docs/none.md#here)
a dead link by reference|README.md|[name]: docs/none.md
a path that is not there|docs/x.md|As `src/none.rs` says.
a path in a command|README.md|Run `sh src/none.sh now`.
a pattern that stands for nothing|README.md|All of `src/none*.rs`.
a path in a block of code|README.md|```\n\tsrc/none.sh\n```
a path behind a line break in backticks|README.md|Run `sh -x\nsrc/none.sh now`.
a picture of another source|docs/x.dot|// changed
a test that is not there|docs/9pmux.md|As `flushing::none_such` shows.
!
echo "docs: $nlink links, $npath paths, $ntest tests and $npicture picture in $npage pages are right; $n faults would have been seen"
