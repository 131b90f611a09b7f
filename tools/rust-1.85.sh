#!/bin/sh
# rust-1.85.sh [ARCH...]: unpacks Rust 1.85.0 of Debian 12 into target/r85, and prints the environment
# that makes cargo use it.  ARCH is a Debian architecture (arm64, armhf, i386, s390x) whose standard
# library is unpacked too; its target is then available to rustc.  "src" is the source of the standard
# library, from which cargo -Zbuild-std builds it for a target that Debian does not have.
#
# If the installed rustc is of this release, as on Debian 13, and no ARCH is named, it is used, and nothing
# is fetched.
#
# Nothing is installed, and no privilege is needed.  What has been unpacked is not fetched again.  The
# output is for a shell, which should stop if this script fails:
#
#	e=$(sh tools/rust-1.85.sh) && eval "$e" && cargo build --locked
#
# The exit status is 0; 77 if the compiler cannot be had here (no apt, no network, another machine than
# amd64, or the version has left Debian's archive); another value after any other error.
set -eu

release=1.85.0
unavailable=77

cd "$(dirname "$0")/.."
mkdir -p target
here=$PWD/target
root=$here/r85
lists=$here/r85-apt

no() {
	echo "rust-1.85: $*" >&2
	exit $unavailable
}

# Prints the packages that ARCH needs.  The compiler itself is always the host's.
packages() {
	case $1 in
	"$host") echo "rustc-web libstd-rust-web-1.85 libstd-rust-web-dev" ;;
	src) echo "rust-web-src" ;;
	*) echo "libstd-rust-web-dev:$1" ;;
	esac
}

# apt with package lists of its own, so that foreign architectures need not be configured.
apt() {
	tool=$1
	shift
	"$tool" -o APT::Architecture="$host" -o APT::Architectures="$architectures" \
		-o APT::Sandbox::User="$(id -un)" -o Dir::State::Lists="$lists/lists" \
		-o Dir::Cache="$lists/cache" -o Debug::NoLocking=1 "$@"
}

update() {
	mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
	# A source that fails may be one that is not needed.
	apt apt-get update -qq >"$lists/log" 2>&1 || true
	version=$(apt apt-cache madison rustc-web 2>>"$lists/log" | awk -v v="$release" 'index($3, v "+") == 1 { print $3; exit }')
	[ -n "$version" ] || {
		cat "$lists/log" >&2
		no "no package source of this machine has rustc-web $release (Debian 12 has it)"
	}
}

# fetch ARCH: downloads the packages of ARCH and unpacks them.
fetch() {
	work=$(mktemp -d "$lists/$1.XXXXXX")
	names=
	for p in $(packages "$1"); do names="$names $p=$version"; done
	[ "$1" != "$host" ] || names="$names libllvm19"
	# shellcheck disable=SC2086 # several packages
	(cd "$work" && apt apt-get -qq download $names) >"$lists/log" 2>&1 || {
		cat "$lists/log" >&2
		rm -rf "$work"
		no "cannot download$names"
	}
	mkdir -p "$root"
	for d in "$work"/*.deb; do dpkg -x "$d" "$root"; done
	rm -rf "$work"
	touch "$root/.$1"
}

# The installed compiler, if it is the one that is wanted.
if [ $# -eq 0 ]; then
	case $(${RUSTC:-rustc} --version 2>/dev/null) in
	"rustc ${release%.*}."*)
		echo "export RUSTC='$(command -v "${RUSTC:-rustc}")'"
		exit 0
		;;
	esac
fi

command -v dpkg >/dev/null && command -v apt-get >/dev/null || no "apt-get and dpkg are needed to fetch Debian's packages"
host=$(dpkg --print-architecture)
[ "$host" = amd64 ] || no "only amd64 is supported as the machine that compiles, this one is $host"

# one at a time in this tree
exec 9>"$here/r85.lock"
flock 9

missing= architectures=$host
for a in "$host" "$@"; do
	[ -e "$root/.$a" ] || missing="$missing $a"
	case ,$architectures,src, in *,"$a",*) ;; *) architectures=$architectures,$a ;; esac
done
if [ -n "$missing" ]; then
	update
	for a in $missing; do fetch "$a"; done
	rm -rf "$lists"
fi

libraries=$root/usr/lib/x86_64-linux-gnu
found=$(LD_LIBRARY_PATH=$libraries "$root/usr/bin/rustc" --version) || {
	LD_LIBRARY_PATH=$libraries ldd "$root/usr/bin/rustc" "$libraries"/librustc_driver-*.so | grep 'not found' >&2
	echo "rust-1.85: the unpacked compiler does not run; libraries that it needs are missing" >&2
	exit 1
}
case $found in
"rustc $release "*) ;;
*)
	echo "rust-1.85: unpacked $found, expected rustc $release" >&2
	exit 1
	;;
esac

echo "export RUSTC='$root/usr/bin/rustc'"
echo "export RUSTDOC='$root/usr/bin/rustdoc'"
echo "export LD_LIBRARY_PATH='$libraries'\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
