#!/bin/sh
# systems.sh [TARGET...]: both packages compile with Rust 1.85 for systems on which the tests cannot run here, and the
# C library's object suits the system. Nothing is linked or run.
#
# * Each function of lib9 and libthread is a weak reference, in the form and with the name that the system's
#   linker expects.
# * Callers sleep by the system calls that exist there: on Linux the futex, elsewhere parking_lot's condition
#   variables.
#
# The standard library is built from its source. The exit status is 77 if a tool is missing.
set -eu

: "${CARGO:=cargo}"
cd "$(dirname "$0")/.."
fail() { echo "systems: $*" >&2; exit 1; }

nm=$(command -v llvm-nm || command -v llvm-nm-22 || command -v llvm-nm-19 || command -v llvm-nm-14) || {
	echo "systems: llvm-nm is missing; run make setup FOR=cross" >&2
	exit 77
}
environment=$(sh tools/rust-1.85.sh src)
eval "$environment"
export RUSTC_BOOTSTRAP=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build COMMAND...: runs cargo, and shows what it says if it fails
build() {
	$CARGO "$@" --locked --target "$target" --target-dir target/systems >"$work/log" 2>&1 || {
		tail -n 20 "$work/log" >&2
		fail "$target: cargo $1 fails"
	}
}

# Prints the C names that the object refers to without defining them, each with its kind: weak or strong.
undefined() {
	case $target in
	*apple*) $nm -m "$1" | sed -n 's/^ *(undefined) weak external _\(.*\)/\1 weak/p; s/^ *(undefined) external _\(.*\)/\1 strong/p' ;;
	*) $nm "$1" | sed -n 's/^ *w \(.*\)/\1 weak/p; s/^ *U \(.*\)/\1 strong/p' ;;
	esac | sed 's/ (from [^)]*)//' | sort -u
}

printf '_rsleep weak\n_threadproc weak\n_threadsetsysproc weak\nproccreate weak\nqlock weak\nqunlock weak\nrsleep weak\nrwakeup weak\nwerrstr weak\n' |
	sort >"$work/expected"
[ $# -gt 0 ] || set -- x86_64-apple-darwin aarch64-apple-darwin x86_64-unknown-freebsd x86_64-unknown-openbsd \
	x86_64-unknown-netbsd x86_64-unknown-linux-musl
for target; do
	build check -Zbuild-std --lib --features capi
	build check -Zbuild-std -p ninepmux --lib --bins
	build rustc -Zbuild-std=std,panic_abort --release --lib --features capi --crate-type staticlib
	rm -rf "$work/members"
	mkdir "$work/members"
	archive=$PWD/target/systems/$target/release/libmux.a
	(cd "$work/members" && ar x "$archive")
	for o in "$work"/members/mux-*.o; do undefined "$o"; done >"$work/ours"
	for o in "$work"/members/parking_lot_core-*.o; do [ ! -f "$o" ] || undefined "$o"; done >"$work/parking"
	awk 'NR == FNR { name[$1]; next } $1 in name' "$work/expected" "$work/ours" | sort -u >"$work/found"
	diff "$work/expected" "$work/found" >&2 || fail "$target: the references to lib9 and libthread differ"
	case $target in
	*linux*) parker=syscall from=$work/ours ;;
	*) parker=pthread_cond_wait from=$work/parking ;;
	esac
	sed 's/\$.*/ strong/' "$from" | grep -qx "$parker strong" || fail "$target: $parker is not referred to"
	echo "systems: $target: both packages compile; weak references to $(wc -l <"$work/found") functions; callers sleep by $parker"
done
