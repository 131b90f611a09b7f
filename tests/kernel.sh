#!/bin/sh
# kernel.sh BUILD: Linux's own 9P client (v9fs) does the same through 9pmux as without it.
#
# A virtual machine of QEMU boots Debian's kernel with an initramfs of busybox, tests/kernel/init and tests/kernel/work.
# It mounts the tree of each server directly and through 9pmux, and works there. What the work prints (contents,
# listings, sums, exit statuses) and what it leaves on the disk must be the same. The servers are
#
# 9P2000.L    Debian's diod, also with the kernel's cache
# 9P2000.u    p9fs's py9p, where make check-9pmux-peers has installed it: reads only, one at a time, because
#             it closes a file at the first clunk
# 9P2000      the crate ninep's: reads only, because it names errors in words that the kernel does not know
#
# At last, a tree is mounted through 9pmux --reconnect, and its diod is killed and started three times (tests/kernel/restart),
# and 9pmux runs in the virtual machine, over vsock and with its control tree mounted (tests/kernel/inside).
#
# QEMU, the kernel and busybox are unpacked below BUILD, with apt; nothing is installed, and no privilege is needed. QEMU
# emulates the processor (KVM may exist and still not work). Where they cannot be had, one line says so, and the status
# is 77.
set -u
LC_ALL=C.UTF-8
export LC_ALL

[ $# -eq 1 ] || { echo "usage: kernel.sh build" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "$1" && pwd) || exit
root=$BUILD/kernel
PATH=$PATH:/usr/sbin:/usr/local/sbin
# the crate's server lets only the owner of a file write it, compared by name
USER=$(id -un)
export USER

: "${CC:=cc}"
fail() { echo "kernel: $*" >&2; exit 1; }
no() {
	echo "kernel: SKIPPED: $*, so no kernel has mounted 9pmux"
	[ -z "${SKIPPED:-}" ] || : >"$SKIPPED"
	exit 77
}
have() { command -v "$1" >/dev/null; }

tmp=$(mktemp -d "${TMPDIR:-/tmp}/9pmux-kernel.XXXXXX") || exit
programs=
stop() {
	for program in $programs; do
		{ kill "$program" && wait "$program"; } 2>/dev/null
	done
	programs=
	[ ! -s "$tmp/restart.pid" ] || kill "$(cat "$tmp/restart.pid")" 2>/dev/null
}
trap 'stop; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# --- QEMU, the kernel and busybox

# apt with package lists of its own, which need no privilege
apt() {
	tool=$1
	shift
	"$tool" -o APT::Sandbox::User="$(id -un)" -o Dir::State::Lists="$tmp/lists" -o Dir::Cache="$tmp/cache" \
		-o Debug::NoLocking=1 "$@"
}

# Unpacks the packages that are not installed into $root. The kernel is never installed.
fetch() {
	mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/packages"
	apt apt-get update -qq >"$tmp/apt.log" 2>&1 || true
	kernel=$(apt apt-cache depends linux-image-amd64 2>>"$tmp/apt.log" | awk '/Depends: linux-image/ { print $2; exit }')
	[ -n "$kernel" ] || no "no package source of this machine has linux-image-amd64"
	apt apt-get -s install --no-install-recommends qemu-system-x86 busybox-static >"$tmp/plan" 2>>"$tmp/apt.log" ||
		no "no package source of this machine has qemu-system-x86 and busybox-static"
	names=$(awk '/^Inst/ { print $2 }' "$tmp/plan")
	# shellcheck disable=SC2086 # several packages
	(cd "$tmp/packages" && apt apt-get -qq download "$kernel" $names) >>"$tmp/apt.log" 2>&1 || {
		tail -n 3 "$tmp/apt.log" >&2
		no "the packages of QEMU and the kernel cannot be downloaded"
	}
	rm -rf "$root"
	mkdir -p "$root"
	for package in "$tmp"/packages/*.deb; do
		dpkg -x "$package" "$root" || fail "$package cannot be unpacked"
	done
	touch "$root/complete"
}

have diod || no "diod is not installed (make setup)"
have socat || no "socat is not installed (make setup)"
{ have apt-get && have dpkg && [ "$(dpkg --print-architecture)" = amd64 ]; } || no "this is no Debian for amd64"
[ -e "$root/complete" ] || fetch

# found PATH...: prints the first of these files that exists, unpacked or installed
found() {
	for file; do
		for one in "$root$file" "$file"; do
			[ ! -e "$one" ] || { echo "$one"; return; }
		done
	done
	fail "there is no $*"
}
qemu=$(found /usr/bin/qemu-system-x86_64) || exit
busybox=$(found /bin/busybox /usr/bin/busybox) || exit
firmware=$(found /usr/share/seabios) || exit
data=$(found /usr/share/qemu) || exit
image=$(echo "$root"/boot/vmlinuz-*)
version=${image##*/vmlinuz-}
modules=$(echo "$root"/usr/lib/modules "$root"/lib/modules | tr ' ' '\n' | while read -r d; do [ ! -d "$d/$version" ] || echo "$d/$version"; done | head -n 1)
[ -n "$modules" ] || fail "the kernel $version has no modules"

initramfs() {
	g=$tmp/guest
	mkdir -p "$g/bin" "$g/lib/modules/$version"
	$CC -O2 -static -o "$g/bin/guest" "$here/kernel/guest.c" || fail "tests/kernel/guest.c cannot be linked statically"
	cp "$busybox" "$g/bin/busybox" && cp "$here/kernel/init" "$g/init" && cp "$here/kernel/work" "$g/work" &&
		cp "$here/kernel/restart" "$g/restart" && cp "$tmp/mounts" "$g/mounts" && cp "$tmp/control.port" "$g/control" || exit
	cp "$here/kernel/inside" "$g/inside" && cp "$BUILD/9pmux" "$g/bin/9pmux" || exit
	ldd "$BUILD/9pmux" | grep -o '/[^ ]*' | while read -r library; do
		mkdir -p "$g${library%/*}" && cp -L "$library" "$g$library" || exit
	done
	chmod 755 "$g/init"
	for d in drivers/net/ethernet/intel/e1000 net/9p fs/9p fs/netfs fs/fscache net/vmw_vsock; do
		[ ! -d "$modules/kernel/$d" ] || (cd "$modules" && find "kernel/$d" -type f) || exit
	done | while read -r file; do
		mkdir -p "$g/lib/modules/$version/${file%/*}" && cp "$modules/$file" "$g/lib/modules/$version/$file" || exit
	done
	find "$g/lib" -name '*.xz' -exec xz -d {} +
	"$busybox" depmod -b "$g" "$version" || fail "busybox depmod"
	(cd "$g" && find . | "$busybox" cpio -o -H newc 2>/dev/null) >"$tmp/initramfs" || fail "busybox cpio"
}

# --- the servers, and 9pmux

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

# port_of PID: the port of 127.0.0.1 on which that process listens
port_of() {
	find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null | tr -dc '0-9\n' >"$tmp/inodes"
	hex=$(awk 'FNR == NR { mine[$1]; next } $4 == "0A" && $10 in mine { sub(/.*:/, "", $2); print $2; exit }' \
		"$tmp/inodes" /proc/net/tcp)
	[ -n "$hex" ] && printf '%d\n' "0x$hex"
}

# started NAME: the program that has just been started listens on $port
started() {
	programs="$! $programs"
	await "$1" port_of $!
	port=$(port_of $!)
}

# mux NAME OPTIONS... SERVER: starts 9pmux; sets port
mux() {
	log=$tmp/$1.mux.log
	shift
	"$BUILD/9pmux" serve -v "$@" "tcp!127.0.0.1!0" 2>"$log" &
	started 9pmux
	muxes="$muxes $!"
}

# mount NAME WORK OPTIONS: a line for the guest. The tree of the name is made here if the work is to read only.
mount() {
	mkdir -p "$tmp/served/$1"
	[ "$2" != read ] && [ "$2" != alone ] || sh "$here/kernel/work" create "$tmp/served/$1" . >"$tmp/work.log" || fail "kernel/work create"
	echo "$1 $2 $port $3" >>"$tmp/mounts"
}

# tree NAME: the directory of the host in which that mount works
muxes=
: >"$tmp/mounts"
mkdir "$tmp/served"

serve_diod() {
	diod -c /dev/null -f -n -l 127.0.0.1:0 -e "$tmp/served" -L "$tmp/diod.log" >"$tmp/diod.log" 2>&1 &
	started diod
	server=$port
	for cache in none loose; do
		options=version=9p2000.L,msize=131096,access=any,uname=$USER,cache=$cache
		port=$server
		mount L-$cache.directly all "$options,aname=$tmp/served/L-$cache.directly"
		mux L-$cache "tcp!127.0.0.1!$server"
		mount L-$cache.9pmux all "$options,aname=$tmp/served/L-$cache.9pmux"
	done
}

serve_ninep() {
	for way in directly 9pmux; do
		mkdir -p "$tmp/served/plain.$way"
		"$BUILD/serve9p" "$tmp/ninep.$way" "$tmp/served/plain.$way" >"$tmp/ninep.$way.log" 2>&1 &
		programs="$! $programs"
		await ninep test -S "$tmp/ninep.$way"
	done
	socat -b 65536 TCP-LISTEN:0,bind=127.0.0.1,fork "UNIX-CONNECT:$tmp/ninep.directly" 2>"$tmp/socat.log" &
	started socat
	mount plain.directly read "version=9p2000,msize=65536,access=any,uname=$USER"
	mux plain --attach-once "unix!$tmp/ninep.9pmux"
	mount plain.9pmux read "version=9p2000,msize=65536,access=any,uname=$USER"
}

serve_py9p() {
	for way in directly 9pmux; do
		mkdir -p "$tmp/served/u.$way"
		"$BUILD/peers/bin/python" -m py9p -D -w -a 127.0.0.1 -p 0 -r "$tmp/served/u.$way" >"$tmp/py9p.$way.log" 2>&1 &
		started py9p
		[ $way = directly ] || mux u "tcp!127.0.0.1!$port"
		mount u.$way alone "version=9p2000.u,msize=65536,access=any,uname=$USER"
	done
}

# A server that the guest can have killed and started again, by a program that reads a line of it.
serve_restart() {
	diod -c /dev/null -f -n -l 127.0.0.1:0 -e "$tmp/served" -L "$tmp/restart.log" >"$tmp/restart.log" 2>&1 &
	echo $! >"$tmp/restart.pid"
	await diod port_of $!
	server=$(port_of $!)
	mux restart --reconnect=inf --dialect 9P2000.L "tcp!127.0.0.1!$server"
	mount restart restart "version=9p2000.L,msize=131096,access=any,uname=$USER,cache=none,aname=$tmp/served/restart"
	cat >"$tmp/control" <<-END
		#!/bin/sh
		losses() { grep -c 'the server has closed the connection: trying again' "$tmp/restart.mux.log"; }
		read -r command
		case \$command in
		stop)
			before=\$(losses)
			kill -9 "\$(cat "$tmp/restart.pid")"
			until [ "\$(losses)" -gt "\$before" ]; do sleep 0.1; done
			;;
		start)
			diod -c /dev/null -f -n -l 127.0.0.1:$server -e "$tmp/served" -L "$tmp/restart.log" >>"$tmp/restart.log" 2>&1 </dev/null &
			echo \$! >"$tmp/restart.pid"
			;;
		replace)
			echo "another file" >"$tmp/served/restart/new" && mv "$tmp/served/restart/new" "$tmp/served/restart/tree/2/7"
			;;
		esac && echo done
	END
	socat TCP-LISTEN:0,bind=127.0.0.1,fork EXEC:"sh $tmp/control" 2>"$tmp/control.log" &
	started socat
	echo "$port" >"$tmp/control.port"
}

serve_inside() {
	diod -c /dev/null -f -n -l 127.0.0.1:0 -e "$tmp/served" -L "$tmp/inside.log" >"$tmp/inside.log" 2>&1 &
	started diod
	mount inside inside "msize=131096,access=any,uname=$USER,aname=$tmp/served/inside"
}

serve_diod
serve_ninep
if [ -x "$BUILD/peers/bin/python" ]; then
	serve_py9p
else
	echo "kernel: left out: 9P2000.u, because make check-9pmux-peers has not installed py9p"
fi
serve_restart
serve_inside
initramfs

# --- the virtual machine

: >"$tmp/said"
LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu \
	timeout --foreground -k 5 1200 "$qemu" -L "$data" -L "$firmware" -machine pc -accel tcg -m 512 -display none -nodefaults -no-reboot \
	-kernel "$image" -initrd "$tmp/initramfs" -append "console=ttyS0 quiet panic=-1 no_timer_check" \
	-netdev user,id=n -device e1000,netdev=n,romfile= \
	-serial "file:$tmp/console" -serial "file:$tmp/said" -monitor none </dev/null >"$tmp/qemu.log" 2>&1 ||
	{ tail -n 20 "$tmp/qemu.log" "$tmp/console" "$tmp/said" >&2; fail "the virtual machine has ended with status $?"; }
tr -d '\r' <"$tmp/said" >"$tmp/results"
[ "$(tail -n 1 "$tmp/results")" = end ] || { tail -n 20 "$tmp/console" "$tmp/results" >&2; fail "the virtual machine has not come to its end"; }

# --- the comparison

# disk TREE: what is on the disk
disk() { (cd "$tmp/served/$1" && find . -printf '%M %n %l %p ' \( -type d -printf '\n' -o -printf '%s\n' \) | sort); }

sed -n 's/^\([^ ]*\)\.directly .*/\1/p' "$tmp/mounts" >"$tmp/names"
while read -r name; do
	for way in directly 9pmux; do
		sed -n "s/^$name\.$way: //p" "$tmp/results" >"$tmp/$way"
		disk "$name.$way" >"$tmp/$way.disk"
	done
	diff "$tmp/directly" "$tmp/9pmux" >&2 || fail "$name: the work has other results through 9pmux"
	diff "$tmp/directly.disk" "$tmp/9pmux.disk" >&2 || fail "$name: the disk differs"
	diff -r --no-dereference "$tmp/served/$name.directly" "$tmp/served/$name.9pmux" >&2 || fail "$name: the contents differ"
	errors=$(sed -n 's/^\([a-z]*\): [1-9][0-9]*$/\1/p' "$tmp/directly" | tr '\n' ' ')
	# with the cache, files that are renamed with their directory are missing even without 9pmux
	case $name in
	L-none) [ -z "$errors" ] || { grep -B 3 -E "^[a-z]+: [1-9]" "$tmp/directly" >&2; fail "$name: errors without 9pmux: $errors"; } ;;
	esac
	echo "   $name: $(wc -l <"$tmp/directly") lines and $(wc -l <"$tmp/directly.disk") files are the same${errors:+; errors both times: $errors}"
done <"$tmp/names"
# Each part of the restarts has succeeded.
sed -n 's/^restart: //p' "$tmp/results" | sed 's/^\(u*mount\) /\1: /' >"$tmp/restart"
parts=$(grep -c ': 0$' "$tmp/restart")
if grep -v ': 0$' "$tmp/restart" >&2 || [ "$parts" -ne 24 ]; then
	cat "$tmp/restart.mux.log" >&2
	fail "restart: $parts of 24 parts have succeeded"
fi
backs=$(grep -c 'back after' "$tmp/restart.mux.log")
[ "$backs" -eq 3 ] || { cat "$tmp/restart.mux.log" >&2; fail "restart: 9pmux was back $backs times"; }
echo "   restart: $parts parts have succeeded while diod was killed three times"
sed -n 's/^inside: //p' "$tmp/results" >"$tmp/inside"
if grep -v ': 0$' "$tmp/inside" >&2 || [ "$(wc -l <"$tmp/inside")" -ne 4 ]; then
	fail "inside: not all parts have succeeded"
fi
echo "   inside: 9pmux has served over vsock, and its control tree as a mount"
cp "$tmp/results" "$BUILD/kernel/results"
