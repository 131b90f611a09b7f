#!/bin/sh
# demo.sh - libmux and 9pmux at their main job: many readers of a 9P server over one connection.
#
# Starts an independent 9P server on a directory of generated files, reads all of them with 64 readers of 9cat, and
# compares checksums. Then it runs procs, which reads ahead, deadline, which abandons late reads, and select-loop, which
# has one thread. Then several 9cat run at once: directly, each with a connection of its own, and through one 9pmux. All
# of this is done with each of two servers, if it is installed: diod (C, 9P2000.L, replies in any order) and the server of
# the crate ninep (Rust, 9P2000, replies in order). Then two 9pmux link over one socket pair let programs on each side
# read from the server of the other side. Last, the threads of msgpack-rpc and the tasks of async call a Neovim.
#
# `make demo` calls it. From the environment:
#   BUILD     where 9cat, select-loop, procs, deadline, 9pmux, msgpack-rpc, async and serve9p are (build)
#   PEERS     "all" fails if one of the three servers is missing (left out)
#   DIOD      the path of diod; "none" leaves it out (searched)
#   SERVE9P   the path of serve9p; "none" leaves it out ($BUILD/serve9p)
#   NVIM      the path of Neovim; "none" leaves it out (searched)
#   READERS   how many readers (64)
#   CLIENTS   how many programs at once (8)
#   MB        length of the big file in megabytes (16)
set -u

here=$(dirname "$0")
BUILD=${BUILD:-$here/../build}
READERS=${READERS:-64}
CLIENTS=${CLIENTS:-8}
MB=${MB:-16}
SERVE9P=${SERVE9P:-$BUILD/serve9p}
if [ -z "${DIOD:-}" ]; then
	DIOD=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v diod) || DIOD=none
fi
NVIM=${NVIM:-$(command -v nvim || echo none)}

say() { printf '%s\n' "$*"; }
fail() { say "demo: $*" >&2; exit 1; }
missing() {
	[ "${PEERS:-}" != all ] || fail "$* is not here"
	say
	say "Left out: $* is not here."
}

# within SECONDS COMMAND: a command that hangs is killed, and has failed
if timeout --foreground 1 true 2>/dev/null; then
	within() { timeout --foreground -k 5 "$@"; }
else
	within() { shift; "$@"; }
fi

server=
mux=
tmp=$(mktemp -d "${TMPDIR:-/tmp}/libmux.XXXXXX") || exit 1
stop() {
	for program in $mux $server; do
		{ kill "$program" && wait "$program"; } 2>/dev/null
	done
	mux=
	server=
}
trap 'stop; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

sum() {
	if command -v sha256sum >/dev/null; then sha256sum
	elif command -v shasum >/dev/null; then shasum -a 256
	else cksum
	fi | sed 's/ *-$//'
}

# One big file, two hundred small ones, an empty one.
generate() {
	mkdir "$tmp/files" "$tmp/files/small" || exit 1
	dd if=/dev/urandom of="$tmp/files/big" bs=1048576 count="$MB" 2>/dev/null || fail "cannot write $tmp"
	n=1
	while [ $n -le 200 ]; do
		printf 'small file number %d\n' $n $((n*n)) >"$tmp/files/small/$n"
		n=$((n+1))
	done
	: >"$tmp/files/small/empty"
	# a file for each side of a link
	mkdir "$tmp/near" "$tmp/far" || exit 1
	{ echo near; cat "$tmp/files/big"; } >"$tmp/near/data"
	{ echo far; cat "$tmp/files/big"; } >"$tmp/far/data"
	chmod -R a+rX "$tmp"
}

# start SERVER SOCKET DIRECTORY: starts a server in the background; sets tree and option, which its clients use
start() {
	case $1 in
	diod)
		"$DIOD" -c /dev/null -f -n -l "$2" -e "$3" -L "$tmp/log" >>"$tmp/log" 2>&1 &
		tree=$3 option=
		;;
	ninep)
		"$SERVE9P" "$2" "$3" >>"$tmp/log" 2>&1 &
		# it lets a connection attach once
		tree='' option=--attach-once
		;;
	esac
	server="$server $!"
}

# await COMMAND: repeats it until it succeeds
await() {
	tries=0
	until within 5 "$@" >/dev/null 2>"$tmp/why"; do
		tries=$((tries+1))
		# shellcheck disable=SC2086 # process numbers
		if [ $tries -gt 50 ] || ! kill -0 $server 2>/dev/null; then
			cat "$tmp/why" "$tmp/log" >&2
			fail "the server did not start"
		fi
		if [ -n "$mux" ] && ! kill -0 "$mux" 2>/dev/null; then
			cat "$tmp/mux.log" >&2
			fail "9pmux did not start"
		fi
		sleep 0.2
	done
}

# show ADDRESS TREE [OPTION of 9pmux...]: reads everything from the running server
show() {
	await "$BUILD/9cat" -a "$2" "$1" small/1
	names="big $(cd "$tmp/files" && echo small/*)"

	# shellcheck disable=SC2086 # the names are ours and have no spaces
	want=$(cd "$tmp/files" && cat $names | sum)
	say "   \$ 9cat -v -r $READERS -m 8192 ${2:+-a $2 }$1 big small/*"
	# shellcheck disable=SC2086
	within 120 "$BUILD/9cat" -v -r "$READERS" -m 8192 -a "$2" "$1" $names >"$tmp/got" 2>"$tmp/said" ||
		{ cat "$tmp/said" >&2; fail "9cat failed"; }
	sed 's/^/   /' "$tmp/said"
	got=$(sum <"$tmp/got")
	say "   checksum of the files:           $want"
	say "   checksum of what 9cat wrote:     $got"
	[ "$want" = "$got" ] || fail "the checksums differ"

	say "   \$ procs -v ${2:+-a $2 }$1 big small/*"
	# shellcheck disable=SC2086
	got=$({ within 120 "$BUILD/procs" -v -a "$2" "$1" $names 2>"$tmp/said" || say "procs: status $?" | tee -a "$tmp/said"; } | sum)
	sed 's/^/   /' "$tmp/said"
	say "   checksum of what procs wrote:    $got"
	[ "$want" = "$got" ] || fail "the checksums differ"

	# with no time at all each read is late at first
	say "   \$ deadline -v -t 0 ${2:+-a $2 }$1 big small/*"
	# shellcheck disable=SC2086
	got=$({ within 120 "$BUILD/deadline" -v -t 0 -a "$2" "$1" $names 2>"$tmp/said" || say "deadline: status $?" | tee -a "$tmp/said"; } | sum)
	sed 's/^/   /' "$tmp/said"
	say "   checksum of what deadline wrote: $got"
	[ "$want" = "$got" ] || fail "the checksums differ"

	rm -rf "$tmp/copies"
	mkdir "$tmp/copies"
	say "   \$ select-loop ${2:+-a $2 }$1 copies big small/1 ... small/20"
	names="big $(cd "$tmp/files" && echo small/? small/1? small/20)"
	# shellcheck disable=SC2086
	within 120 "$BUILD/select-loop" -a "$2" "$1" "$tmp/copies" $names >"$tmp/said" || fail "select-loop failed"
	for name in $names; do
		cmp "$tmp/files/$name" "$tmp/copies/${name##*/}" || fail "the copy of $name differs"
	done
	say "   select-loop: $(tail -n 1 "$tmp/said"); every copy is identical"

	programs "$1" "$1" "$2"
	rm -f "$tmp/shared"
	say "   \$ 9pmux serve -v ${3:+$3 }$1 unix!$tmp/shared"
	# shellcheck disable=SC2086 # options are words
	"$BUILD/9pmux" serve -v ${3:-} "$1" "unix!$tmp/shared" 2>"$tmp/mux.log" &
	mux=$!
	await "$BUILD/9cat" -a "$2" "unix!$tmp/shared" small/1
	programs "$1" "unix!$tmp/shared" "$2"
	kill "$mux"
	wait "$mux" || { cat "$tmp/mux.log" >&2; fail "9pmux ended with status $?"; }
	mux=
	tail -n 1 "$tmp/mux.log" | sed 's/^9pmux: [0-9.]* /   9pmux: /'
	stop
}

# connections SOCKET: prints the number of connections of the server that listens there, if the system reports it
connections() {
	awk -v socket="${1#unix!}" '$6 == "03" && $8 == socket { n++ } END { print n + 0 }' /proc/net/unix 2>/dev/null
}

# programs SERVER ADDRESS TREE: several programs at once read everything by ADDRESS; prints the number of connections of SERVER
programs() {
	say "   \$ 9cat -r 8 -m 8192 ${3:+-a $3 }$2 big small/*    # $CLIENTS of them at once"
	names="big $(cd "$tmp/files" && echo small/*)"
	rm -f "$tmp"/got.*
	running=
	n=0
	while [ $n -lt "$CLIENTS" ]; do
		n=$((n+1))
		# shellcheck disable=SC2086 # the names are ours and have no spaces
		{ within 120 "$BUILD/9cat" -r 8 -m 8192 -a "$3" "$2" $names 2>"$tmp/said.$n" || say "9cat: status $?"; } |
			sum >"$tmp/got.$n" &
		running="$running $!"
	done
	most=0
	while :; do
		now=$(connections "$1")
		[ "${now:-0}" -le $most ] || most=$now
		# shellcheck disable=SC2086 # process numbers
		is_running $running || break
	done
	# shellcheck disable=SC2086
	wait $running
	n=0
	while [ $n -lt "$CLIENTS" ]; do
		n=$((n+1))
		[ "$(cat "$tmp/got.$n")" = "$want" ] || { cat "$tmp/said.$n" >&2; fail "the checksum of program $n differs"; }
	done
	[ $most -eq 0 ] || many=", over $most connection$([ $most -eq 1 ] || echo s) at the server"
	say "   $CLIENTS programs, each with the right checksum${many:-}"
	[ "$1" = "$2" ] || [ $most -le 1 ] || fail "9pmux has more than one connection to the server"
}

# show_link SERVER SERVER: two sides, each with one of these servers, over one connection. Programs on each side read from
# the server of the other side, all at once.
show_link() {
	say
	say "Link: near has the server $1 and far has $2; each reads from the other, over one socket pair"
	start "$1" "$tmp/near.server" "$tmp/near"
	near_tree=$tree near_option=$option
	await test -S "$tmp/near.server"
	start "$2" "$tmp/far.server" "$tmp/far"
	far_tree=$tree far_option=$option
	await test -S "$tmp/far.server"

	far="9pmux link ${far_option:+$far_option }--export unix!$tmp/far.server --post unix!$tmp/at-far -"
	near="9pmux link ${near_option:+$near_option }--export unix!$tmp/near.server --post unix!$tmp/at-near"
	say "   \$ $near 'exec!$far'"
	# shellcheck disable=SC2086 # the paths are ours and have no spaces
	"$BUILD/"$near "exec!exec '$BUILD'/$far 2>'$tmp/far.log'" 2>"$tmp/mux.log" &
	mux=$!
	await "$BUILD/9cat" -a "$far_tree" "unix!$tmp/at-near" data
	await "$BUILD/9cat" -a "$near_tree" "unix!$tmp/at-far" data
	say "   \$ 9cat -r 8 ${far_tree:+-a $far_tree }unix!$tmp/at-near data    # 2 of them at once"
	say "   \$ 9cat -r 8 ${near_tree:+-a $near_tree }unix!$tmp/at-far data     # and 2 of these"
	running=
	for n in 1 2; do
		within 120 "$BUILD/9cat" -r 8 -a "$far_tree" "unix!$tmp/at-near" data >"$tmp/link.far.$n" 2>>"$tmp/said" &
		running="$running $!"
		within 120 "$BUILD/9cat" -r 8 -a "$near_tree" "unix!$tmp/at-far" data >"$tmp/link.near.$n" 2>>"$tmp/said" &
		running="$running $!"
	done
	most_at_near=0 most_at_far=0
	# shellcheck disable=SC2086 # process numbers
	while is_running $running; do
		now=$(connections "unix!$tmp/near.server")
		[ "$now" -le $most_at_near ] || most_at_near=$now
		now=$(connections "unix!$tmp/far.server")
		[ "$now" -le $most_at_far ] || most_at_far=$now
	done
	for one in $running; do
		wait "$one" || { cat "$tmp/said" "$tmp/mux.log" "$tmp/far.log" >&2; fail "9cat failed"; }
	done
	for side in near far; do
		for n in 1 2; do
			cmp "$tmp/$side/data" "$tmp/link.$side.$n" || fail "what program $n has read from $side differs"
		done
	done
	rm "$tmp"/link.*
	[ $most_at_near -le 1 ] && [ $most_at_far -le 1 ] || fail "a link has more than one connection to its server"
	say "   4 programs, each with every byte, in both directions at once"
	[ $((most_at_near + most_at_far)) -eq 0 ] ||
		say "   $most_at_near connection at the server of near, $most_at_far at the server of far, and one between the sides"
	kill "$mux"
	wait "$mux" || { cat "$tmp/mux.log" >&2; fail "9pmux link ended with status $?"; }
	mux=
	stop
}

# is_running PID...: one of them still runs
is_running() {
	for one; do
		kill -0 "$one" 2>/dev/null && return
	done
	return 1
}

for program in 9cat select-loop procs deadline 9pmux; do
	[ -x "$BUILD/$program" ] || fail "$BUILD/$program is not there: run make"
done
generate
say "Files: big ($MB MB), 200 small ones, an empty one."
servers=

if [ -x "$DIOD" ]; then
	say
	say "Server: diod, as Debian has it (9P2000.L, 16 workers: replies in any order)"
	start diod "$tmp/diod" "$tmp/files"
	show "unix!$tmp/diod" "$tree"
	servers=diod
else
	missing "diod (make setup)"
fi

if [ -x "$SERVE9P" ]; then
	say
	say "Server: the crate ninep's (9P2000, replies in order)"
	start ninep "$tmp/ninep" "$tmp/files"
	show "unix!$tmp/ninep" "$tree" "$option"
	servers="${servers:+$servers }ninep"
else
	missing "serve9p (make build/serve9p)"
fi

[ -n "$servers" ] || fail "no 9P server here: install diod (make setup), or make build/serve9p"
show_link "${servers%% *}" "${servers##* }"

if [ -x "$NVIM" ] && [ -x "$BUILD/msgpack-rpc" ] && [ -x "$BUILD/async" ]; then
	say
	say "Server: Neovim (msgpack-RPC)"
	mkdir "$tmp/home"
	env -i PATH="$PATH" HOME="$tmp/home" "$NVIM" --headless --clean --listen "$tmp/nvim" \
		</dev/null >"$tmp/log" 2>&1 &
	server=$!
	await "$BUILD/msgpack-rpc" "$tmp/nvim" 1 1
	for program in msgpack-rpc async; do
		say "   \$ $program $tmp/nvim"
		within 120 "$BUILD/$program" "$tmp/nvim" >"$tmp/said" 2>&1 || { cat "$tmp/said" >&2; fail "$program failed"; }
		sed 's/^/   /' "$tmp/said"
	done
	stop
elif [ -x "$NVIM" ]; then
	missing "msgpack-rpc or async (make build/msgpack-rpc build/async)"
else
	missing "Neovim (make setup)"
fi

say
say "All bytes came through. Every program had one connection, and all those through 9pmux one together."
