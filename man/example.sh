#!/bin/sh
# example.sh - print one of the programs under EXAMPLES of mux.3: example.sh name [page]
#
# The page marks them by comments, `example name' and `end'; a backslash is written \e there.
page=${2:-$(dirname "$0")/mux.3}
case ${1:-} in
'')
	sed -n 's/^\.\\" example //p' "$page" ;;
*)
	sed -n "/^\\.\\\\\" example $1\$/,/^\\.\\\\\" end\$/p" "$page" | sed '/^\./d; s/\\e/\\/g' ;;
esac
