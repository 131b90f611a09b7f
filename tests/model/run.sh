#!/bin/sh
# run.sh short|long|build: the calls and the machine, their real source, under two model checkers. loom goes through
# all interleavings of two and three callers, or all with so many preemptions, or as many as there is time for;
# shuttle goes through random schedules of four to six. With build it only makes them.
# tests/faults/run.sh checks that both find seeded faults.
# shellcheck disable=SC2086 # options and names, each of several words
set -eu

: "${CARGO:=cargo}" "${JOBS:=2}"
how=${1:?short, long or build}
cd "$(dirname "$0")"
target=$(realpath -m "${TARGET:-../../target/model}")

$CARGO fetch --locked >/dev/null 2>&1 ||
	{ echo "model: skipped: the crates can not be had"; exit 0; }
$CARGO build --release --quiet --locked -j "$JOBS" --target-dir "$target"
[ "$how" != build ] || exit 0
cp "$target/release/model-loom" "$target/release/model-shuttle" "$target"

case $how in
short) loom='-seconds 2' shuttle='-runs 60000' ;;
long) loom='-long -seconds 600' shuttle='-runs 1200000' ;;
*) echo "run.sh: short, long or build" >&2; exit 2 ;;
esac

# side by side; who is second prints when the first is done
status=0
"$target/model-shuttle" $shuttle >"$target/shuttle.log" 2>&1 &
second=$!
if [ "$how" = long ]; then
	# the longest by itself, for ten minutes; the others for one
	"$target/model-loom" $loom three_calls || status=1
	loom='-long -seconds 60'
fi
"$target/model-loom" $loom || status=1
wait $second || status=1
cat "$target/shuttle.log"
[ $status = 0 ] || exit 1
