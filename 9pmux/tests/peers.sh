#!/bin/sh
# peers.sh build - 9pmux between independent servers and clients.
#
#             server             clients
# 9P2000      the crate ninep's  the crate's, PyPI's p9fs
# 9P2000.u    p9fs's py9p        p9fs
# 9P2000.L    Debian's diod      diodcat and diodls, p9fs
#
# The first and the last are also read with libmux's own 9cat, with 64 readers. In each dialect every client reads a tree
# directly from the server, then all clients read it at once through one 9pmux. The contents and the attributes of each
# file must be the same, byte for byte. Then the clients write through 9pmux, and the tree on the disk is compared.
# tshark captures both sides: it must find each message well-formed, and the same number of messages as 9pmux.
#
# At last, a link has diod behind each end: clients read in both directions at once, and go on when one diod was killed
# and started again. With --reconnect, diod and ninep are killed and started five times while clients read and write, and no
# client notices it. Over TCP, p9fs reads too, and tshark must find each request and reply of both directions on the one
# connection. The same is done over ssh, where OpenSSH's server is installed: make setup does not install it,
# since Debian starts it at once. This server needs no port, and has keys of its own.
#
# `make check-9pmux-peers` calls it. From the environment:
#   NINEPMUX  9pmux's path ($BUILD/9pmux)
#   PEERS     "all": fail if a peer is missing (without it, missing peers are skipped)
set -u
LC_ALL=C.UTF-8
export LC_ALL

[ $# -eq 1 ] || { echo "usage: peers.sh build" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "$1" && pwd) || exit
NINEPMUX=${NINEPMUX:-$BUILD/9pmux}
PATH=$PATH:/usr/sbin:/usr/local/sbin
# the crate's server lets only the owner of a file write it, compared by name
USER=$(id -un)
export USER

say() { printf '%s\n' "$*"; }
fail() { say "peers: $*" >&2; exit 1; }
missing() {
	[ "${PEERS:-}" != all ] || fail "$*"
	say "Left out: $*"
}
have() { command -v "$1" >/dev/null; }

# within SECONDS COMMAND...: the command fails if it takes longer
within() { timeout --foreground -k 5 "$@"; }

tmp=$(mktemp -d "${TMPDIR:-/tmp}/9pmux-peers.XXXXXX") || exit
programs=
stop() {
	for program in $programs; do
		{ kill "$program" && wait "$program"; } 2>/dev/null
	done
	programs=
}
trap 'stop; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# await WHAT COMMAND...: waits until the command succeeds, at most 60 seconds
await() {
	what=$1
	shift
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries+1))
		[ $tries -le 600 ] || { cat "$tmp"/*.log >&2; fail "$what: still missing after 60 seconds"; }
		sleep 0.1
	done
}

# --- the served files: a tree, and simpler ones for servers and clients that need ASCII names

generate() {
	mkdir -p "$tmp/served/tree/small" "$tmp/served/tree/a directory with spaces" "$tmp/served/tree/größe/日本" || exit
	cd "$tmp/served/tree" || exit
	dd if=/dev/urandom of=big bs=1048576 count=3 2>/dev/null || fail "cannot write $tmp"
	n=0
	while [ $n -lt 200 ]; do
		n=$((n+1))
		printf 'small file number %d\n' $n $((n*n)) >"small/$n"
	done
	: >empty
	# the data length of a message at the msizes in use, one byte less, and one byte more
	head -c 8168 big >'a directory with spaces/8168'
	head -c 8169 big >'a directory with spaces/and one more'
	head -c 65511 big >'größe/日本/é'
	deep=deep/1/2/3/4/5/6/7/8/9/10/11/12
	mkdir -p $deep
	echo bottom >$deep/bottom
	for n in 1 2 3; do
		mkdir -p "../plain.$n/with spaces" "../plain.$n/small"
		cp -r deep empty "../plain.$n"
		cp small/1? "../plain.$n/small"
		tail -c $((400000+n)) big >"../plain.$n/with spaces/data"
	done
	chmod -R a+rX "$tmp"
	for n in tree plain.1 plain.2 plain.3; do
		cd "$tmp/served" || exit
		find $n -type f | sort >"$tmp/$n.files"
		find $n -type d | sort >"$tmp/$n.directories"
		tr '\n' '\0' <"$tmp/$n.files" | xargs -0 cat >"$tmp/$n.all"
	done
	cd / || exit
}

# --- the servers; each sets server and straight_port

# port_of PID: the port of 127.0.0.1 on which that process listens
port_of() {
	find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null | tr -dc '0-9\n' >"$tmp/inodes"
	hex=$(awk 'FNR == NR { mine[$1]; next } $4 == "0A" && $10 in mine { sub(/.*:/, "", $2); print $2; exit }' \
		"$tmp/inodes" /proc/net/tcp)
	[ -n "$hex" ] && printf '%d\n' "0x$hex"
}

# relay PATH: sets straight_port to a port that forwards to that Unix socket
relay() {
	socat -b 65536 TCP-LISTEN:0,bind=127.0.0.1,fork "UNIX-CONNECT:$1" 2>"$tmp/socat.log" &
	programs="$! $programs"
	await "socat" port_of $!
	straight_port=$(port_of $!)
}

start_diod() {
	diod -c /dev/null -f -n -l 127.0.0.1:0 -l "$tmp/diod" -e "$tmp/served" -L "$tmp/diod.log" >"$tmp/diod.log" 2>&1 &
	server=$!
	programs=$!
	await diod port_of $server
	straight_port=$(port_of $server)
}

start_ninep() {
	"$BUILD/serve9p" "$tmp/ninep" "$tmp/served" >"$tmp/ninep.log" 2>&1 &
	server=$!
	programs=$!
	await ninep test -S "$tmp/ninep"
	relay "$tmp/ninep"
}

start_py9p() {
	"$python" -m py9p -D -w -a 127.0.0.1 -p 0 -r "$tmp/served" >"$tmp/py9p.log" 2>&1 &
	server=$!
	programs=$!
	await py9p port_of $server
	straight_port=$(port_of $server)
}

# --- the clients; each is at $port, with $aname, in $dialect

# by TCP where tshark captures
nine_address() { if [ -n "$chain" ] && [ "$port" != "$straight_port" ]; then say "unix!$tmp/mux"; else say "tcp!127.0.0.1!$port"; fi; }

# reads CLIENT TREE: the client reads that tree into the directory $out
reads() {
	mkdir "$out" || return
	case $1 in
	diod)
		tr '\n' '\0' <"$tmp/$2.directories" | within 60 xargs -0 diodls -l -s "127.0.0.1:$port" -a "$aname" >"$out/said" &&
			tr '\n' '\0' <"$tmp/$2.files" | within 60 xargs -0 diodcat -s "127.0.0.1:$port" -a "$aname" >"$out/all"
		;;
	9cat)
		tr '\n' '\0' <"$tmp/$2.files" |
			within 60 xargs -0 "$BUILD/9cat" -r 64 -m 8192 -a "$aname" "$(nine_address)" >"$out/all"
		;;
	tree9p)
		within 60 "$BUILD/tree9p" "tcp!127.0.0.1!$port" copy "$2" "$out/tree" >"$out/said"
		;;
	p9fs)
		within 60 "$python" "$here/peers/p9fs_tree.py" "$port" "$dialect" "$aname" copy "$2" "$out/tree" >"$out/said"
		;;
	esac
}

# writes CLIENT TREE NAME: the client writes that tree to the new directory NAME
writes() {
	case $1 in
	tree9p) within 60 "$BUILD/tree9p" "tcp!127.0.0.1!$port" put "$tmp/served/$2" "$3" ;;
	p9fs) within 60 "$python" "$here/peers/p9fs_tree.py" "$port" "$dialect" "$aname" put "$tmp/served/$2" "$3" ;;
	esac
}

removes() {
	case $1 in
	tree9p) within 60 "$BUILD/tree9p" "tcp!127.0.0.1!$port" remove "$2" ;;
	p9fs) within 60 "$python" "$here/peers/p9fs_tree.py" "$port" "$dialect" "$aname" remove "$2" ;;
	esac
}

# has_read CLIENT TREE STRAIGHT: $out holds the whole tree, and the same listing as the direct read in STRAIGHT
has_read() {
	[ -e "$out/all" ] || [ -d "$out/tree" ] || fail "$1 has read nothing"
	! [ -e "$out/all" ] || cmp "$tmp/$2.all" "$out/all" || fail "$1: the bytes of $2 differ"
	! [ -d "$out/tree" ] || diff -r "$tmp/served/$2" "$out/tree" || fail "$1: the copy of $2 differs"
	! [ -e "$3/said" ] || [ -s "$3/said" ] || fail "$1 has listed nothing"
	! [ -e "$3/said" ] || diff "$3/said" "$out/said" || fail "$1: the listing of $2 differs"
}

# --- the maximum number of connections at the server

count_connections() {
	most=0
	while :; do
		last=; [ ! -e "$tmp/enough" ] || last=yes
		# the test has failed and has ended
		[ -d "$tmp" ] || exit
		# the kernel generates the file while it is read, so a connection may be listed twice
		now=$(awk -v port="$(printf ':%04X' "$straight_port")" \
			'$4 == "01" && substr($2, length($2) - 4) == port && !($3 in seen) { seen[$3]; n++ } END { print n + 0 }' \
			/proc/net/tcp)
		[ "$now" -le $most ] || most=$now
		[ -z "$last" ] || break
	done
	echo $most >"$tmp/connections"
}

# --- the capture

# mark TEXT: sends a datagram with that text, and checks that it is captured
mark() {
	printf '%s' "$1" | socat - UDP-SENDTO:127.0.0.1:9 2>/dev/null
	grep -aq "$1" "$tmp/capture"
}

# The whole capture fits the kernel's buffer, so that no packet is dropped if tshark is slow.
capture() {
	capturing=
	[ -n "$tshark" ] && [ -z "$chain" ] || return
	rm -f "$tmp/capture"
	tshark -q -n -B 256 -i lo -f "tcp port $straight_port or tcp port $port or udp port 9" -w "$tmp/capture" \
		>"$tmp/tshark.log" 2>&1 &
	capturing=$!
	programs="$! $programs"
	await tshark grep -q 'Capture started' "$tmp/tshark.log"
	await "tshark's first packet" mark "captured from here on"
}

# wrong WHAT: tshark reports a problem. The test fails only if the capture is complete: a busy machine may lose packets.
wrong() {
	[ -s "$tmp/gaps" ] || fail "tshark: $1"
	say "   Left out: the report of tshark ($1), because the capture is incomplete: $(head -n 1 "$tmp/gaps")"
}

# end_capture: ends tshark when all packets so far are captured, and writes what it has dropped to $tmp/gaps
end_capture() {
	await "tshark's last packet" mark "captured to here"
	kill -INT "$capturing"
	wait "$capturing" || { cat "$tmp/tshark.log" >&2; fail "tshark has failed"; }
	grep 'dropped' "$tmp/tshark.log" >"$tmp/gaps"
}

# captured: no captured message is malformed, and the capture has all messages between 9pmux and the server
captured() {
	[ -n "$capturing" ] || return
	end_capture
	# with two processors packets are not always captured in their order
	within 120 tshark -n -r "$tmp/capture" -o tcp.reassemble_out_of_order:TRUE -d "tcp.port==$straight_port,9p" -d "tcp.port==$port,9p" \
		-Y '9p or _ws.malformed or tcp.analysis.lost_segment or tcp.analysis.ack_lost_segment' \
		-T fields -E aggregator=' ' -e frame.number -e tcp.stream -e tcp.srcport -e tcp.dstport -e 9p.msgtype \
		-e _ws.malformed -e 9p.first_250 -e 9p.msgtype.unknown -e tcp.analysis.lost_segment \
		-e tcp.analysis.ack_lost_segment >"$tmp/dissected" 2>"$tmp/tshark.log" ||
		{ cat "$tmp/tshark.log" >&2; fail "tshark cannot read its capture"; }
	# tshark always reads four bytes of the extension of a Tcreate in 9P2000.u, so it calls a message with an empty
	# extension malformed (packet-9p.c, seen with 4.0.17): such a message is accepted and counted
	awk -F'\t' -v server="$straight_port" -v dialect="$dialect" -v gaps="$tmp/gaps" '
		{ n = split($5, types, " "); side = $3 == server || $4 == server ? "server" : "clients" }
		$9 $10 != "" { print "frame " $1 ": an earlier packet was not captured, or was captured later" >>gaps }
		$7 $8 != "" { print "frame " $1 ": " $7 $8 " among " $5; bad = 1 }
		$6 != "" {
			malformed = gsub(/_ws.malformed/, "", $6)
			excused = 0
			for(i = 1; i <= n; i++) excused += dialect == "9P2000.u" && types[i] == 114
			all += excused
			if(malformed > excused) { print "frame " $1 ": malformed, among " $5; bad = 1 }
		}
		side == "server" && !($2 in streams) { streams[$2]; connections++ }
		{ for(i = 1; i <= n; i++) { seen[side, types[i] % 2]++; kinds[types[i]]; of[side, types[i]]++ } }
		END {
			# 9pmux shares one session, clunks the fids of departed clients, and may attach by a walk; it forwards the rest
			for(k in kinds)
				if(k !~ /^(100|101|102|103|104|105|107|110|111|120|121)$/ && of["clients", k] != of["server", k]) {
					print "type " k ": " of["clients", k] + 0 " with the clients, " of["server", k] + 0 " with the server"
					bad = 1
				}
			print connections + 0, seen["server", 0] + 0, seen["server", 1] + 0, seen["clients", 0] + 0, seen["clients", 1] + 0, all + 0
			exit bad
		}' "$tmp/dissected" >"$tmp/summary" || { head -n 20 "$tmp/summary" >&2; wrong "the messages are inconsistent"; return; }
	read -r connections there back asked answered excused <"$tmp/summary"
	[ "$connections" -eq 1 ] || { wrong "there are $connections connections to the server"; return; }
	# 9pmux counts the requests of clients, without its own Tversion and Tclunks
	[ "$there" -gt "$sent" ] && [ "$there" -eq "$back" ] || { wrong "$there requests and $back replies at the server"; return; }
	[ "$asked" -gt 0 ] && [ "$asked" -eq "$answered" ] || { wrong "$asked requests of clients and $answered replies"; return; }
	say "   tshark: $asked requests of clients, $there to the server, each with its reply, none malformed"
	[ "$excused" -eq 0 ] || say "   (but for $excused Tcreate with an empty extension, which tshark misreads)"
}

# --- 9pmux

# mux LOG OPTIONS SERVER LISTEN...: starts 9pmux; sets mux, and port if it listens by TCP
mux() {
	log=$1
	shift
	rm -f "$log"
	"$NINEPMUX" serve -v "$@" 2>"$log" &
	mux=$!
	programs="$! $programs"
	for last; do :; done
	await 9pmux grep -qF "listening on ${last%!0}" "$log"
	port=$(sed -n 's/.*listening on tcp!127\.0\.0\.1!//p' "$log")
}

all_gone() { [ "$(grep -c '9pmux: [0-9.]* client [0-9]* connected' "$1")" -eq "$(grep -c '9pmux: [0-9.]* client [0-9]* disconnected' "$1")" ]; }
none_open() { [ -z "$(find "/proc/$server/fd" -lname "$tmp/served/*")" ]; }

# ended PID LOG: all clients have disconnected, and no fid or request of theirs is left; sets sent and got
ended() {
	await "the end of 9pmux's clients" all_gone "$2"
	await "the server to close its files" none_open
	kill "$1"
	wait "$1" || { cat "$2" >&2; fail "9pmux has ended with status $?"; }
	last=$(tail -n 1 "$2")
	sent=$(say "$last" | sed -n 's/.* \([0-9]*\) requests forwarded, .*/\1/p')
	got=$(say "$last" | sed -n 's/.*, \([0-9]*\) replies returned, [0-9]* requests refused by 9pmux$/\1/p')
	[ -n "$sent" ] && [ "$sent" = "$got" ] || { cat "$2" >&2; fail "9pmux: requests and replies differ: $last"; }
	say "   9pmux: $(grep -c 'client [0-9]* connected' "$2") clients, $sent requests and as many replies"
}

# --- the test of one server

# try SERVER DIALECT ANAME "CLIENT TREE"...: these clients read at once, and the clients in $writers write. 9pmux has
# $options. With $chain, a second 9pmux is in front of the first.
try() {
	name=$1 dialect=$2 aname=$3
	shift 3
	if [ -z "$p9fs" ]; then
		for one; do
			shift
			[ "${one% *}" = p9fs ] || set -- "$@" "$one"
		done
		writers=$(say "$writers" | sed 's/p9fs//g')
	fi
	say "$name ($dialect)${chain:+, by a 9pmux in front of a 9pmux}"
	"start_$name"

	port=$straight_port
	for one; do
		out=$tmp/straight.${one% *}.${one#* }
		[ ! -d "$out" ] || continue
		reads ${one% *} ${one#* } || fail "${one% *} cannot read ${one#* } directly"
		has_read ${one% *} ${one#* } "$out"
	done

	first=
	# shellcheck disable=SC2086 # options are words
	if [ -n "$chain" ]; then
		mux "$tmp/first.log" $options "tcp!127.0.0.1!$straight_port" "unix!$tmp/first"
		first=$mux
		mux "$tmp/mux.log" "unix!$tmp/first" "unix!$tmp/mux" "tcp!127.0.0.1!0"
	else
		mux "$tmp/mux.log" $options "tcp!127.0.0.1!$straight_port" "tcp!127.0.0.1!0"
	fi
	capture
	rm -f "$tmp/enough"
	count_connections &
	counting=$!
	running= n=0
	for one; do
		n=$((n+1))
		out=$tmp/out.$n
		reads ${one% *} ${one#* } &
		running="$running $!"
	done
	n=0
	for one in $running; do
		n=$((n+1))
		wait "$one" || { cat "$tmp/mux.log" >&2; fail "client $n cannot read through 9pmux"; }
	done
	: >"$tmp/enough"
	wait $counting
	[ "$(cat "$tmp/connections")" -eq 1 ] || fail "$(cat "$tmp/connections") connections at the server"
	n=0
	for one; do
		n=$((n+1))
		out=$tmp/out.$n
		has_read ${one% *} ${one#* } "$tmp/straight.${one% *}.${one#* }"
	done
	say "   $n clients at once, each with every byte, over one connection:$(printf ' %s,' "$@" | sed 's/ [^ ]*,/,/g; s/,$//')"

	running= n=0
	for one in $writers; do
		n=$((n+1))
		writes $one plain.1 written.$n &
		running="$running $!"
	done
	for one in $running; do
		wait "$one" || { cat "$tmp/mux.log" >&2; fail "a client cannot write through 9pmux"; }
	done
	n=0
	for one in $writers; do
		n=$((n+1))
		diff -r "$tmp/served/plain.1" "$tmp/served/written.$n" || fail "the tree that $one has written differs"
		removes $one written.$n || fail "$one cannot remove through 9pmux"
		[ ! -e "$tmp/served/written.$n" ] || fail "the tree that $one has removed still exists"
	done
	[ -z "$writers" ] || say "   written, compared on the disk, and removed, at once:$(printf ' %s' $writers)"

	ended "$mux" "$tmp/mux.log"
	[ -z "$first" ] || ended "$first" "$tmp/first.log"
	captured
	stop
	rm -rf "$tmp"/out.* "$tmp"/straight.*
}

# rereads CLIENT TREE N: reads the tree again and again, until the restarts are over
rereads() {
	out=$tmp/again.$3
	while [ ! -e "$tmp/enough" ]; do
		rm -rf "$out"
		{ reads $1 $2 && has_read $1 $2 "$tmp/straight.$1.$2"; } || { say "client $3 ($1)" >>"$tmp/restart.failed"; return; }
		say "$1" >>"$tmp/restart.done"
	done
}

# backs COUNT: 9pmux has been back so often
backs() { [ "$(grep -c 'back after' "$tmp/mux.log")" -ge "$1" ]; }

# restarts SERVER DIALECT ANAME "CLIENT TREE"...: these clients read again and again, and one writes, while the server is
# killed and started five times. 9pmux has $options.
restarts() {
	name=$1 dialect=$2 aname=$3
	shift 3
	"start_$name"
	rm -f "$tmp/enough" "$tmp"/restart.*
	port=$straight_port
	for one; do
		out=$tmp/straight.${one% *}.${one#* }
		[ ! -d "$out" ] || continue
		reads ${one% *} ${one#* } || fail "${one% *} cannot read ${one#* } directly"
		has_read ${one% *} ${one#* } "$out"
	done
	# shellcheck disable=SC2086 # options are words
	mux "$tmp/mux.log" --reconnect=inf $options "unix!$tmp/$name" "tcp!127.0.0.1!0"
	running= n=0
	for one; do
		n=$((n+1))
		rereads ${one% *} ${one#* } $n &
		running="$running $!"
	done
	cp "$tmp/served/tree/big" "$tmp/rewritten.big"
	if [ -n "$p9fs" ]; then
		cp "$tmp/rewritten.big" "$tmp/served/rewritten"
		"$python" "$here/peers/p9fs_tree.py" "$port" "$dialect" "$aname" rewrite "$tmp/rewritten.big" rewritten "$tmp/enough" \
			>"$tmp/restart.writes" &
		running="$running $!"
	fi
	n=0
	while [ $n -lt 5 ]; do
		n=$((n+1))
		keep=$programs
		await "a read" test -s "$tmp/restart.done"
		{ kill -9 "$server" && wait "$server"; } 2>/dev/null
		rm -f "$tmp/$name" "$tmp/restart.done"
		"start_$name"
		programs="$programs $keep"
		await "9pmux after restart $n" backs $n
	done
	await "the last read" test -s "$tmp/restart.done"
	: >"$tmp/enough"
	for one in $running; do wait "$one" || say "a client has failed" >>"$tmp/restart.failed"; done
	[ ! -e "$tmp/restart.failed" ] || { cat "$tmp/mux.log" >&2; fail "restarts of $name: $(cat "$tmp/restart.failed")"; }
	[ -z "$p9fs" ] || cmp "$tmp/rewritten.big" "$tmp/served/rewritten" || fail "restarts of $name: a file has other bytes"
	! grep -q 'fids are gone' "$tmp/mux.log" || { cat "$tmp/mux.log" >&2; fail "restarts of $name: fids are gone"; }
	await "the end of 9pmux's clients" all_gone "$tmp/mux.log"
	await "the server to close its files" none_open
	{ kill "$mux" && wait "$mux"; } || { cat "$tmp/mux.log" >&2; fail "9pmux has ended with status $?"; }
	stop
	rm -rf "$tmp"/again.* "$tmp"/straight.* "$tmp/served/rewritten"
	say "restarts: $name was killed and started five times below $# clients with 64 readers each and a writer, and none noticed it"
}

# start_end SIDE: starts diod with that directory, behind an end of the link
start_end() {
	diod -c /dev/null -f -n -l "$tmp/diod.$1" -e "$tmp/$1" -L "$tmp/diod.$1.log" >/dev/null 2>&1 &
	server=$!
	programs="$server $programs"
	await "diod of the end $1" test -S "$tmp/diod.$1"
}

# reads_over SIDE: reads the file of that side with both clients
reads_over() {
	within 60 diodcat -s "$tmp/to-$1" -a "$tmp/$1" file 2>>"$tmp/link.log" | cmp - "$tmp/$1/file" || return
	within 60 "$BUILD/9cat" -a "$tmp/$1" "unix!$tmp/to-$1" file 2>>"$tmp/link.log" | cmp - "$tmp/$1/file"
}

# start_sides: a directory with a file and a tree for each side, and its diod
start_sides() {
	for side in near far; do
		rm -rf "$tmp/$side" "$tmp/diod.$side"
		mkdir "$tmp/$side" || exit
		{ echo $side; cat "$tmp/served/tree/big"; } >"$tmp/$side/file"
		cp -r "$tmp/served/plain.1" "$tmp/$side/tree"
		start_end $side
	done
}

# all_read READ: calls READ SIDE N four times for each side, at once
all_read() {
	readers=
	for n in 1 2 3 4; do
		for side in near far; do
			{ "$1" $side $n || echo "$side $n" >>"$tmp/link.failed"; } &
			readers="$! $readers"
		done
	done
	for reader in $readers; do wait "$reader"; done
	[ ! -e "$tmp/link.failed" ] || { cat "$tmp"/*.log >&2; fail "link: wrong bytes: $(cat "$tmp/link.failed")"; }
}

# link NAME COMMAND: the first end starts this command with a script that becomes the second end
link() {
	start_sides
	echo "exec '$NINEPMUX' link - --export 'unix!$tmp/diod.far' --post 'unix!$tmp/to-near' 2>'$tmp/second.log'" >"$tmp/second"
	"$NINEPMUX" link "exec!exec $2 '$tmp/second'" \
		--export "unix!$tmp/diod.near" --post "unix!$tmp/to-far" 2>"$tmp/first.log" &
	linked=$!
	programs="$linked $programs"
	await "the first end" test -S "$tmp/to-far"
	await "the second end" test -S "$tmp/to-near"
	all_read reads_over
	{ kill -9 "$server" && wait "$server"; } 2>/dev/null
	rm "$tmp/diod.far"
	reads_over near || fail "link: the other direction ends with a server"
	start_end far
	reads_over far || fail "link: a server that was started again is not reached"
	{ kill "$linked" && wait "$linked"; } || fail "link: status $? after SIGTERM"
	await "the end of the second end" test ! -e "$tmp/to-near"
	stop
	say "$1: diod behind both ends, 16 readers in both directions, and a server that was killed"
}

# port_in LOG N: the port of the Nth address by TCP in that log of 9pmux
port_in() { sed -n 's/.*listening on tcp!127\.0\.0\.1!//p' "$1" | sed -n "$2p" | grep .; }

# start_link_end LOG OPTIONS...: sets linked
start_link_end() {
	log=$1
	shift
	"$NINEPMUX" link -v "$@" 2>"$log" &
	linked=$!
	programs="$linked $programs"
}

# copies_over SIDE N: as reads_over, and with p9fs, which connects by TCP
copies_over() {
	reads_over "$1" || return
	[ -n "$p9fs" ] || return 0
	case $1 in near) to=$to_near ;; far) to=$to_far ;; esac
	within 60 "$python" "$here/peers/p9fs_tree.py" "$to" 9P2000.L "$tmp/$1" copy tree "$tmp/copied.$1.$2" >>"$tmp/link.log" 2>&1 &&
		diff -r "$tmp/$1/tree" "$tmp/copied.$1.$2"
}

# link_by_tcp: as link, over a connection that tshark captures, and with p9fs
link_by_tcp() {
	start_sides
	start_link_end "$tmp/first.log" 'listen!tcp!127.0.0.1!0' --export "unix!$tmp/diod.near" --post 'tcp!127.0.0.1!0' --post "unix!$tmp/to-far"
	await "the first end" port_in "$tmp/first.log" 2
	to_far=$(port_in "$tmp/first.log" 1) straight_port=$(port_in "$tmp/first.log" 2)
	port=$straight_port
	capture
	start_link_end "$tmp/second.log" "tcp!127.0.0.1!$port" --export "unix!$tmp/diod.far" --post 'tcp!127.0.0.1!0' --post "unix!$tmp/to-near"
	await "the second end" port_in "$tmp/second.log" 1
	to_near=$(port_in "$tmp/second.log" 1)
	await "the second end" test -S "$tmp/to-near"
	all_read copies_over
	{ kill "$linked" && wait "$linked"; } || fail "link: status $? after SIGTERM"
	say "link by TCP: diod behind both ends, diodcat, 9cat${p9fs:+ and p9fs} in both directions at once"
	link_captured
	stop
	rm -rf "$tmp"/copied.*
}

# link_captured: each request of both directions has its reply, and no message is malformed
link_captured() {
	[ -n "$capturing" ] || return
	end_capture
	within 120 tshark -n -r "$tmp/capture" -o tcp.reassemble_out_of_order:TRUE -d "tcp.port==$port,9p" \
		-Y '9p or _ws.malformed or tcp.analysis.lost_segment or tcp.analysis.ack_lost_segment' \
		-T fields -E aggregator=' ' -e frame.number -e tcp.srcport -e 9p.msgtype -e _ws.malformed -e 9p.first_250 \
		-e 9p.msgtype.unknown -e tcp.analysis.lost_segment -e tcp.analysis.ack_lost_segment >"$tmp/dissected" 2>"$tmp/tshark.log" ||
		{ cat "$tmp/tshark.log" >&2; fail "tshark cannot read its capture"; }
	awk -F'\t' -v port="$port" -v gaps="$tmp/gaps" '
		$7 $8 != "" { print "frame " $1 ": an earlier packet was not captured, or was captured later" >>gaps }
		$4 $5 $6 != "" { print "frame " $1 ": " $4 $5 $6 " among " $3; bad = 1 }
		{ n = split($3, types, " "); for(i = 1; i <= n; i++) seen[$2 == port, types[i] % 2]++ }
		END { print seen[1, 0] + 0, seen[0, 1] + 0, seen[0, 0] + 0, seen[1, 1] + 0; exit bad }' "$tmp/dissected" >"$tmp/summary" ||
		{ head -n 20 "$tmp/summary" >&2; wrong "the messages are inconsistent"; return; }
	read -r there back asked answered <"$tmp/summary"
	[ "$there" -gt 0 ] && [ "$there" -eq "$back" ] && [ "$asked" -gt 0 ] && [ "$asked" -eq "$answered" ] ||
		{ wrong "$there requests and $back replies one way, $asked and $answered the other way"; return; }
	say "   tshark: $there requests one way and $asked the other way on one connection, each with its reply, none malformed"
}

# prepare_ssh: makes the host "far" of $tmp/ssh/config, for which ssh itself starts a server. Fails with the reason in
# $tmp/ssh/log.
prepare_ssh() {
	mkdir "$tmp/ssh" || exit
	sshd=$(command -v sshd) && have ssh && have ssh-keygen || { echo "sshd is not installed" >"$tmp/ssh/log"; return 1; }
	for key in host user; do
		ssh-keygen -q -t ed25519 -N '' -f "$tmp/ssh/$key" </dev/null >"$tmp/ssh/log" 2>&1 || return
	done
	{ printf 'far '; cat "$tmp/ssh/host.pub"; } >"$tmp/ssh/known"
	# without PAM the server refuses users whose shadow entry it cannot read
	cat >"$tmp/ssh/sshd" <<-EOF
		HostKey $tmp/ssh/host
		AuthorizedKeysFile $tmp/ssh/user.pub
		AuthenticationMethods publickey
		PidFile none
		StrictModes no
		UsePAM yes
	EOF
	# root's server needs this directory, which the system makes when it starts its own
	cat >"$tmp/ssh/start" <<-EOF
		[ "\$(id -u)" -ne 0 ] || [ -d /run/sshd ] || exec unshare -m sh -c 'mount -t tmpfs none /run &&
			mkdir -m 755 /run/sshd && exec "\$0" "\$@"' $sshd -i -e -f $tmp/ssh/sshd
		exec $sshd -i -e -f $tmp/ssh/sshd
	EOF
	cat >"$tmp/ssh/config" <<-EOF
		Host far
		ProxyCommand sh $tmp/ssh/start
		IdentityFile $tmp/ssh/user
		IdentitiesOnly yes
		UserKnownHostsFile $tmp/ssh/known
		StrictHostKeyChecking yes
		BatchMode yes
	EOF
	within 30 ssh -F "$tmp/ssh/config" far true </dev/null >"$tmp/ssh/log" 2>&1
}

link_by_ssh() {
	prepare_ssh || { say "Left out: the link by ssh: $(tr -s '\r\n' '  ' <"$tmp/ssh/log")"; return; }
	link "link by ssh" "ssh -F '$tmp/ssh/config' far sh"
	grep -q 'Accepted publickey' "$tmp/first.log" || { cat "$tmp/first.log" >&2; fail "ssh has not logged in"; }
}

for program in "$NINEPMUX" "$BUILD/9cat" "$BUILD/serve9p" "$BUILD/tree9p"; do
	[ -x "$program" ] || fail "$program is missing: run make check-9pmux-peers"
done
have socat || { missing "everything: socat is not installed (make setup)"; exit 0; }
tshark=
if have tshark && [ "$(id -u)" -ne 0 ] && ! within 20 dumpcap -q -i lo -a duration:1 -w /dev/null 2>/dev/null; then
	say "Left out: the capture: this user is not permitted (root is, and members of the group wireshark where that is set up)"
elif have tshark; then
	tshark=yes
else
	missing "the capture: tshark is not installed (make setup)"
fi

# the Python environment is rebuilt when the requirements have changed
python=$BUILD/peers/bin/python
if ! cmp -s "$here/peers/requirements.txt" "$BUILD/peers/requirements.txt"; then
	rm -rf "$BUILD/peers"
	{ within 120 python3 -m venv "$BUILD/peers" && within 300 "$python" -m pip install --quiet --disable-pip-version-check \
		--require-hashes --no-deps --only-binary :all: -r "$here/peers/requirements.txt"; } >"$tmp/pip.log" 2>&1 &&
		cp "$here/peers/requirements.txt" "$BUILD/peers" || cat "$tmp/pip.log" >&2
fi
p9fs=yes
cmp -s "$here/peers/requirements.txt" "$BUILD/peers/requirements.txt" || { p9fs=; missing "p9fs: it cannot be installed for python3"; }

generate
chain=
if have diod; then
	options= writers="p9fs p9fs"
	try diod 9P2000.L "$tmp/served" "diod tree" "p9fs tree" "9cat tree" "diod tree" "9cat tree" "p9fs tree"
	chain=yes writers=
	try diod 9P2000.L "$tmp/served" "diod tree" "p9fs tree" "9cat tree" "9cat tree"
	chain=
	link link sh
	link_by_tcp
	link_by_ssh
	# diodcat begins with a Tauth, which may not be repeated
	restarts diod 9P2000.L "$tmp/served" "9cat tree" "9cat tree" "9cat tree"
else
	missing "9P2000.L: diod is not installed (make setup)"
fi
# this server permits one attach per connection
options=--attach-once writers="tree9p p9fs tree9p"
try ninep 9P2000 "" "tree9p tree" "p9fs tree" "9cat tree" "tree9p tree" "9cat tree"
chain=yes writers=tree9p
try ninep 9P2000 "" "tree9p tree" "tree9p tree" "9cat tree"
chain=
options=--attach-once
restarts ninep 9P2000 "" "9cat tree" "9cat tree"
# py9p closes a file at the first clunk, even if two clients have it open, so each client reads its own tree
options= writers=p9fs
[ -z "$p9fs" ] || try py9p 9P2000.u "" "p9fs plain.1" "p9fs plain.2" "p9fs plain.3"
