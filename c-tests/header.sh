#!/bin/sh
# header.sh: the header compiles in every context: alone, twice, in every C and C++ that the compilers support, after
# libthread's macros, in plan9port's sources with their own types and their linker mark, in the manual page's form.
#
# INC, BUILD, CC and CXX from the environment.

: "${INC:=../include}" "${CC:=cc}" "${CXX:=c++}"
cd "$(dirname "$0")" || exit 1
LC_ALL=C
export LC_ALL

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0
bad=0

# macros that the header may define besides those of <pthread.h>: its guard, and three names for the page's form
macros='_MUX_H_'
macros_man3='_MUX_H_ muxinit muxrpccanfinish muxthreads'

# result STATUS WHAT: its explanation in $tmp/log
result() {
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		bad=1
		echo "not ok $n - $2"
		head -12 "$tmp/log" | sed 's/^/# /'
	fi
}

# compiles WHAT FILE COMPILER FLAGS...: checks that it compiles without a warning
compiles() {
	what=$1 file=$2
	shift 2
	"$@" -Wall -Wextra -Werror -I"$INC" -I"$tmp" -c "$tmp/$file" -o "$tmp/${file%.*}.o" >"$tmp/log" 2>&1
	result $? "$what"
}

# is WHAT GOT WANTED
is() {
	printf 'got:\n%s\nwanted:\n%s\n' "$2" "$3" >"$tmp/log"
	[ "$2" = "$3" ]
	result $? "$1"
}

symbols() {
	nm "$tmp/$1.o" | awk '{ print $(NF - 1), $NF }' | sort
}

# --- the sources ---

cat >"$tmp/alone.c" <<'!'
#include "mux.h"
#include "mux.h"
typedef unsigned int uint;	/* the header leaves the name to the program */
Mux alone;
Muxrpc *pointer;
Muxqueue *queue;
!

# a program that fills a Mux and calls all five functions; its macros, if any, are on both sides
cat >"$tmp/use.h" <<'!'
static int usend(Mux *m, void *p) { (void)m; (void)p; return 0; }
static void *urecv(Mux *m) { (void)m; return 0; }
static int ugettag(Mux *m, void *p) { (void)m; (void)p; return 0; }
static int usettag(Mux *m, void *p, unsigned int tag) { (void)m; (void)p; (void)tag; return 0; }
#ifdef MUX_MAN3
static void *unbrecv(Mux *m) { (void)m; return 0; }
#else
static int unbrecv(Mux *m, void **p) { (void)m; *p = 0; return 0; }
#endif
int use(Mux *mux, void *msg);
int use(Mux *mux, void *msg)
{
	Muxrpc *r;
	void *p;

	mux->mintag = 0;
	mux->maxtag = 256;
	mux->send = usend;
	mux->recv = urecv;
	mux->nbrecv = unbrecv;
	mux->gettag = ugettag;
	mux->settag = usettag;
	mux->aux = msg;
	muxinit(mux);
	muxprocs(mux);
	p = muxrpc(mux, msg);
	r = muxrpcstart(mux, msg);
	if (r == 0 || r->mux != mux || r->tag > 256 || r->p == p)
		return 0;
#ifdef MUX_MAN3
	muxthreads(mux);
	p = muxrpccanfinish(r);
	return p != 0;
#else
	return muxrpccanfinish(r, &p);
#endif
}
!

cat >"$tmp/use.c" <<'!'
#include "mux.h"
#include "use.h"
!

# the names that plan9port's headers redefine (thread.h the channel operations, libc.h names that clash with Unix)
cat >"$tmp/renames.h" <<'!'
#define send chansend
#define recv chanrecv
#define nbsend channbsend
#define nbrecv channbrecv
#define alt chanalt
#define yield threadyield
#define wait p9wait
#define sleep p9sleep
#define lock p9lock
#define pipe p9pipe
#define dup p9dup
!

cat >"$tmp/renamed.c" <<'!'
#include <pthread.h>
#include <stddef.h>
#include "renames.h"
#include "mux.h"
#include "use.h"
/* the field has the program's name for it, in the same place */
typedef char after_tags[offsetof(Mux, chansend) == 2 * sizeof(int) ? 1 : -1];
extern after_tags *unused;
!

cat >"$tmp/renamedfirst.c" <<'!'
#include "renames.h"
#include "mux.h"
#include "use.h"
!

# plan9port's own types, some with the names of its Mux's parts
cat >"$tmp/u.h" <<'!'
#include <pthread.h>
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
#define AUTOLIB(x) int __p9l_autolib_ ## x __attribute__ ((weak));
#define nil ((void*)0)
!
cat >"$tmp/libc.h" <<'!'
AUTOLIB(9)
typedef struct Lock { int init; pthread_mutex_t mutex; int held; } Lock;
typedef struct _Threadlist { struct _Thread *head, *tail; } _Threadlist;
typedef struct QLock { Lock l; struct _Thread *owner; _Threadlist waiting; } QLock;
typedef struct Rendez { QLock *l; _Threadlist waiting; } Rendez;
#ifdef __cplusplus
extern "C" {
#endif
void qlock(QLock*);
void qunlock(QLock*);
void rsleep(Rendez*);
int rwakeup(Rendez*);
void werrstr(char*, ...);
int proccreate(void (*)(void*), void*, unsigned int);
#ifdef __cplusplus
}
#endif
!
cat >"$tmp/plan9.c" <<'!'
#include <u.h>
#include <libc.h>
#include "renames.h"
#include <mux.h>
#include "use.h"
/* libdraw's way: the Mux in a structure of its own, and a reply peeked at */
typedef struct Display { QLock qlock; Mux *mux; Mux inside; uint n; } Display;
int peek(Display *d, Muxrpc *r);
int peek(Display *d, Muxrpc *r) { return d->mux == &d->inside && r->p != nil; }
!
cat >"$tmp/oldautolib.c" <<'!'
#define AUTOLIB(x) static int __p9l_autolib_ ## x __attribute__ ((unused));
#include "mux.h"
!

for f in alone use renamed renamedfirst plan9; do
	cp "$tmp/$f.c" "$tmp/$f.cc"
done

# --- C and C++ ---

ccs=$CC cxxs=$CXX
command -v clang >/dev/null 2>&1 && [ "$CC" != clang ] && ccs="$ccs clang"
command -v clang++ >/dev/null 2>&1 && [ "$CXX" != clang++ ] && cxxs="$cxxs clang++"

for cc in $ccs; do
	for std in c89 c99 c11 c17 gnu17; do
		for f in alone use renamed renamedfirst plan9; do
			compiles "$cc -std=$std: $f" $f.c $cc -std=$std -pedantic-errors
		done
		compiles "$cc -std=$std: use, the page's form" use.c $cc -std=$std -pedantic-errors -DMUX_MAN3
		compiles "$cc -std=$std: renamed, the page's form" renamed.c $cc -std=$std -pedantic-errors -DMUX_MAN3
	done
done
for cxx in $cxxs; do
	for std in c++98 c++11 c++14 c++17 c++20; do
		for f in alone use renamed renamedfirst plan9; do
			compiles "$cxx -std=$std: $f" $f.cc $cxx -std=$std -pedantic-errors
		done
		compiles "$cxx -std=$std: use, the page's form" use.cc $cxx -std=$std -pedantic-errors -DMUX_MAN3
	done
done

# --- the symbols that a source refers to ---

for lang in c cc; do
	cc=$CC
	[ $lang = cc ] && cc=$CXX
	compiles "$lang: use" use.$lang $cc
	is "$lang: the usual form asks for the five" "$(symbols use | grep mux)" 'U muxinit
U muxprocs
U muxrpc
U muxrpccanfinish
U muxrpcstart'
	compiles "$lang: use, the page's form" use.$lang $cc -DMUX_MAN3
	is "$lang: the page's form asks for its two" "$(symbols use | grep mux)" 'U _mux3init
U _mux3rpccanfinish
U muxprocs
U muxrpc
U muxrpcstart'
	compiles "$lang: without AUTOLIB" alone.$lang $cc
	is "$lang: without AUTOLIB no mark" "$(symbols alone | grep __p9l)" ''
	compiles "$lang: with AUTOLIB" plan9.$lang $cc
	is "$lang: with AUTOLIB a weak mark" "$(symbols plan9 | grep __p9l_autolib_mux)" 'V __p9l_autolib_mux'
done
compiles 'an older AUTOLIB, a static variable' oldautolib.c "$CC"

# --- the macros that it defines ---

defines() {
	"$CC" -I"$INC" -dM -E "$@" -x c - 2>"$tmp/log" | awk '{ sub(/\(.*/, "", $2); print $2 }' | sort -u
}

defines - >"$tmp/before" <<'!'
#include <pthread.h>
!
for form in '' -DMUX_MAN3; do
	defines $form >"$tmp/after" <<'!'
#include "mux.h"
!
	wanted=$macros
	[ -n "$form" ] && wanted=$macros_man3
	is "the macros it brings${form:+ with $form}: $wanted" \
		"$(comm -13 "$tmp/before" "$tmp/after" | grep -vx MUX_MAN3 | tr '\n' ' ' | sed 's/ $//')" "$wanted"
done

# --- where a long is 32 bits ---

if echo '#include <pthread.h>' | "$CC" -m32 -fsyntax-only -x c - 2>/dev/null; then
	"$CC" -m32 -fsyntax-only -Wall -Wextra -Werror -I"$INC" layout.c >"$tmp/log" 2>&1
	result $? 'the layout by the formula with -m32'
else
	echo '# headers for -m32 are missing: the layout by the formula is checked for this machine only'
fi

echo "1..$n"
exit $bad
