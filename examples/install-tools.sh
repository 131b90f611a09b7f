#!/bin/sh
# install-tools.sh - install what `make check` and `make demo` use beyond a C compiler, make and cargo.
#
# diod        a 9P server that this project has no hand in (the demonstration)
# nvim        a server of msgpack-RPC (the demonstration)
# valgrind    memory errors and leaks (the C tests)
# g++         the header as C++ (the C tests)
# mandoc      the manual page's lint
# pkg-config  the installed mux.pc (the installation test)
# abidiff     the header against that of the last release
# dpkg-buildpackage, dh, lintian
#             the Debian packages, on Debian and its kin
#
# As root on Debian and its kin it installs them; anywhere else it says what to run and fails. With arguments
# it sees to those only: the demonstration needs none but shows less without diod and nvim.
set -u

# command:package, or one name for both
tools="diod nvim:neovim valgrind g++ mandoc pkg-config abidiff:abigail-tools"
if command -v apt-get >/dev/null; then
	tools="$tools dpkg-buildpackage:dpkg-dev dh:debhelper lintian"
fi
missing=
for tool in ${*:-$tools}; do
	PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "${tool%:*}" >/dev/null || missing="$missing ${tool#*:}"
done
if [ -z "$missing" ]; then
	echo "install-tools: everything is here"
	exit 0
fi

# waits for whoever else installs just now
install="apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends$missing"
if ! command -v apt-get >/dev/null; then
	echo "install-tools: missing:$missing; this system has no apt-get, install them its own way" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "install-tools: missing:$missing; run: sudo sh -c 'apt-get update && $install'" >&2
	exit 1
fi
apt-get update && DEBIAN_FRONTEND=noninteractive $install
