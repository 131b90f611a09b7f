#!/bin/sh
# install-tools.sh - install what `make check` and `make demo` use beyond a C compiler, make and cargo.
#
# diod        a 9P server that this project has no hand in (the demonstration)
# nvim        a server of msgpack-RPC (the demonstration)
# valgrind    memory errors and leaks (the C tests); instructions counted (tests/instructions.sh)
# g++         the header as C++ (the C tests)
# mandoc      the manual page's lint
# pkg-config  the installed mux.pc (the installation test)
# spin        the model of the protocol
# abidiff     the header against that of the last release
# socat       a relay of bytes: to measure against, and between 9pmux and a server of Unix sockets (9pmux/tests/peers.sh)
# tshark      what is sent between 9pmux and its peers, taken apart by somebody else (9pmux/tests/peers.sh)
# python3-venv
#             for PyPI's p9fs, a peer of 9pmux (9pmux/tests/peers.sh)
# dpkg-buildpackage, dh, lintian
#             the Debian packages, on Debian and its kin
# pth.h       GNU Pth, a scheduler that others wrote (a C test), there too
# clang, llvm-cov, the sanitizers' runtime
#             of the LLVM that rustc has (the C tests under sanitizers, `make coverage`), there too, when
#             SANITIZERS is set: they are large
#
# `make plots` asks for gnuplot besides.
#
# As root on Debian and its kin it installs them; anywhere else it says what to run and fails. What is a file
# rather than a command can be done without, and does not make it fail. With arguments it sees to those only:
# the demonstration needs none but shows less without diod and nvim.
set -u

# command:package, or one name for both; /file:package
tools="diod nvim:neovim valgrind g++ mandoc pkg-config spin abidiff:abigail-tools socat tshark python3-venv"
if command -v apt-get >/dev/null; then
	tools="$tools dpkg-buildpackage:dpkg-dev dh:debhelper lintian /usr/include/pth.h:libpth-dev"
	llvm=$(rustc -vV 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
	if [ -n "$llvm" ] && [ -n "${SANITIZERS:-}" ]; then
		tools="$tools /usr/bin/clang-$llvm:clang-$llvm /usr/bin/llvm-cov-$llvm:llvm-$llvm"
		tools="$tools /usr/lib/llvm-$llvm/lib/clang/$llvm/lib/linux:libclang-rt-$llvm-dev"
	fi
fi
missing=
optional=
for tool in ${*:-$tools}; do
	case $tool in
	/*) test -e "${tool%:*}" || optional="$optional ${tool#*:}" ;;
	python3-venv) python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv" ;;
	*) PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "${tool%:*}" >/dev/null || missing="$missing ${tool#*:}" ;;
	esac
done
if [ -z "$missing$optional" ]; then
	echo "install-tools: everything is here"
	exit 0
fi

# waits for whoever else installs just now
install="apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends"
if ! command -v apt-get >/dev/null; then
	echo "install-tools: missing:$missing$optional; this system has no apt-get, install them its own way" >&2
	test -z "$missing"
	exit
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "install-tools: missing:$missing$optional; run: sudo sh -c 'apt-get update && $install$missing$optional'" >&2
	test -z "$missing"
	exit
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update || test -z "$missing" || exit
if [ -n "$missing" ]; then
	$install $missing || exit
fi
for package in $optional; do
	$install "$package" || echo "install-tools: $package can not be had: what needs it is left out" >&2
done
