#!/bin/sh
# plan9port.sh install TREE ARCHIVE HEADER [9PMUX], or uninstall TREE: puts the library into a plan9port tree, or takes
# it out again.
#
# install replaces these files of the tree and keeps the original of each beside it, as FILE.orig; the last two only
# with 9PMUX:
#
#	lib/libmux.a            the archive, without debug information
#	include/mux.h           the header
#	src/libmux/mkfile       a mkfile that copies those two instead of compiling plan9port's sources
#	bin/9pmux, bin/9pserve  the program, which does the work of 9pserve under that name
#
# Without the mkfile, the tree's own build would compile those sources against our header and fail, or add
# plan9port's objects to our archive. The mkfile copies from src/libmux/libmux.a.installed and mux.h.installed, so it
# also works after lib/libmux.a has been removed. For the same reason 9PMUX moves src/cmd/9pserve.c to 9pserve.c.orig, and
# adds the directory src/cmd/9pserve, whose mkfile copies the program. A tree without src (a binary package) gets only
# the files of the other directories.
#
# Every file that we install contains one of the marks below, so that a second install does not keep our own file as
# the original, and uninstall leaves a file alone that the tree has replaced by another one in the meantime. A program
# with a mark may have come from elsewhere, for example by `make install PREFIX=TREE`. So the checksums of the programs
# that we install are kept in bin/9pmux.installed.
set -eu

# plan9port has a grep of its own, which may come first in PATH.
PATH=$(getconf PATH 2>/dev/null || echo /usr/bin:/bin):$PATH

marks='muxversion|9pmux'
files="lib/libmux.a include/mux.h src/libmux/mkfile bin/9pmux bin/9pserve"
record=bin/9pmux.installed program=src/cmd/9pserve

fail() { echo "plan9port: $*" >&2; exit 1; }
has_mark() { grep -qE "$marks" "$1" 2>/dev/null; }
checksum() { (cd "$tree" && cksum "$1"); }
is_recorded() { grep -qsxF -e "$(checksum "$1")" "$tree/$record"; }

# is_ours FILE: FILE of the tree is one that we have installed, which is no link.
is_ours() {
	{ [ ! -L "$tree/$1" ] && has_mark "$tree/$1"; } || return 1
	case $1 in
	bin/*) is_recorded "$1" ;;
	esac
}

# put FILE SOURCE MODE: installs SOURCE as FILE of the tree.
put() {
	if [ -e "$tree/$1" ] && ! is_ours "$1"; then
		cp -pP "$tree/$1" "$tree/$1.orig"
	fi
	cp "$2" "$tree/$1.new"
	chmod "$3" "$tree/$1.new"
	mv "$tree/$1.new" "$tree/$1"
}

[ $# -ge 2 ] || fail "usage: plan9port.sh install|uninstall TREE [ARCHIVE HEADER [9PMUX]]"
command=$1 tree=$2
{ [ -d "$tree/lib" ] && [ -d "$tree/include" ]; } || fail "$tree is not a plan9port tree"
here=$(dirname "$0")

case $command in
install)
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cp "$3" "$work/libmux.a"
	strip --strip-debug "$work/libmux.a"
	has_mark "$work/libmux.a" || fail "$3 is not our archive"
	has_mark "$4" || fail "$4 is not our header"
	if [ $# -ge 5 ]; then
		cp "$5" "$work/9pmux"
		strip "$work/9pmux"
		has_mark "$work/9pmux" || fail "$5 is not our program"
		[ -d "$tree/bin" ] || fail "$tree has no directory bin"
	fi
	if [ -d "$tree/src/libmux" ]; then
		cp "$work/libmux.a" "$tree/src/libmux/libmux.a.installed"
		cp "$4" "$tree/src/libmux/mux.h.installed"
		put src/libmux/mkfile "$here/plan9port.mkfile" 644
	fi
	put include/mux.h "$4" 644
	put lib/libmux.a "$work/libmux.a" 644
	if [ $# -ge 5 ]; then
		if [ -d "$tree/src/cmd" ]; then
			mkdir -p "$tree/$program"
			cp "$work/9pmux" "$tree/$program/9pmux.installed"
			cp "$here/plan9port-9pserve.mkfile" "$tree/$program/mkfile"
			[ ! -e "$tree/$program.c" ] || mv "$tree/$program.c" "$tree/$program.c.orig"
		fi
		# Until both are there, the record has the former programs too.
		cp "$work/9pmux" "$work/9pserve"
		(cd "$work" && cksum 9pmux 9pserve) | sed 's|9p[a-z]*$|bin/&|' >"$work/record"
		cat "$work/record" >>"$tree/$record"
		put bin/9pmux "$work/9pmux" 755
		put bin/9pserve "$work/9pserve" 755
		cp "$work/record" "$tree/$record"
	fi
	;;
uninstall)
	if has_mark "$tree/$program/mkfile"; then
		rm -f "$tree/$program/mkfile" "$tree/$program/9pmux.installed"
		rmdir "$tree/$program"
		[ -e "$tree/$program.c" ] || mv "$tree/$program.c.orig" "$tree/$program.c"
		rm -f "$tree/$program.c.orig"
	fi
	for file in $files; do
		if is_ours "$file"; then
			if [ -e "$tree/$file.orig" ]; then
				mv "$tree/$file.orig" "$tree/$file"
			else
				rm -f "$tree/$file"
			fi
		fi
		rm -f "$tree/$file.orig"
	done
	rm -f "$tree/src/libmux/libmux.a.installed" "$tree/src/libmux/mux.h.installed" "$tree/$record"
	;;
*) fail "neither install nor uninstall: $command" ;;
esac
