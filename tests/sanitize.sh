#!/bin/sh
# sanitize.sh KIND BUILD [quick]: the C tests, with the library and the tests built for a sanitizer.
#
# KIND is address (with leaks, and with stacks that are used after their function has returned) or thread;
# quick leaves the shared library out, and for thread the coroutines. tests/README.md says what each detects.
#
# It uses the clang of rustc's version of LLVM, or a later one in SANITIZE_CC, because C and Rust share the runtime;
# gcc's lacks functions that Rust's code calls. RUSTC_BOOTSTRAP permits an unstable option of the stable rustc.
set -eu
export LC_ALL=C

kind=$1
mkdir -p "$2"
build=$(realpath "$2")/$kind
quick=${3:-}
cd "$(dirname "$0")/.."
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
host=$(rustc -vV | sed -n 's/^host: //p')
cc=${SANITIZE_CC:-clang-$llvm}

# the flags of rustc, and the tests that are left out:
# nomem replaces malloc, as the sanitizer does; faults and callbacks give the library's malloc another name; soak
# measures memory, which the sanitizer allocates here; signals also replaces malloc, for the shared library
without='nomem.% faults.% callbacks.% soak.% signals.%.shared'
case $kind in
address)
	# frame pointers, with which it finds the stack of an allocation
	flags='-Zsanitizer=address -Cforce-frame-pointers=yes'
	;;
thread)
	# Rust's library is built without the sanitizer: our object uses no function of it that accesses shared memory
	flags='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer'
	# GNU Pth does not report its stack switches to the sanitizer (fiber.h reports those of coro.c)
	# the runtime delays signals, and a child of a program with threads cannot continue with it
	without="$without pth.% signals.% forked.%"
	;;
*)
	echo "sanitize: $kind is not address or thread" >&2
	exit 2
	;;
esac
[ -z "$quick" ] || without="$without %.shared"
# threads are the purpose; coroutines would double the time
[ "$quick$kind" != quickthread ] || without="$without %.coro.static"

mkdir -p "$build"
echo 'int main(void) { return 0; }' >"$build/empty.c"
if ! $cc -fsanitize="$kind" -o "$build/empty" "$build/empty.c" 2>/dev/null; then
	echo "sanitize: left out: $cc with the $kind sanitizer is missing (clang and libclang-rt-dev, both of LLVM $llvm)"
	exit 0
fi

# the host is named so that build scripts are built without the sanitizer
RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" ${CARGO:-cargo} rustc -q --release --locked --lib --features capi \
	--crate-type staticlib --target "$host" --target-dir target/sanitize

# The library's object alone, as in tools/c-library.sh; the program contains the sanitizer's functions.
rm -rf "$build/o" "$build"/libmux.*
mkdir "$build/o"
archive=$(realpath "target/sanitize/$host/release/libmux.a")
(cd "$build/o" && ar x "$archive")
ar rcs "$build/libmux.a" "$build"/o/mux-*.o
{ echo '{ global:'; sed 's/$/;/' c-tests/symbols.txt; echo 'local: *; };'; } >"$build/map"
$cc -shared -fsanitize="$kind" -o "$build/libmux.so" "$build"/o/mux-*.o -Wl,-soname,libmux.so.1 \
	-Wl,-z,nodelete -Wl,--version-script="$build/map" -Wl,--gc-sections
rm -rf "$build/o"

# checks that the library's own code calls the sanitizer
case $kind in address) calls=__asan_report ;; thread) calls=__tsan_write ;; esac
n=$(nm "$build/libmux.a" 2>/dev/null | grep -c " U $calls" || true)
[ "$n" -gt 0 ] || { echo "sanitize: the library was built without the $kind sanitizer" >&2; exit 1; }

cflags="-O1 -g -fno-omit-frame-pointer -fsanitize=$kind"
# reports go to files, because some tests capture their output
symbolizer=$(command -v "llvm-symbolizer-$llvm" || command -v llvm-symbolizer || true)
rm -f "$build"/report.*
common="external_symbolizer_path=$symbolizer:log_path=$build/report"
export ASAN_OPTIONS="$common:detect_stack_use_after_return=1:detect_leaks=1"
export TSAN_OPTIONS="$common"

# made ARGUMENT...: runs make in c-tests, for the sanitizer
made() {
	make -s --no-print-directory -C c-tests CC="$cc" CXX="$cc" CFLAGS="$cflags" LIBDIR="$build" BUILD="$build/c-tests" "$@"
}

if [ -n "${SANITIZE_ONLY:-}" ]; then
	# for tests/faults/run.sh: one program, up to its first report
	made "$build/c-tests/$SANITIZE_ONLY"
	export TSAN_OPTIONS="$TSAN_OPTIONS:halt_on_error=1"
	# from here on, a failure is not one of building
	echo "sanitize: running $SANITIZE_ONLY"
	status=0
	(cd c-tests && BUILD=$build/c-tests sh run.sh sanitized "$SANITIZE_ONLY") || status=$?
	cat "$build"/report.* 2>/dev/null || true
	exit $status
fi

echo "sanitize: $kind: the library has $n kinds of call into the sanitizer; left out: $without"
if made check MODES=sanitized WITHOUT="$without" >"$build/results"; then
	tail -n 1 "$build/results" | sed "s/^/sanitize: $kind: /"
else
	grep -v '^ok ' "$build/results" | head -n 40 >&2
	grep -lE 'ERROR: |WARNING: Thread' "$build"/report.* 2>/dev/null | head -n 3 | xargs -r head -n 30 | cut -c 1-200 >&2
	exit 1
fi
