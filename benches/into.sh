#!/bin/sh
# into.sh PAGE NAME: puts standard input into PAGE, between its lines "<!-- NAME -->" and "<!-- end of NAME -->".
set -eu

page=${1:?into.sh PAGE NAME} name=${2:?into.sh PAGE NAME}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

cat >"$work/text"
awk -v text="$work/text" -v name="$name" '
	$0 == "<!-- end of " name " -->" { within = 0; ends++ }
	!within
	$0 == "<!-- " name " -->" {
		within = 1
		begins++
		print ""
		while ((getline line <text) > 0)
			print line
		print ""
	}
	END { exit begins != 1 || ends != 1 }' "$page" >"$work/page" ||
	{ echo "into: $page has not one place for $name" >&2; exit 1; }
cat "$work/page" >"$page"
