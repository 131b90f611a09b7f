#!/bin/sh
# example.sh - print one of the programs under EXAMPLES of mux.3: example.sh name [page]; without a name, their names
#
# The page marks each program by the comments `example name' and `end', and the lines with which all of them begin
# by the name `common'. A backslash is written \e there.
page=${2:-$(dirname "$0")/mux.3}
part() {
	sed -n "/^\\.\\\\\" example $1\$/,/^\\.\\\\\" end\$/p" "$page" | sed '/^\./d; s/\\e/\\/g'
}
case ${1:-} in
'')
	sed -n 's/^\.\\" example //p' "$page" | grep -v '^common$' ;;
*)
	part common
	part "$1" ;;
esac
