#!/bin/sh
# uninstall.sh FILE...: removes the files of `make install`. A file of that name that is not ours stays, and a line
# says so: libmux and mux.h are names that another project may use.
#
# A file of ours contains one of the marks below. A link is followed, so links come before the file that they lead to.
set -eu

# plan9port has a grep of its own, which may come first in PATH.
PATH=$(getconf PATH 2>/dev/null || echo /usr/bin:/bin):$PATH

marks='muxversion|9pmux|protocol multiplexor'

for file; do
	if [ ! -e "$file" ] && [ ! -L "$file" ]; then
		continue
	elif grep -qE "$marks" "$file" 2>/dev/null; then
		rm -f "$file"
	else
		echo "uninstall: $file stays, because it is not ours" >&2
	fi
done
