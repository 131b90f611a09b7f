#!/bin/sh
# setup.sh GROUP|TOOL...: installs the tools that a make target uses besides cargo, make and a C compiler.
#
# As root on Debian and its relatives it installs what is missing. Anywhere else it prints the command
# to run and fails. Each group contains those before it:
#
# demo    diod, a 9P server of another project; nvim, a msgpack-RPC server
# check   valgrind, g++, mandoc, pkg-config, abidiff (the header against the last release's), socat (a byte
#         relay), tshark (dissects 9P), python3-venv (for p9fs, a 9P client), GNU Pth (a coroutine library), mk, clang and
#         its sanitizer runtimes of the LLVM that rustc has, a C compiler for i686
# long    the Debian package tools and lintian, llvm-cov
# cross   C compilers and libraries for the architectures of tests/cross.sh, qemu-user to run their programs,
#         musl, llvm-nm
# bench   socat
# plots   gnuplot
#
# A tool named here as /file:package is optional: what needs it is left out and says so. The same holds
# for the servers of the demonstration, because `make demo` ignores the status.
set -u

llvm=$(rustc -vV 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
demo="diod nvim:neovim"
check="$demo valgrind g++ mandoc pkg-config abidiff:abigail-tools socat tshark python3-venv"
long=$check
# Packages that only Debian has by these names.
if command -v apt-get >/dev/null; then
	check="$check /usr/include/pth.h:libpth-dev /usr/lib/plan9/bin/mk:9base"
	if [ -n "$llvm" ]; then
		check="$check /usr/bin/clang-$llvm:clang-$llvm /usr/lib/llvm-$llvm/lib/clang/$llvm/lib/linux:libclang-rt-$llvm-dev"
	fi
	cross=
	for target in aarch64-linux-gnu:arm64 arm-linux-gnueabihf:armhf i686-linux-gnu:i386 s390x-linux-gnu:s390x; do
		gnu=${target%:*}
		cross="$cross $gnu-gcc:gcc-$gnu /usr/$gnu/include/stdio.h:libc6-dev-${target#*:}-cross"
	done
	cross="$cross qemu-s390x-static:qemu-user-static musl-gcc:musl-tools llvm-nm:llvm"
	check="$check /usr/bin/i686-linux-gnu-gcc:gcc-i686-linux-gnu /usr/i686-linux-gnu/include/stdio.h:libc6-dev-i386-cross"
	long="$check dpkg-buildpackage:dpkg-dev dh:debhelper lintian"
	[ -z "$llvm" ] || long="$long /usr/bin/llvm-cov-$llvm:llvm-$llvm"
fi

tools=
for group in ${*:-check}; do
	case $group in
	demo) tools="$tools $demo" ;;
	check) tools="$tools $check" ;;
	long) tools="$tools $long" ;;
	cross) tools="$tools ${cross-}" ;;
	bench) tools="$tools socat" ;;
	plots) tools="$tools gnuplot:gnuplot-nox" ;;
	*) tools="$tools $group" ;;
	esac
done

# is_installed COMMAND|/FILE
is_installed() {
	case $1 in
	/*) test -e "$1" ;;
	python3-venv) python3 -c 'import ensurepip' 2>/dev/null ;;
	*) PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1" >/dev/null ;;
	esac
}

missing=
optional=
for tool in $tools; do
	is_installed "${tool%:*}" && continue
	case $tool in
	/*) optional="$optional ${tool#*:}" ;;
	*) missing="$missing ${tool#*:}" ;;
	esac
done
if [ -z "$missing$optional" ]; then
	echo "setup: every tool is installed"
	exit 0
fi

# Waits for another installation that runs at the same time.
install="apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends --no-remove"
if ! command -v apt-get >/dev/null; then
	echo "setup: missing:$missing$optional; this system has no apt-get, please install them by its own means" >&2
	test -z "$missing"
	exit
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "setup: missing:$missing$optional; run: sudo sh -c 'apt-get update && $install$missing$optional'" >&2
	test -z "$missing"
	exit
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update || test -z "$missing" || exit
if [ -n "$missing" ]; then
	$install $missing || exit
fi
for package in $optional; do
	$install "$package" || echo "setup: $package is not available: what needs it is left out" >&2
done
