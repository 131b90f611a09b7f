#!/bin/sh
# timed.sh FILE NAME COMMAND...: runs a command, prints how long it took, and adds that to FILE.
#
#	timed.sh --sum FILE	prints the table of all commands in FILE, and from the first to the last of them
#
# A command that could not check anything creates the file $SKIPPED; the table and the line then say "skipped".
#
# The seconds of the processor are those of the command and of all that it has waited for. They hardly depend on what else
# the machine does.
set -u

if [ "$1" = --sum ]; then
	awk -F '\t' '
		BEGIN { printf "%-24s %6s %10s\n", "part", "s", "processor" }
		{
			printf "%-24s %6d %10d%s\n", $1, $2, $3, $5 ? "  " $5 : ""
			processor += $3
			if (NR == 1 || $4 < begun) begun = $4
			if ($4 + $2 > ended) ended = $4 + $2
		}
		END { printf "%-24s %6d %10d\n", "all", ended - begun, processor }' "$2"
	exit
fi

file=$1 name=$2
shift 2
mkdir -p "$(dirname "$file")"
SKIPPED=$(realpath "$(dirname "$file")")/skipped.$$
export SKIPPED
rm -f "$SKIPPED"
begun=$(date +%s)
"$@" && status=0 || status=$?
seconds=$(($(date +%s) - begun))
# The second line of `times` is of the children: "1m2.34s 0m5.67s", user and system. Behind a pipe, it would be of none.
times >"$file.$$"
processor=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); sum += 60 * t[1] + t[2] } print int(sum + 0.5) }' "$file.$$")
rm -f "$file.$$"
skipped=
[ ! -e "$SKIPPED" ] || skipped=skipped
rm -f "$SKIPPED"
printf '%s\t%d\t%d\t%d\t%s\n' "$name" "$seconds" "$processor" "$begun" "$skipped" >>"$file"
[ $status -eq 0 ] && failed= || failed='FAILED, '
echo "# $name: $failed${skipped:+skipped, }$seconds s, $processor s of the processor"
exit $status
