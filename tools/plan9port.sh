#!/bin/sh
# plan9port.sh install|uninstall TREE [ARCHIVE HEADER]: puts the library into a plan9port tree, or takes it out again.
#
# install replaces three files of the tree and keeps the original of each beside it, as FILE.orig:
#
#	lib/libmux.a            the archive, without debug information
#	include/mux.h           the header
#	src/libmux/mkfile       a mkfile that copies those two instead of compiling plan9port's sources
#
# Without the third, the tree's own build would compile those sources against our header and fail, or add
# plan9port's objects to our archive. The mkfile copies from src/libmux/libmux.a.installed and mux.h.installed, so it
# also works after lib/libmux.a has been removed. A tree without src (a binary package) gets the first two files.
#
# Every file that we install contains the mark below, so that a second install does not keep our own file as the
# original, and uninstall leaves a file alone that the tree has replaced by another one in the meantime.
set -eu

mark=muxversion
files="lib/libmux.a include/mux.h src/libmux/mkfile"

fail() { echo "plan9port: $*" >&2; exit 1; }
is_ours() { grep -q "$mark" "$1" 2>/dev/null; }

# put FILE SOURCE: installs SOURCE as FILE of the tree.
put() {
	if [ -e "$tree/$1" ] && ! is_ours "$tree/$1"; then
		cp -p "$tree/$1" "$tree/$1.orig"
	fi
	cp "$2" "$tree/$1.new"
	chmod 644 "$tree/$1.new"
	mv "$tree/$1.new" "$tree/$1"
}

[ $# -ge 2 ] || fail "usage: plan9port.sh install|uninstall TREE [ARCHIVE HEADER]"
command=$1 tree=$2
{ [ -d "$tree/lib" ] && [ -d "$tree/include" ]; } || fail "$tree is not a plan9port tree"

case $command in
install)
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cp "$3" "$work/libmux.a"
	strip --strip-debug "$work/libmux.a"
	is_ours "$work/libmux.a" || fail "$3 is not our archive"
	is_ours "$4" || fail "$4 is not our header"
	if [ -d "$tree/src/libmux" ]; then
		cp "$work/libmux.a" "$tree/src/libmux/libmux.a.installed"
		cp "$4" "$tree/src/libmux/mux.h.installed"
		put src/libmux/mkfile "$(dirname "$0")/plan9port.mkfile"
	fi
	put include/mux.h "$4"
	put lib/libmux.a "$work/libmux.a"
	;;
uninstall)
	for file in $files; do
		if is_ours "$tree/$file"; then
			if [ -e "$tree/$file.orig" ]; then
				mv "$tree/$file.orig" "$tree/$file"
			else
				rm -f "$tree/$file"
			fi
		fi
		rm -f "$tree/$file.orig"
	done
	rm -f "$tree/src/libmux/libmux.a.installed" "$tree/src/libmux/mux.h.installed"
	;;
*) fail "neither install nor uninstall: $command" ;;
esac
