#!/bin/sh
# docs.sh [TREE]: checks the pages of TREE (this one by default).
#
# * Every relative link leads to a file.
# * Every path of the tree that a page names in backticks or in a block of code exists.
# * Every test, `file::function`, that the results and the internals page of 9pmux name exists.
# * Every test that docs/differences.md names in the last column of a table exists.
# * Every number before a mark <!-- const: FILE NAME --> is the value of that constant; in a manual page the mark is
#   a comment (.\" const: FILE NAME) after the line that ends in the number. NAME.FIELD is a field of a constant, NAME.0
#   and NAME.1 the parts of a pair, and default.FIELD a field in an implementation of Default. With /UNIT after the
#   name, the number counts units: 4 <!-- const: FILE NAME /1024 --> KiB.
# * Every figure in the table of the README, except the ratios in its last column, is in docs/plots/*.txt.
# * Every name in the glossary is in the source, and so is every name of code in backticks in the internals pages.
# * Measured figures are only in the pages that docs/results.md lists.
# * README, SECURITY, CONTRIBUTING and docs have at most 15,000 words, without blocks of code.
# * Every column of a table has a header.
#
# Without TREE it also checks that it can fail.
set -eu

LC_ALL=C
export LC_ALL
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
cd "${1:-$(dirname "$self")/..}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Words that begin with one of these are paths of the tree. A path with * or ? must match at least one file.
dirs='9pmux abi benches c-tests debian docs examples fuzz include make man src tests tools [.]ci'
# paths of plan9port, not of this tree
theirs=' src/libmux '

# Paragraphs are examined as a whole, because a span in backticks may continue in the next line.

# links PAGE: the targets of its links, outside of code
links() {
	awk 'function examine() {
			gsub(/`[^`]*`/, "`", text)
			while (match(text, /\]\([^)]*\)/)) {
				print substr(text, RSTART + 2, RLENGTH - 3)
				text = substr(text, RSTART + RLENGTH)
			}
			text = ""
		}
		/^[ \t]*```/ { code = !code; examine(); next }
		code { next }
		/^\[[^]]*\]: / { print $2; next }
		/^[ \t]*$/ { examine() }
		{ text = text " " $0 }
		END { examine() }' "$1"
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
		function examine(   n, j, part) {
			n = split(text, part, /`/)
			for (j = 2; j < n; j += 2)
				words(part[j])
			text = ""
		}
		/^[ \t]*```/ { code = !code; examine(); next }
		code { words($0); next }
		/^[ \t]*$/ { examine() }
		{ text = text " " $0 }
		END { examine() }' "$1"
}

# constants PAGE: lines of number, file, name and unit
constants() {
	case $1 in
	*.md)
		awk '{
			while (match($0, /[0-9,]+ <!-- const: [^ ]+ [^ ]+ (\/[0-9]+ )?-->/)) {
				split(substr($0, RSTART, RLENGTH), w, " ")
				print w[1], w[4], w[5], w[6] ~ /^\// ? substr(w[6], 2) : 1
				$0 = substr($0, RSTART + RLENGTH)
			}
			if (/<!-- const: /)
				print "none", "mark-without-a-number", FNR
		}' "$1" ;;
	*)
		awk '/^\.\\" const: / {
			print match(last, /[0-9]+[ A-Za-z]*[.,;]?$/) ? substr(last, RSTART) + 0 : "none", $3, $4, $5 ? substr($5, 2) : 1 }
			{ last = $0 }' "$1" ;;
	esac
}

# value FILE NAME: of a Rust constant that is an integer, a sum, a product, a shift, or a Duration::from_...(integer)
value() {
	case $2 in
	default.*) expr=$(sed -n "s/^ *${2#default.}: \(.*\),\$/\1/p" "$1" | head -n 1) ;;
	*) expr=$(sed -n "s/^ *\(pub\(([a-z]*)\)\{0,1\} \)\{0,1\}const ${2%%.*}: [^=]* = \(.*\);.*/\3/p" "$1" | head -n 1) ;;
	esac
	case $2 in
	default.*) ;;
	*.0) expr=${expr#\(} expr=${expr%%,*} ;;
	*.1) expr=${expr#*, } expr=${expr%\)} ;;
	*.*) expr=$(printf '%s' "$expr" | sed "s/.*[{ ]${2#*.}: \([^,}]*\).*/\1/") ;;
	esac
	case $expr in
	Duration::from_*\(*) expr=${expr#*\(} expr=${expr%\)} ;;
	esac
	expr=$(printf '%s' "$expr" | tr -d '_')
	case $expr in
	'' | *[!0-9\ *+\<]*) echo unknown ;;
	# shellcheck disable=SC2004 # dash evaluates the text, but not a variable that contains an expression
	*) echo $(($expr)) ;;
	esac
}

# figures: the numbers in the table under the heading Figures of the README
figures() {
	awk '/^## / { inside = /^## Figures/ }
		inside && /^\|/ {
			gsub(/\|[^|]*\|$/, "|")
			n = split($0, cell, /\|/)
			for (i = 3; i <= n; i++)
				if (match(cell[i], /[0-9][0-9,.]*/))
					print substr(cell[i], RSTART, RLENGTH)
		}' README.md
}

# headerless PAGE: the lines of tables with a column without a header
headerless() {
	awk '/^[ \t]*```/ { code = !code }
		!code && /^\|[-:| ]+\|$/ && /-/ && last ~ /\| *\|/ { print FNR - 1 }
		{ last = $0 }' "$1"
}

# names PAGE: the single names of code that it has in backticks
names() {
	sed '/^[ \t]*```/,/^[ \t]*```/d' "$1" | tr '\n' ' ' | grep -o '`[A-Za-z_][A-Za-z0-9_]*`' | tr -d '`' | sort -u
}

# units PAGE: its numbers with a unit, outside of code, unless a mark makes them the value of a constant
units() {
	awk '/^[ \t]*```/ { code = !code }
		!code {
			gsub(/`[^`]*`/, "")
			gsub(/<!-- const: [^>]*--> [A-Za-z]*/, "x")
			while (match($0, /[0-9] ?(%|ns|us|ms|s|seconds?|minutes?|hours?|[KMG]i?B|calls\/s|messages\/s)([^A-Za-z0-9_\/]|$)/)) {
				print substr($0, RSTART, RLENGTH)
				$0 = substr($0, RSTART + RLENGTH)
			}
		}' "$1"
}

# words PAGE: the number of its words outside of blocks of code
words() {
	awk '/^[ \t]*```/ { code = !code; next }
		!code {
			gsub(/<!--[^>]*-->/, "")
			for (i = 1; i <= NF; i++)
				n += $i ~ /[A-Za-z0-9_]/
		}
		END { print n + 0 }' "$1"
}

# fault WHAT: records it
fault() { echo "docs: $*" >>"$work/faults"; }

: >"$work/faults"
npage=0 nlink=0 npath=0 ntest=0 nconst=0 nfigure=0 nname=0 nword=0
for page in *.md 9pmux/*.md docs/*.md docs/*/*.md tests/README.md man/*.[1-8] 9pmux/man/*.[1-8]; do
	[ -f "$page" ] || continue
	npage=$((npage + 1))
	constants "$page" >"$work/constants"
	while read -r number file name unit; do
		nconst=$((nconst + 1))
		number=$(echo "$number" | tr -d ,)
		real=$(value "$file" "$name" 2>/dev/null)
		[ "$number" = none ] || number=$((number * unit))
		[ "$number" = "$real" ] || fault "$page: $number, but $name in $file is $real"
	done <"$work/constants"
	case $page in *.md) ;; *) continue ;; esac
	for line in $(headerless "$page"); do
		fault "$page:$line: a table column without a header"
	done
	case $page in
	README.md | CONTRIBUTING.md | docs/results.md | docs/platforms.md | docs/internals/decisions.md | tests/README.md) ;;
	*)
		units "$page" >"$work/units"
		while read -r figure; do
			fault "$page: the figure $figure, which belongs in docs/results.md"
		done <"$work/units" ;;
	esac
	case $page in
	README.md | SECURITY.md | CONTRIBUTING.md | docs/*) nword=$((nword + $(words "$page"))) ;;
	esac
	links "$page" >"$work/links"
	while read -r link; do
		case $link in
		*://* | mailto:* | '#'*) continue ;;
		esac
		nlink=$((nlink + 1))
		[ -e "$(dirname "$page")/${link%%#*}" ] || fault "$page: a link to $link, which does not exist"
	done <"$work/links"
	paths "$page" >"$work/paths"
	while read -r path; do
		case $theirs in
		*" $path "*) continue ;;
		esac
		npath=$((npath + 1))
		for found in $path; do break; done
		[ -e "$found" ] || fault "$page: $path, which does not exist"
	done <"$work/paths"
	case $page in
	docs/internals/*)
		names "$page" >"$work/names"
		while read -r name; do
			nname=$((nname + 1))
			grep -rqw -e "$name" src 9pmux/src include c-tests 2>/dev/null ||
				fault "$page: the name $name, which is not in the source"
		done <"$work/names" ;;
	esac
	case $page in
	docs/internals/9pmux.md | docs/results.md)
		grep -o '`[a-z0-9_]*::[a-z0-9_]*`' "$page" | tr -d '`' | sort -u >"$work/tests"
		while read -r name; do
			ntest=$((ntest + 1))
			grep -qs "^ *fn ${name#*::}()" "9pmux/src/engine/tests/${name%%::*}.rs" "9pmux/tests/${name%%::*}.rs" \
				"9pmux/src/net/${name%%::*}.rs" ||
				fault "$page: the test $name, which does not exist"
		done <"$work/tests" ;;
	docs/internals/glossary.md)
		sed -n 's/^|.*| `\([^|]*\)` |$/\1/p' "$page" | tr -d '`,' | tr ' ' '\n' >"$work/names"
		while read -r name; do
			nname=$((nname + 1))
			grep -rqw -e "$name" src 9pmux/src include 2>/dev/null || fault "$page: the name $name, which is not in the source"
		done <"$work/names" ;;
	docs/differences.md)
		awk '/^\|/ { if (!table) { table = 1; tests = /\| tests? \|$/; next } }
			!/^\|/ { table = 0 }
			table && tests && !/^\|-/ { n = split($0, cell, /\|/); print cell[n - 1] }' "$page" |
			tr -s ', ' '\n\n' | grep -v '^$' | sort -u >"$work/tests"
		while read -r name; do
			ntest=$((ntest + 1))
			case $name in
			*/*) found=$name ;;
			*) found="c-tests/$name.c" ;;
			esac
			for found in $found; do break; done
			[ -e "$found" ] || fault "$page: the test $name, which does not exist"
		done <"$work/tests" ;;
	esac
done
[ $nword -le "${MAX_WORDS:=15000}" ] || fault "$nword words in README, SECURITY, CONTRIBUTING and docs, and the limit is $MAX_WORDS"
if [ -f README.md ]; then
	figures >"$work/figures"
	while read -r figure; do
		nfigure=$((nfigure + 1))
		# a figure of the tables, or one of them rounded to an integer
		awk -v f="$figure" '{
				gsub(/[^0-9.,]+/, " ")
				n = split($0, w, " ")
				for (i = 1; i <= n; i++)
					if (w[i] == f || w[i] ~ /^[0-9]+[.][0-9]+$/ && sprintf("%.0f", w[i]) == f)
						found = 1
			}
			END { exit !found }' docs/plots/*.txt || fault "README.md: $figure, which was not measured"
	done <"$work/figures"
fi

if [ -s "$work/faults" ]; then
	cat "$work/faults" >&2
	exit 1
fi
[ $# -eq 0 ] || exit 0
for n in $nlink $npath $ntest $nconst $nfigure $nname $nword; do
	[ "$n" -gt 0 ] || { echo "docs: $nlink links, $npath paths, $ntest tests, $nconst constants, $nfigure figures, $nname names: it checks nothing" >&2; exit 1; }
done

# It must be able to fail: a correct tree, then one fault at a time.
tree=$work/tree
n=0
# good: writes the correct tree
good() {
	rm -rf "$tree"
	mkdir -p "$tree/docs/internals" "$tree/docs/plots" "$tree/src" "$tree/man" "$tree/c-tests"
	# shellcheck disable=SC2016 # the backticks are the page's
	printf '%s\n' '# A page' '[`x`](docs/x.md#top) [web](https://example.org/none) `src/*.rs` `[y](none)`' \
		'```' 'sh src/x.rs' '```' '## Figures' '' '| load | here | ratio |' '|---|---|---|' '| a | 1,500 | 2 |' >"$tree/README.md"
	echo '| a | 1,500 (1,400–1,600) |' >"$tree/docs/plots/x.txt"
	echo '[back](../README.md) 1,024 <!-- const: src/x.rs SIZE --> 2 <!-- const: src/x.rs LIMIT -->' >"$tree/docs/x.md"
	echo '1 <!-- const: src/x.rs SIZE /1024 --> KiB, 7 <!-- const: src/x.rs PAIR.1 -->' >>"$tree/docs/x.md"
	printf '%s\n' 'pub const SIZE: usize = 1024;' 'const LIMIT: Duration = Duration::from_secs(2);' \
		'const PAIR: (u64, u64) = (5, 7);' 'const RATE: Rate = Rate { each: 3, burst: 4 };' '        size: 1 << 4,' >"$tree/src/x.rs"
	# shellcheck disable=SC1003 # a comment of a manual page
	printf '%s\n' 'at most 1024' '.\" const: src/x.rs SIZE' '4 at once,' '.\" const: src/x.rs RATE.burst' \
		'16 by default.' '.\" const: src/x.rs default.size' >"$tree/man/x.3"
	: >"$tree/c-tests/a.c"
	printf '%s\n' '| name | test |' '|---|---|' '| x | a, c-tests/* |' >"$tree/docs/differences.md"
}
good
sh "$self" "$tree" || { echo "docs: reports a fault in a correct tree" >&2; exit 1; }
while IFS='|' read -r name file line; do
	good
	printf '%b\n' "$(echo "$line" | tr '^' '|')" >>"$tree/$file"
	! sh "$self" "$tree" 2>/dev/null || { echo "docs: does not notice $name" >&2; exit 1; }
	n=$((n + 1))
done <<'!'
a dead link|README.md|Text, and [a link](none.md).
a dead link beside a live one|docs/x.md|[back](../README.md), [away](../docs/none.md#here)
a dead link by reference|README.md|[name]: docs/none.md
a path that does not exist|docs/x.md|As `src/none.rs` says.
a path in a command|README.md|Run `sh src/none.sh now`.
a pattern without a match|README.md|All of `src/none*.rs`.
a path in a block of code|README.md|```\n\tsrc/none.sh\n```
a path after a line break in backticks|README.md|Run `sh -x\nsrc/none.sh now`.
a test of 9pmux that does not exist|docs/internals/9pmux.md|As `flushing::none_such` shows.
a test of a difference that does not exist|docs/differences.md|^ y ^ none_such ^
a name that is not in the source|docs/internals/glossary.md|^ term ^ meaning ^ `NoSuchName` ^
a name in a page that is not in the source|docs/internals/architecture.md|The function `no_such_name` does this.
a figure in another page|docs/x.md|A call takes 5 ms.
another value of a constant|docs/x.md|1,025 <!-- const: src/x.rs SIZE -->
a constant that does not exist|docs/x.md|1,024 <!-- const: src/x.rs NONE -->
another value in units|docs/x.md|2 <!-- const: src/x.rs SIZE /1024 -->
another field of a constant|docs/x.md|4 <!-- const: src/x.rs RATE.each -->
another default|docs/x.md|17 <!-- const: src/x.rs default.size -->
a mark without a number|docs/x.md|some <!-- const: src/x.rs SIZE -->
another value in a manual page|man/x.3|at most 1025\n.\\\\" const: src/x.rs SIZE
a figure that was not measured|README.md|^ b ^ 1,501 ^ 2 ^
a column without a header|docs/x.md|\n^ a ^ ^\n^---^---^\n^ b ^ c ^
!
good
yes word | head -n 500 >>"$tree/docs/x.md"
! MAX_WORDS=500 sh "$self" "$tree" 2>/dev/null || { echo "docs: does not notice too many words" >&2; exit 1; }
n=$((n + 1))
echo "docs: $nlink links, $npath paths, $ntest tests, $nconst constants, $nfigure figures, $nname names and $nword words in $npage pages are right; $n faults would have been noticed"
