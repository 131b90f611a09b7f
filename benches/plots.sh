#!/bin/sh
# plots.sh RESULTS DIR: draws the plots of a results file with gnuplot: threads.svg, latency.svg and outstanding.svg for
# compare.sh, 9pmux-clients.svg and 9pmux-cost.svg for the load generator of 9pmux, link.svg for its part of that name. Their background is white, so that they
# can be read on a dark page too. Each plot contains the checksum of the results file.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
results=${1:?plots.sh RESULTS DIR} out=${2:?plots.sh RESULTS DIR}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

of=$(sed -n '1s/^# \(.*\) benchmark: 1$/\1/p' "$results")
case $of in
libmux) ours=ours others='peer floor' ;;
9pmux) ours=9pmux others='straight socat 9pserve' ;;
link) ours=link others=goal ;;
*) echo "plots: $results is no results file" >&2; exit 1 ;;
esac
awk -f "$here/summary.awk" -v ours="$ours" -v others="$others" "$results" >"$work/summary"
mkdir -p "$out"

# add PLOT TITLE COLOUR [STYLE]: a curve of standard input, with its spread, when there is any
add() {
	n=$(($(find "$work" -name "$1.*.data" | wc -l) + 1))
	cat >"$work/$1.$n.data"
	if [ ! -s "$work/$1.$n.data" ]; then
		rm "$work/$1.$n.data"
		return
	fi
	cat >>"$work/$1.curves" <<!
, "$work/$1.$n.data" using 1:2:3:4 with ${4:-yerrorlines} lw 2 pt 7 ps 0.5 lc rgb "$3" title "$2"
!
}

# plot NAME: settings on standard input
plot() {
	[ -s "$work/$1.curves" ] || return 0
	{
		echo 'set terminal svg size 760,440 font "sans-serif,13" background rgb "white"'
		echo "set output '$work/$1.svg'"
		echo 'set grid lc rgb "#dddddd"; set border 3; set tics nomirror'
		echo 'set key reverse Left outside bottom center horizontal; set bmargin 7'
		cat
		sed '1s/^, /plot /' "$work/$1.curves" | tr '\n' ' '
	} >"$work/$1.gp"
	gnuplot "$work/$1.gp"
	awk -v mark="<!-- of $(basename "$results"), cksum $(cksum <"$results") -->" '
		{ print }
		/^<svg/ { svg = 1 }
		svg && />$/ && !done { print mark; done = 1 }' "$work/$1.svg" >"$out/$1.svg"
}

# --- the library's

# name SIDE: what it is called
name() {
	case $1 in
	floor) echo 'by hand, without a library' ;;
	*) sed -n "s/^# $1: //p" "$results" ;;
	esac
}

# series FAMILY FIGURE SIDE [UNIT]: by the number in the load's name, median, least and most, in units of UNIT
series() {
	awk -F '\t' -v family="$1" -v figure="$2" -v side="$3" -v by="${4:-1}" '
		index($1, family "-") == 1 && $2 == figure && $4 == side {
			print substr($1, length(family) + 2), $6 / by, $7 / by, $8 / by
		}' "$work/summary"
}

# latencies LOAD SIDE: by how many nines of the calls are no longer
latencies() {
	awk -F '\t' -v load="$1" -v side="$2" '
		$1 == load && $4 == side && $2 ~ /^p[0-9]/ {
			print -log(1 - substr($2, 2) / 100) / log(10), $6, $7, $8
		}' "$work/summary"
}

libmux() {
	for side in floor ours peer; do
		case $side in
		floor) colour='#777777' ;;
		ours) colour='#0060a8' ;;
		peer) colour='#c8501e' ;;
		esac
		title=$(name $side)
		[ -n "$title" ] || continue
		series echo rate $side 1000 | add threads "$title" "$colour"
		latencies lone-64 $side | add latency "$title" "$colour"
		series outstanding cost $side | add outstanding "$title" "$colour"
	done
	latencies lone-1 ours | add latency "$(name ours), nobody else calling" '#7fb0d4'
	plot threads <<'!'
set title "64-byte echo over a socket pair, by the number of threads that call"
set xlabel "threads"
set ylabel "thousand calls a second"
set logscale x 2
set xrange [0.9:1200]
set yrange [0:*]
set xtics (1, 2, 4, 8, 16, 32, 64, 256, 1000)
!
	plot latency <<'!'
set title "One call now and then, beside 63 threads that call all the time: how long it takes"
set xlabel "share of the calls that take no longer"
set ylabel "microseconds"
set logscale y
set format y "%.0f"
set xrange [0:4.1]
set xtics ("0" 0, "50%%" 0.30103, "90%%" 1, "99%%" 2, "99.9%%" 3, "99.99%%" 4)
!
	plot outstanding <<'!'
set title "In memory, one thread: what a call costs while so many are outstanding"
set xlabel "calls outstanding"
set ylabel "nanoseconds a call"
set logscale xy
set format y "%.0f"
set xrange [0.8:100000]
set xtics (1, 4, 16, 64, 256, "1,024" 1024, "4,096" 4096, "16,384" 16384, "65,535" 65535)
!
}

# --- 9pmux's

# clients FIGURE SIDE [UNIT]: by the number of clients, with sixteen requests of each in flight
clients() {
	awk -F '\t' -v figure="$1" -v side="$2" -v by="${3:-1}" '
		$1 ~ /^[0-9]+x16$/ && $2 == figure && $4 == side {
			print $1 + 0, $6 / by, $7 / by, $8 / by
		}' "$work/summary" | sort -n
}

ninepmux() {
	for side in straight 9pmux socat 9pserve; do
		case $side in
		straight) colour='#777777' title='straight to the server' ;;
		9pmux) colour='#0060a8' title='9pmux' ;;
		socat) colour='#3a8a4a' title='socat, a relay of bytes' ;;
		9pserve) colour='#c8501e' title="9pserve, plan9port's" ;;
		esac
		clients rate $side | add 9pmux-clients "$title" "$colour"
		clients cost $side | add 9pmux-cost "$title" "$colour"
	done
	plot 9pmux-clients <<'!'
set title "Tstat over Unix sockets, sixteen requests of each client in flight"
set xlabel "clients"
set ylabel "messages a second"
set logscale xy
set format y "10^{%L}"
set xrange [0.8:12500]
set xtics (1, 4, 16, 64, 256, "1,000" 1000, "2,500" 2500, "10,000" 10000)
!
	plot 9pmux-cost <<'!'
set title "What a message costs what stands between, sixteen requests of each client in flight"
set xlabel "clients"
set ylabel "nanoseconds of a processor"
set logscale x
set xrange [0.8:12500]
set yrange [0:*]
set xtics (1, 4, 16, 64, 256, "1,000" 1000, "2,500" 2500, "10,000" 10000)
!
}

# --- a link's

# ratios SIDE: by the position of the figure, from left to right
ratios() {
	awk -F '\t' -v side="$1" '
		$3 == "ratio" && $4 == side { print ++n, $6, $7, $8 }' "$work/summary"
}

linked() {
	ratios goal | add link 'goal' '#c8501e' yerrorbars
	ratios link | add link 'median, with the least and the most' '#0060a8' yerrorbars
	plot link <<'!'
set title "A link: ratios within one run, for Tstat and for reads of 128 KiB"
set logscale y
set xrange [0.5:8.5]
set yrange [0.5:20]
set ytics (0.5, 0.7, 1, 2, 3, 5, 10, 20)
set xtics ("Tstat\none way" 1, "Tstat\nboth ways" 2, "Tstat\nhung" 3, "reads\none way" 4, "reads\nboth ways" 5, "reads\nhung" 6, \
	"latency" 7, "slow\nnetwork" 8)
!
}

case $of in
libmux) libmux ;;
9pmux) ninepmux ;;
link) linked ;;
esac
