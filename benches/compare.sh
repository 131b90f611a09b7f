#!/bin/sh
# compare.sh [-u] [-r rounds] [-s seconds] [-l pattern] [-o results] DIR: measures the programs in DIR in turns, and
# prints the medians of all sides with their spread for each figure. `make bench` builds the programs and runs this.
#
#	DIR/ours		linked with our library; DIR/ours -f is the floor
#	DIR/peer		linked with another library; optional
#	DIR/ours-libthread	ours in procs of plan9port's libthread; optional
#	DIR/peer-libthread	the other one in such procs; optional
#
# A round runs every load once on each side, in direct succession, so that all sides have the same conditions. The ratio
# is the median of the ratios of the rounds. The results file begins with a description of the programs and the machine,
# and has a line for each figure of each run:
#
#	round	side	load	figure	unit	value
#
# A run that made no progress or crashed has the figure "stuck" with value 1. A side that lacks a function that a load
# needs has no line. $OURS_NAME and $PEER_NAME are the names of the sides in tables and plots.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
rounds=5 seconds=0.5 only='*' unbuffered='' results=''
usage() { sed -n '2s/^# *//p' "$0" >&2; exit 2; }
while getopts ur:s:l:o: c; do
	case $c in
	u) unbuffered=-u ;;
	r) rounds=$OPTARG ;;
	s) seconds=$OPTARG ;;
	l) only=$OPTARG ;;
	o) results=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage
dir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
results=${results:-$work/results}

# machine: what the figures are of, a line "# name: value" each
machine() {
	echo '# libmux benchmark: 1'
	echo "# date: $(date -u +%Y-%m-%d)"
	echo "# processor: $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $(getconf _NPROCESSORS_ONLN) of them$(
		if grep -q '^flags.* hypervisor' /proc/cpuinfo; then echo ', virtual'; fi)"
	echo "# memory: $(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
	echo "# system: $(uname -sr), $(uname -m), $(getconf GNU_LIBC_VERSION 2>/dev/null || echo 'another libc')"
	echo "# compilers: $(${CC:-cc} --version | head -n 1); $(rustc --version 2>/dev/null || echo 'no rustc')"
	echo "# load before: $(cut -d ' ' -f 1 /proc/loadavg)"
	echo "# ours: ${OURS_NAME:-this library}"
	if [ -x "$dir/peer" ]; then echo "# peer: ${PEER_NAME:-peer}"; fi
	echo "# rounds: $rounds rounds of $seconds seconds a load"
	if [ -n "$unbuffered" ]; then echo '# reads: of one message'; fi
	printf 'round\tside\tload\tfigure\tunit\tvalue\n'
}

# run ROUND SIDE LOAD PROGRAM...
run() {
	round=$1 side=$2 load=$3
	shift 3
	status=0
	"$@" -s "$seconds" $unbuffered "${load#libthread-}" </dev/null >"$work/out" 2>"$work/err" || status=$?
	case $status in
	0) sed "s/^/$round	$side	$load	/" "$work/out" >>"$results" ;;
	3) ;;
	*)
		printf '%s\t%s\t%s\tstuck\tnone\t1\n' "$round" "$side" "$load" >>"$results"
		echo "compare: $side: $load: stuck or dead: $(tail -n 1 "$work/err")" >&2
		;;
	esac
}

machine >"$results"
"$dir/ours" -L >"$work/loads"
"$dir/ours" -f -L >"$work/floors"
i=0
while [ "$i" -lt "$rounds" ]; do
	i=$((i + 1))
	[ ! -t 2 ] || echo "compare: round $i of $rounds" >&2
	while read -r load; do
		# shellcheck disable=SC2254 # a pattern is meant
		case $load in
		$only) ;;
		*) continue ;;
		esac
		run "$i" ours "$load" "$dir/ours"
		[ ! -x "$dir/peer" ] || run "$i" peer "$load" "$dir/peer"
		! grep -qxF -e "$load" "$work/floors" || run "$i" floor "$load" "$dir/ours" -f
		[ "$load" = echo-64 ] || continue
		for side in ours peer; do
			[ ! -x "$dir/$side-libthread" ] || run "$i" $side libthread-echo-64 "$dir/$side-libthread"
		done
	done <"$work/loads"
done

awk -f "$here/summary.awk" -v ours=ours -v others='peer floor' "$results" | awk -F '\t' '
	{
		form = $4 ~ "/" || $6 < 10 ? "%.2f" : "%.0f"
		printf "%-18s %-9s %-11s " form " (" form " .. " form ") %s\n", $1, $2, $4, $6, $7, $8,
			$4 ~ "/" ? "times as good" : $3
	}'
