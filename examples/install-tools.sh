#!/bin/sh
# install-tools.sh - install what `make check` and `make demo` use beyond a C compiler, make and cargo.
#
# diod        a 9P server that this project has no hand in (the demonstration)
# valgrind    memory errors and leaks (the C tests)
# g++         the header as C++ (the C tests)
# mandoc      the manual page's lint
# pkg-config  the installed mux.pc (the installation test)
#
# As root on Debian and its kin it installs them; anywhere else it says what to run and fails. With arguments
# it sees to those only: the demonstration can do without all but diod, and shows less without that.
set -u

tools=${*:-diod valgrind g++ mandoc pkg-config}
missing=
for tool in $tools; do
	PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$tool" >/dev/null || missing="$missing $tool"
done
if [ -z "$missing" ]; then
	echo "install-tools: everything is here"
	exit 0
fi

install="apt-get install -y --no-install-recommends$missing"
if ! command -v apt-get >/dev/null; then
	echo "install-tools: missing:$missing; this system has no apt-get, install them its own way" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "install-tools: missing:$missing; run: sudo sh -c 'apt-get update && $install'" >&2
	exit 1
fi
apt-get update && DEBIAN_FRONTEND=noninteractive $install
