#!/bin/sh
# manual.sh - mux(3) and 9pmux(1) are well formed; the programs in mux(3), and examples/first-call.c, compile without a warning, print what they
# should, and still do so if each system call is interrupted or transfers only a part of what it could.
#
# manual.sh builddir: the directory that contains libmux.a.
set -eu

here=$(dirname "$0")
build=$1
out=$build/manual
mkdir -p "$out"

for page in man/mux.3 9pmux/man/9pmux.1; do
	warnings=$(mandoc -Tlint -Wwarning "$here/../$page" 2>/dev/null) || true
	[ -z "$warnings" ] || { echo "$warnings" >&2; exit 1; }
done

# a program that hangs is killed, and has failed
if timeout 1 true 2>/dev/null; then
	within() { timeout -k 5 60 "$@"; }
else
	within() { "$@"; }
fi

# every third call is interrupted; the others transfer one byte, or five of several messages
cat >"$out/partial.h" <<'!'
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
static inline int interrupted(void)
{
	static _Atomic int n;
	errno = EINTR;
	return n++ % 3 == 0;
}
static inline ssize_t partial_send(int s, const void *b, size_t n, int f)
{
	return interrupted() ? -1 : send(s, b, n > 1 ? 1 : n, f);
}
static inline ssize_t partial_recv(int s, void *b, size_t n, int f)
{
	if(f & MSG_WAITALL)	/* the server's */
		return recv(s, b, n, f);
	return interrupted() ? -1 : recv(s, b, n > 1 ? 1 : n, f);
}
static inline ssize_t partial_sendmsg(int s, struct msghdr *h, int f)
{
	h->msg_iovlen = 1;
	if(h->msg_iov[0].iov_len > 5)
		h->msg_iov[0].iov_len = 5;
	return interrupted() ? -1 : sendmsg(s, h, f);
}
#define send(s, b, n, f) partial_send(s, b, n, f)
#define recv(s, b, n, f) partial_recv(s, b, n, f)
#define sendmsg(s, h, f) partial_sendmsg(s, h, f)
!

# run NAME [OPTION...]: the sorted output, since the order in which threads print varies
run() {
	name=$1
	shift
	case $name in
	first-call) cp "$here/../examples/$name.c" "$out/$name.c" ;;
	*) sh "$here/../man/example.sh" "$name.c" >"$out/$name.c" ;;
	esac
	${CC:-cc} -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -I"$here/../include" "$@" -o "$out/$name" \
		"$out/$name.c" "$build/libmux.a" -pthread -ldl -lm
	{ within "$out/$name" || echo "status $?"; } | sort -n
}

# expect NAME OUTPUT
expect() {
	got=$(run "$1")
	[ "$got" = "$2" ] || { printf 'manual: %s printed:\n%s\n' "$1" "$got" >&2; exit 1; }
	got=$(run "$1" -include "$out/partial.h")
	[ "$got" = "$2" ] || { printf 'manual: %s with partial reads and writes printed:\n%s\n' "$1" "$got" >&2; exit 1; }
}

[ "$(sh "$here/../man/example.sh" | tr '\n' ' ')" = "double.c loop.c late.c batch.c " ] || { echo "manual: unknown examples" >&2; exit 1; }
expect double "1 doubled is 2
20 doubled is 40
300 doubled is 600
4000 doubled is 8000"
expect loop "1 doubled is 2
2 doubled is 4
3 doubled is 6"
expect late "1 has no reply yet
20 doubled is 40"
expect batch "1 doubled is 2
2 doubled is 4
3 doubled is 6
4 doubled is 8
5 doubled is 10
6 doubled is 12
7 doubled is 14
8 doubled is 16"
expect first-call "four: FOUR
one: ONE
three: THREE
two: TWO"
echo "manual: mux(3) and 9pmux(1) are well formed, and the examples of mux(3) and examples/first-call.c work, also with partial reads and writes"
