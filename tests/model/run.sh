#!/bin/sh
# run.sh short|long|build: runs the calls and the machine, their real source, under two model checkers. loom runs all
# interleavings of two and three callers, or all up to a number of preemptions, or as many as the time limit permits;
# shuttle runs random schedules of four to six callers. With build it only builds them.
# tests/faults/run.sh checks that both find seeded faults.
# shellcheck disable=SC2086 # options and names, each of several words
set -eu

: "${CARGO:=cargo}" "${JOBS:=2}"
how=${1:?short, long or build}
cd "$(dirname "$0")"
target=$(realpath -m "${TARGET:-../../target/model}")

$CARGO fetch --locked >/dev/null 2>&1 ||
	{ echo "model: skipped: the crates cannot be downloaded"; exit 0; }
$CARGO build --release --quiet --locked -j "$JOBS" --target-dir "$target"
[ "$how" != build ] || exit 0
cp "$target/release/model-loom" "$target/release/model-shuttle" "$target"

case $how in
short) loom='-seconds 2' shuttle='-runs 60000' ;;
long) loom='-long -seconds 600' shuttle='-runs 1200000' ;;
*) echo "run.sh: short, long or build" >&2; exit 2 ;;
esac

# in parallel; the output of the second follows that of the first
status=0
"$target/model-shuttle" $shuttle >"$target/shuttle.log" 2>&1 &
second=$!
if [ "$how" = long ]; then
	# the longest alone, for ten minutes; the others for one minute
	"$target/model-loom" $loom three_calls || status=1
	loom='-long -seconds 60'
fi
"$target/model-loom" $loom || status=1
wait $second || status=1
cat "$target/shuttle.log"
[ $status = 0 ] || exit 1
