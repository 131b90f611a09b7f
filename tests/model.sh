#!/bin/sh
# model.sh BUILD [quick]: spin goes through all that can happen in the model of the protocol (docs/model), in one
# small configuration after another; and shows that it can fail, by faults put into it one at a time, each of which
# it has to find. With `quick`, those that take a second.
#
# Prints a table: what is configured, states, depth, megabytes, seconds of the processor.
set -eu

: "${CC:=cc}"
build=$(cd "$1" && pwd)/model
quick=${2:-}
model=$(cd "$(dirname "$0")/../docs/model" && pwd)
mkdir -p "$build"
work=$(mktemp -d "$build/XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "model: $*" >&2; exit 1; }

# explore FLAGS: leaves what spin found in `out`
explore() {
	rm -f pan pan.* out
	# every caller comes back, if each process that can go on does so at last; or else nobody is stuck
	case $1 in
	*-DLIVE*) how=-DNFAIR=3 run='-a -f' ;;
	*) how=-DSAFETY run= ;;
	esac
	# shellcheck disable=SC2086 # several flags
	spin -a $1 "$model/mux.pml" >log 2>&1 || { cat log >&2; fail "spin does not take $1"; }
	# to make pan faster would take longer than it runs
	$CC -w -O0 $how -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c
	# shellcheck disable=SC2086
	(nice ./pan $run -m100000 -w20 >out; times) >spent
}

# figure PATTERN: the number before it
figure() { sed -n "s/^ *\([0-9.e+]*\)[[:space:]]*$1.*/\1/p" out | head -n 1; }

n=0
printf '%-62s %9s %6s %6s %7s\n' configuration states depth MB seconds
while read -r when flags; do
	[ -z "$quick" ] || [ "$when" = quick ] || continue
	explore "$flags"
	n=$((n + 1))
	if ! grep -q 'errors: 0' out || grep -q 'not completed\|too small' out; then
		cp pan.c ./*.trail "$build" 2>/dev/null || true
		cat out >&2
		fail "$flags: see $build"
	fi
	printf '%-62s %9.0f %6s %6.0f %7s\n' "$flags" "$(figure 'states, stored')" \
		"$(sed -n 's/.*depth reached \([0-9]*\).*/\1/p' out)" "$(figure 'total actual memory')" \
		"$(awk 'NR == 2 { split($1, t, /[ms]/); printf "%.1f", t[1] * 60 + t[2] }' spent)"
done <<'!'
quick -DN=3
slow -DN=4
slow -DN=4 -DTAGS=3
slow -DN=3 -DCALLS=2
quick -DN=3 -DTAGS=1 -DLIVE
quick -DN=3 -DSTUBBORN
slow -DN=4 -DTAGS=3 -DSTUBBORN -DHELP_LIMIT=2
quick -DN=3 -DTAGS=3 -DSTUBBORN -DBATCH=2
slow -DN=4 -DTAGS=3 -DSTUBBORN -DBATCH=3
slow -DN=3 -DTAGS=3 -DENDS=1 -DBATCH=2
slow -DN=3 -DTAGS=3 -DFAILS -DENDS=1 -DBATCH=2
slow -DN=4 -DTAGS=3 -DENDS=1 -DBATCH=3
quick -DN=3 -DFAILS -DENDS=1
slow -DN=4 -DENDS=1
quick -DN=3 -DHANGS_UP
slow -DN=3 -DHANGS_UP -DTIMED=1 -DCLOCK -DPOLLS -DPOLLERS=1
quick -DN=3 -DTIMED=2 -DCLOCK -DMUTE
slow -DN=2 -DTIMED=1 -DCLOCK -DMUTE -DCALLS=3
quick -DN=3 -DTIMED=2 -DCLOCK -DPOLLS
slow -DN=4 -DTIMED=2 -DCLOCK -DPOLLS
slow -DN=3 -DTAGS=3 -DTIMED=2 -DCLOCK -DPOLLS -DBATCH=2
slow -DN=3 -DTAGS=3 -DTIMED=2 -DPOLLS -DSTUBBORN -DBATCH=2
quick -DN=3 -DPOLLERS=2 -DPOLLS -DCANCELS
quick -DN=3 -DPOLLERS=2 -DCOMES_LAST
slow -DN=3 -DPOLLERS=2 -DPOLLS -DSTUBBORN
slow -DN=3 -DTIMED=1 -DCLOCK -DPOLLERS=1 -DPOLLS -DENDS=1
quick -DN=2 -DPROCS
slow -DN=3 -DPROCS
slow -DN=3 -DPROCS -DENDS=1
slow -DN=3 -DTAGS=3 -DPROCS -DSTUBBORN -DBATCH=2
slow -DN=2 -DPROCS -DTIMED=1 -DCLOCK -DPOLLS -DPOLLERS=1
slow -DN=3 -DLIES=2 -DFAILS -DTIMED=1 -DCLOCK
slow -DN=3 -DLIVE
slow -DN=3 -DSTUBBORN -DLIVE
slow -DN=3 -DTIMED=2 -DPOLLS -DLIVE
!

faults=0
while read -r when flags; do
	[ -z "$quick" ] || [ "$when" = quick ] || continue
	faults=$((faults + 1))
	explore "$flags"
	grep -q 'errors: [1-9]' out || { cat out >&2; fail "$flags is not found"; }
	printf '%-62s %s\n' "$flags" "$(sed -n 's/^pan:1: \(assertion violated\|[a-z ]*[a-z]\).*/\1/p' out)"
done <<'!'
quick -DFAULT_LEAVES_NO_HEIR -DN=2
slow -DFAULT_ROLE_TO_SENDER -DN=2
slow -DFAULT_EARLY_REPLY -DN=2
slow -DFAULT_SEND_KNOWS_BETTER -DN=2 -DFAILS
slow -DFAULT_TWO_SENDERS -DN=2 -DPROCS
slow -DFAULT_PROC_SLEEPS_ON -DN=2 -DPROCS
slow -DFAULT_NO_STAND_IN -DN=4 -DTAGS=3 -DSTUBBORN
quick -DFAULT_ANSWERED_IS_DUE -DN=3 -DTAGS=3 -DBATCH=2
slow -DFAULT_LOST_IS_DUE -DN=3 -DTAGS=3 -DENDS=1 -DBATCH=2
slow -DFAULT_TAGLESS_NEVER_RECEIVES -DN=3 -DPOLLERS=2 -DCOMES_LAST
slow -DFAULT_HANG_UP_PASSES_OVER_MUXER -DN=3 -DTAGS=1 -DHANGS_UP -DPOLLERS=1
slow -DFAULT_TAG_NOT_HELD -DN=3 -DTIMED=1 -DCLOCK
slow -DFAULT_WAITS_FOR_HELD -DN=3 -DTIMED=2 -DCLOCK -DMUTE
slow -DFAULT_LATE_IN_SEND -DN=3 -DTIMED=1 -DCLOCK
!
echo "model: $n configurations hold; $faults faults were put in, and found"
