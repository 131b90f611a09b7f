#!/bin/sh
# cross.sh ARCH BUILD [PART...]: builds both packages for another architecture with Rust 1.85, and runs
# their tests there.  ARCH is aarch64, armv7, i686, s390x, or musl, which is x86-64 with musl as the C
# library; BUILD is the directory for what is built.
#
#	c	the C tests, with threads and with coroutines
#	rust	the library's unit tests
#	nine	9pmux's unit and process tests
#
# All parts run if none is named.  i686 and musl run on the processor, the others under qemu-user.  The last
# lines state what passed, and in how many seconds.  The exit status is 77 if a compiler or the
# emulator is missing; then the file $SKIPPED is created (tests/timed.sh).
set -eu

: "${CARGO:=cargo}" "${MAKE:=make}"
arch=$1
mkdir -p "$2"
out=$(realpath "$2")/cross/$arch
shift 2
cd "$(dirname "$0")/.."

# skip REASON: nothing can be tested here
skip() {
	echo "cross: SKIPPED: $*" >&2
	[ -z "${SKIPPED:-}" ] || : >"$SKIPPED"
	exit 77
}

run=
flags=
std=
case $arch in
aarch64) debian=arm64 rust=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu emulator=aarch64 ;;
armv7) debian=armhf rust=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf emulator=arm ;;
i686) debian=i386 rust=i686-unknown-linux-gnu gnu=i686-linux-gnu emulator= ;;
s390x) debian=s390x rust=s390x-unknown-linux-gnu gnu=s390x-linux-gnu emulator=s390x ;;
musl) debian=src rust=x86_64-unknown-linux-musl gnu=musl emulator= ;;
*)
	echo "cross: $arch: expected aarch64, armv7, i686, s390x or musl" >&2
	exit 2
	;;
esac
cc=$gnu-gcc binutils=$gnu-
[ "$arch" != musl ] || binutils=
tools="$cc ${binutils}objcopy"
if [ "$arch" = musl ]; then
	:
elif [ -n "$emulator" ]; then
	run="qemu-$emulator-static -L /usr/$gnu"
	tools="$tools qemu-$emulator-static"
else
	# The C library of the cross compiler, in a place that no loader knows of.
	flags="-Wl,--disable-new-dtags -Wl,--dynamic-linker=/usr/$gnu/lib/ld-linux.so.2 -Wl,-rpath,/usr/$gnu/lib"
fi
for tool in $tools; do
	command -v "$tool" >/dev/null || skip "$tool is missing; run make setup FOR=cross"
done
if [ "$arch" = i686 ]; then
	mkdir -p "$out"
	echo 'int main(void) { return 0; }' >"$out/empty.c"
	# shellcheck disable=SC2086 # several words
	{ $cc -o "$out/empty" "$out/empty.c" $flags && "$out/empty"; } 2>/dev/null ||
		skip 'this machine cannot run 32-bit programs'
fi
status=0
environment=$(sh tools/rust-1.85.sh "$debian") || status=$?
[ "$status" -ne 77 ] || skip "there is no Rust 1.85 for $arch here"
[ "$status" -eq 0 ] || exit "$status"
eval "$environment"

# What cargo calls the target in its variables.
name=$(echo "$rust" | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${name}_LINKER=$cc"
[ -z "$run" ] || export "CARGO_TARGET_${name}_RUNNER=$run"
if [ -n "$flags" ]; then
	rustflags=
	for f in $flags; do rustflags="$rustflags -Clink-arg=$f"; done
	export "CARGO_TARGET_${name}_RUSTFLAGS=$rustflags"
fi
target="--locked --target $rust --target-dir target/cross"
if [ "$arch" = musl ]; then
	# Debian has no standard library for musl, nor a library for unwinding, so std is built from its source, and
	# gcc's library for glibc serves, with a function of glibc's that finds the table of a static program.
	export RUSTC_BOOTSTRAP=1
	std=-Zbuild-std
	unwind=$out/unwind
	mkdir -p "$unwind"
	cp "$(gcc -print-file-name=libgcc_eh.a)" "$unwind/libunwind.a"
	cat >"$unwind/find.c" <<'C'
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>
#include <stddef.h>
/* gcc's library refers to these weakly, so that they would stay undefined in a static program */
int (*const once)(pthread_once_t *, void (*)(void)) = pthread_once;
int (*const mutex[])(pthread_mutex_t *) = { pthread_mutex_lock, pthread_mutex_unlock };
void *(*const get)(pthread_key_t) = pthread_getspecific;
int (*const set)(pthread_key_t, const void *) = pthread_setspecific;
struct found { unsigned long long flags; void *start, *end, *map, *table, *reserved[7]; };
static int
look(struct dl_phdr_info *info, size_t size, void *table)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
			*(void **)table = (void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	return 1;
}
int
_dl_find_object(void *pc, struct found *found)
{
	(void)pc;
	found->table = NULL;
	dl_iterate_phdr(look, &found->table);
	return found->table == NULL ? -1 : 0;
}
C
	$cc -O2 -c -o "$unwind/find.o" "$unwind/find.c"
	ar r "$unwind/libunwind.a" "$unwind/find.o" 2>/dev/null
	# musl-gcc cannot link a static program that is position-independent.
	export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-Clink-self-contained=no -Crelocation-model=static \
-Lnative=$unwind -Lnative=/usr/lib/x86_64-linux-musl"
fi
# An emulator is slow, so a lock-up is one only after a longer time.
[ -z "$run" ] || export TAP_SLOW=20
mkdir -p "$out"
failed=0

# record PART STATUS SECONDS WHAT: a part in which no test has passed has failed too.
record() {
	word=passed
	case $2:$4 in
	0:0*|0:not*) word=FAILED ;;
	0:*) ;;
	*) word=FAILED ;;
	esac
	[ $word = passed ] || failed=1
	echo "cross: $arch: $1 $word: $4, $3 s" | tee -a "$out/results"
}

# counts FILE: how many Rust tests passed and failed
counts() {
	awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d tests passed, %d failed", passed, failed }' "$1"
}

part_c() {
	(
		# The shared library must be position-independent.
		unset CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS
		# shellcheck disable=SC2086 # several words
		$CARGO rustc ${std:+$std=std,panic_abort} --release --lib --features capi --crate-type staticlib $target
	)
	CC=$cc AR=${binutils}ar LD=${binutils}ld NM=${binutils}nm OBJCOPY=${binutils}objcopy \
		sh tools/c-library.sh "target/cross/$rust/release/libmux.a" c-tests/symbols.txt "$out"
	since=$(date +%s)
	status=0
	# GNU Pth is installed for this machine only, so the test that uses it is left out. Under an emulator soak.c,
	# which checks that the process does not grow, is left out too: the emulator's own memory grows. musl has no
	# makecontext, by which the tests switch between coroutines.
	without="pth.%${run:+ soak.%} ${WITHOUT-}"
	[ "$arch" != musl ] || without="$without %.coro.static %.coro.shared coro_self coro_switch.% coro_procs.% coro_werrstr.% foreign.% nomem.% \
		callbacks.%.shared faults.%.shared signals.%.shared soak.%.shared"
	$MAKE -s -C c-tests check LIBDIR="$out" BUILD="$out/c-tests" CC="$cc" CXX=none OBJCOPY="${binutils}objcopy" \
		LDFLAGS="$flags" RUN="$run" MODES='native oneproc' LINKS="${LINKS-static shared}" SCRIPTS= \
		WITHOUT="$without" >"$out/c.log" 2>&1 || status=1
	grep '^FAILED' "$out/c.log" || true
	record c $status $(($(date +%s) - since)) "$(grep ' passed, ' "$out/c.log" || echo 'not run')"
}

part_rust() {
	# shellcheck disable=SC2086 # several words
	$CARGO test $std -q --no-run --lib $target
	since=$(date +%s)
	status=0
	# shellcheck disable=SC2086 # several words
	$CARGO test $std --lib $target >"$out/rust.log" 2>&1 || status=1
	grep 'FAILED\|panicked' "$out/rust.log" || true
	record rust $status $(($(date +%s) - since)) "$(counts "$out/rust.log")"
}

# The process tests start 9pmux by its path, so under an emulator a script is put there that runs it.
part_nine() {
	# shellcheck disable=SC2086 # several words
	$CARGO test $std -q --no-run -p ninepmux --lib --tests $target
	# shellcheck disable=SC2086 # several words
	$CARGO test $std --no-run -p ninepmux --lib --tests $target 2>&1 |
		sed -n 's/^ *Executable .*(\(.*\))$/\1/p' >"$out/nine.programs"
	[ -s "$out/nine.programs" ] || {
		echo 'cross: cargo has not named the test programs' >&2
		exit 1
	}
	program=target/cross/$rust/debug/9pmux
	if [ -n "$run" ]; then
		rm -f "$out/9pmux"
		mv "$program" "$out/9pmux"
		printf '#!/bin/sh\nexec %s %s "$@"\n' "$run" "$out/9pmux" >"$program"
		chmod 755 "$program"
		trap 'cp "$out/9pmux" "$program"' EXIT
	fi
	# docs/platforms.md says why these three fail under qemu-user.
	skip=
	[ -z "$run" ] || for t in an_inherited_descriptor_that_is_no_connection_is_refused \
		a_started_server_inherits_ignored_signals \
		a_stop_while_connecting_to_the_server_is_no_error; do
		skip="$skip --skip $t"
	done
	since=$(date +%s)
	status=0
	: >"$out/nine.log"
	while read -r test; do
		echo "# $test" >>"$out/nine.log"
		# shellcheck disable=SC2086 # several words
		(cd 9pmux && MUX_STEPS=${MUX_STEPS-100000} timeout 1200 $run "../$test" $skip </dev/null) >>"$out/nine.log" 2>&1 || {
			status=1
			echo "# $test failed" >>"$out/nine.log"
		}
	done <"$out/nine.programs"
	if [ -n "$run" ]; then
		rm -f "$program"
		cp "$out/9pmux" "$program"
		trap - EXIT
	fi
	grep 'FAILED$\|panicked\|^# .* failed' "$out/nine.log" || true
	record nine $status $(($(date +%s) - since)) "$(counts "$out/nine.log")"
}

: >"$out/results"
for part in ${*:-c rust nine}; do
	"part_$part"
done
exit $failed
