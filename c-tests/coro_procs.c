/*
 * coro_procs.c: muxprocs in a program of coroutines. The two procs are made by the program's proccreate; only they
 * call send and recv; they end with the connection; and if they cannot be created, the Mux works as without them.
 */
#define _GNU_SOURCE 1
#include "lib/coro.h"
#include "lib/tap.h"
#include "lib/toy.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NCALLER = 12, NCALL = 40, BADVALUE = 666 };

static struct {
	Toy toy;
	QLock l;
	Rendez r;
	int left, good, nils;
	unsigned op;
	int ownsend, ownrecv, procsend, procrecv;	/* number of callbacks, by the proc that ran them */
} st;

static void
note(int *own, int *proc)
{
	qlock(&st.l);
	if (coro_procnum() == -1)
		++*proc;
	else
		++*own;
	qunlock(&st.l);
}

static int
sending(Toy *t, Toymsg *m)
{
	(void)t;
	note(&st.ownsend, &st.procsend);
	if (m->value == BADVALUE) {
		errno = ENOSPC;
		return -1;
	}
	return 0;
}

static int
receiving(Toy *t)
{
	(void)t;
	note(&st.ownrecv, &st.procrecv);
	return 0;
}

static void
caller(void *v)
{
	int i, n, good, nils;

	n = st.op == TOY_ECHO ? NCALL : 1;
	good = nils = 0;
	for (i = 0; i < n; i++)
		switch (toy_call(&st.toy, st.op, (unsigned)(size_t)v * 1000 + (unsigned)i)) {
		case 1:
			good++;
			break;
		case 0:
			nils++;
			break;
		}
	qlock(&st.l);
	st.good += good;
	st.nils += nils;
	if (--st.left == 0)
		rwakeup(&st.r);
	qunlock(&st.l);
}

static void
startcallers(unsigned op)
{
	int i;

	st.op = op;
	st.good = st.nils = 0;
	st.left = NCALLER;
	for (i = 0; i < NCALLER; i++)
		coro_start(i % 2, caller, (void *)(size_t)(i + 1));
}

static void
await(void)
{
	qlock(&st.l);
	while (st.left > 0)
		rsleep(&st.r);
	qunlock(&st.l);
}

static void
zero(void)
{
	qlock(&st.l);
	st.ownsend = st.ownrecv = st.procsend = st.procrecv = 0;
	qunlock(&st.l);
}

static int
sends(void)
{
	int n;

	qlock(&st.l);
	n = st.procsend;
	qunlock(&st.l);
	return n;
}

static void
calls(const char *what)
{
	zero();
	startcallers(TOY_ECHO);
	await();
	tap_ok(st.good == NCALLER * NCALL, "%s: %d calls, %d good", what, NCALLER * NCALL, st.good);
}

static void
awaitprocs(void)
{
	while (coro_nproccreated() > 0)
		coro_yield();
}

static void
test_procs(const char *what)
{
	muxprocs(&st.toy.mux);
	tap_ok(coro_nproccreated() == 2, "%s: two procs from proccreate", what);
	calls(what);
	/* the first message arrives in a recv that was called before the counting began */
	tap_ok(st.ownsend == 0 && st.ownrecv == 0 && st.procsend >= NCALLER * NCALL && st.procrecv >= NCALLER * NCALL - 1,
		"%s: only the procs send and receive (%d and %d times, callers %d and %d)", what,
		st.procsend, st.procrecv, st.ownsend, st.ownrecv);
	tap_ok(toy_call(&st.toy, TOY_ECHO, BADVALUE) == 0, "%s: a failed send fails its call", what);
	tap_ok(toy_call(&st.toy, TOY_ECHO, 1) == 1 && coro_nproccreated() == 2, "%s: a failed send fails no other call", what);
}

/* all callers wait for replies that never arrive, then the server closes */
static void
test_end(const char *what)
{
	zero();
	startcallers(TOY_NEVER);
	while (sends() < NCALLER)
		coro_yield();
	shutdown(st.toy.server, SHUT_RDWR);
	await();
	tap_ok(st.nils == NCALLER, "%s: the end of the connection ends all %d calls", what, NCALLER);
	awaitprocs();
	tap_ok(1, "%s: the end of the connection ends both procs", what);
}

static void
reconnect(void)
{
	while (!toy_served(&st.toy))
		coro_yield();
	toy_close(&st.toy);
	toy_connect(&st.toy);
	coro_start(1, toy_serve, &st.toy);
}

static void
test_failure(int n, const char *what)
{
	coro_failproccreate(n);
	muxprocs(&st.toy.mux);
	coro_failproccreate(0);
	tap_ok(1, "%s: muxprocs returns", what);
	calls(what);
	shutdown(st.toy.server, SHUT_RDWR);
	awaitprocs();
	toy_call(&st.toy, TOY_ECHO, 0);
	reconnect();
}

/* libthread ends the program when its own procs have ended, so the timer's proc must never count as one of them */
static void
test_clock(void)
{
	Toymsg m, *r;
	int n;

	n = coro_nproccreated();
	m.op = TOY_ECHO;
	m.value = 1;
	r = muxrpctimeout(&st.toy.mux, &m, 60000);
	tap_ok(r != NULL && r->value == 2, "clock: a call with a deadline");
	free(r);
	tap_ok(coro_nproccreated() == n + 1 && coro_nsysproc() == 1, "clock: afterwards there is one more proc, and libthread's own");
}

static int
run(void *v)
{
	(void)v;
	st.r.l = &st.l;
	toy_init(&st.toy, 0, 256, coro_readn, coro_writen);
	st.toy.sending = sending;
	st.toy.receiving = receiving;
	coro_start(1, toy_serve, &st.toy);
	test_procs("procs");
	test_end("procs");
	reconnect();
	calls("after them");
	tap_ok(st.procsend == 0 && st.procrecv == 0 && st.ownsend == NCALLER * NCALL, "after them: callers send and receive again");
	test_procs("procs again");
	test_end("procs again");
	reconnect();
	test_clock();
	test_failure(2, "no procs available");
	test_failure(1, "only one proc available");
	calls("without procs again");
	shutdown(st.toy.server, SHUT_RDWR);
	toy_call(&st.toy, TOY_ECHO, 0);
	while (!toy_served(&st.toy))
		coro_yield();
	toy_close(&st.toy);
	return tap_end();
}

int
main(void)
{
	tap_start("coro_procs", 60);
	return coro_run(2, run, NULL);
}
