#!/bin/sh
# run.sh: runs the tests that make has built, two at a time, and prints one line for each.
#
#	run.sh 'MODES' PROGRAM...	MODES of: native, oneproc (coroutines all in one proc), valgrind,
#					sanitized (built for a sanitizer, by tests/sanitize.sh)
#	run.sh job MODE:PROGRAM		runs one of them; used by the first form
#
# A test passes if its exit status is 0 and its TAP is complete: a plan, that number of "ok" lines, no "not ok".

: "${BUILD:=../build/c-tests}" "${JOBS:=2}"
# RUN is the emulator that runs a program of another architecture; it is set by tests/cross.sh.
: "${RUN:=}"

valgrind='valgrind -q --fair-sched=try --error-exitcode=9 --leak-check=full
	--errors-for-leak-kinds=definite,indirect,possible --show-leak-kinds=definite,indirect,possible
	--num-callers=30 --suppressions=valgrind.supp --suppressions=pth.supp'

# arguments of the programs that accept counts
arguments() {
	case $1:$2 in
	native:stress.*) test -n "$RUN" && echo 16 100 || echo 64 1000 ;;
	oneproc:stress.*) echo 32 200 ;;
	sanitized:stress.*) echo 32 200 ;;
	valgrind:stress.*) echo 12 40 ;;
	valgrind:coro_self) echo 200 5 ;;
	*:callbacks.*.shared | *:callbacks.own.*) echo 4 ;;
	valgrind:faults.*) echo 9 ;;
	valgrind:callbacks.*) echo 29 ;;
	valgrind:coro_switch.*) echo 8 20 ;;
	esac
}

# The one permitted leak, only in tests that drop a Mux: with muxfree there must be none.
drops() {
	case $1 in
	badinput.* | coro_switch.* | dropped.* | nomem.*) echo "$2" ;;
	esac
}

# the test's own alarm detects a lock-up; this limit is for processes that the alarm cannot end
limited() {
	timeout -k 5 1200 "$@"
}

run() {
	mode=$1 name=$2
	args=$(arguments "$mode" "$name")
	case $mode:$name in
	*:*.sh) sh "./$name" ;;
	native:*) limited $RUN "$BUILD/$name" $args ;;
	oneproc:*) limited env TASK_PROCS=1 $RUN "$BUILD/$name" $args ;;
	sanitized:*)
		limited env TAP_SLOW=10 LSAN_OPTIONS="$(drops "$name" "suppressions=$PWD/lsan.supp:print_suppressions=0")" \
			"$BUILD/$name" $args
		;;
	valgrind:*)
		limited env TAP_SLOW=30 $valgrind $(drops "$name" --suppressions=dropped.supp) --log-file="$BUILD/log/$name.$mode.vg" "$BUILD/$name" $args
		status=$?
		cat "$BUILD/log/$name.$mode.vg"
		return $status
		;;
	esac
}

# returns whether the output in a file is complete TAP
good() {
	awk '/^not ok/ { bad = 1 } /^ok/ { n++ } /^1\.\.[0-9]+$/ { plan = substr($0, 4) }
		END { exit bad || n == 0 || plan != n }' "$1"
}

job() {
	mode=${1%%:*} name=${1#*:}
	log=$BUILD/log/$name.$mode
	run "$mode" "$name" >"$log" 2>&1
	status=$?
	if [ $status -eq 0 ] && good "$log"; then
		echo "ok $name ($mode)"
		echo passed >>"$BUILD/results"
	else
		echo "FAILED $name ($mode): status $status, $log"
		echo failed >>"$BUILD/results"
	fi
}

jobs() {
	for mode in $modes; do
		for name; do
			case $mode:$name in
			native:*) ;;
			# long tests that count lost memory themselves, and one with children that lose memory
			valgrind:faults.pthread.static | valgrind:callbacks.pthread.static) ;;
			valgrind:faults.* | valgrind:callbacks.* | valgrind:soak.* | valgrind:signals.* | valgrind:forked.*) continue ;;
			sanitized:*.sh) continue ;;
			sanitized:*) ;;
			*:*.sh | oneproc:*.pthread.* | oneproc:coro_* | oneproc:*.shared) continue ;;
			oneproc:*.coro.*) ;;
			oneproc:*) continue ;;
			esac
			echo "$mode:$name"
		done
	done
}

cd "$(dirname "$0")" || exit 1
if [ "$1" = job ]; then
	job "$2"
	exit 0
fi
modes=$1
shift
if ! command -v valgrind >/dev/null 2>&1; then
	echo '# valgrind is missing: natively only'
	modes=$(echo " $modes " | sed 's/ valgrind / /')
fi
mkdir -p "$BUILD/log"
: >"$BUILD/results"
jobs "$@" | xargs -n 1 -P "$JOBS" sh ./run.sh job
passed=$(grep -c passed "$BUILD/results")
failed=$(grep -c failed "$BUILD/results")
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
