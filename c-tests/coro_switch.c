/*
 * coro_switch.c: callbacks that switch coroutines, as those of lib9pclient do, while the receiver, the waiting
 * callers and the server are all in one proc: a library that sleeps in any way but the program's rsleep stops them
 * all. Then the same across procs. Arguments: callers, calls of each.
 */
#define _GNU_SOURCE 1
#include "lib/coro.h"
#include "lib/tap.h"
#include "lib/toy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct {
	Toy toy;
	QLock l;
	Rendez r;
	int left, bad, insend, inrecv, worst;
	int nbcalls;
} st;

static int ncaller = 24, ncall = 200;

static void
leave(void)
{
	qlock(&st.l);
	if (--st.left == 0)
		rwakeup(&st.r);
	qunlock(&st.l);
}

static void
await(void)
{
	qlock(&st.l);
	while (st.left > 0)
		rsleep(&st.r);
	qunlock(&st.l);
}

/* counts the coroutines inside, and switches while inside */
static void
dwell(int *inside, unsigned n)
{
	qlock(&st.l);
	if (++*inside > st.worst)
		st.worst = *inside;
	qunlock(&st.l);
	while (n-- > 0)
		coro_yield();
	qlock(&st.l);
	--*inside;
	qunlock(&st.l);
}

static int
sending(Toy *t, Toymsg *m)
{
	(void)t;
	dwell(&st.insend, m->value % 4);
	return 0;
}

static int
receiving(Toy *t)
{
	(void)t;
	dwell(&st.inrecv, 1);
	return 0;
}

static void
caller(void *v)
{
	unsigned i;

	for (i = 0; i < (unsigned)ncall; i++)
		if (toy_call(&st.toy, TOY_ECHO, (unsigned)(size_t)v * 100000 + i) != 1)
			st.bad = 1;
	leave();
}

/* one non-blocking call among the others, polled again and again */
static int
nbcall(unsigned value)
{
	Toymsg m, *r;
	Muxrpc *rpc;
	void *p;
	int done;

	m.op = TOY_ECHO;
	m.value = value;
	while ((rpc = muxrpcstart(&st.toy.mux, &m)) == NULL)
		coro_yield();
	memset(&m, 0xaa, sizeof m);
	for (done = 0; !done; coro_yield())
		done = muxrpccanfinish(rpc, &p);
	r = p;
	done = r != NULL && r->value == value + 1;
	free(r);
	return done;
}

static void
nbcaller(void *v)
{
	int i;

	for (i = 0; i < ncall / 10; i++)
		if (!nbcall((unsigned)(size_t)v + (unsigned)i))
			st.bad = 1;
	leave();
}

static void
round_of(const char *what, unsigned maxtag, int firstproc, int nproc, int nonblocking)
{
	int i;

	st.worst = 0;
	toy_init(&st.toy, 0, maxtag, coro_readn, coro_writen);
	st.toy.sending = sending;
	st.toy.receiving = receiving;
	coro_start(firstproc, toy_serve, &st.toy);
	qlock(&st.l);
	st.left = ncaller + nonblocking;
	qunlock(&st.l);
	for (i = 0; i < ncaller; i++)
		coro_start(firstproc + i % nproc, caller, (void *)(size_t)i);
	for (i = 0; i < nonblocking; i++)
		coro_start(firstproc + i % nproc, nbcaller, (void *)(size_t)(i * 7));
	await();
	tap_ok(!st.bad, "%s: every caller gets its own replies", what);
	tap_ok(st.worst == 1, "%s: one caller in send and one in recv at a time", what);
	toy_call(&st.toy, TOY_CLOSE, 0);
	while (!toy_served(&st.toy))
		coro_yield();
	toy_close(&st.toy);
}

static int
run(void *v)
{
	(void)v;
	st.r.l = &st.l;
	round_of("one proc", 256, 0, 1, 0);
	round_of("one proc, two tags", 2, 0, 1, 0);
	round_of("one proc, with non-blocking calls", 256, 0, 1, 4);
	round_of("three procs", 256, 0, 3, 0);
	round_of("three procs, two tags", 2, 0, 3, 0);
	round_of("three procs, with non-blocking calls", 256, 0, 3, 4);
	/* await sleeps once a round */
	tap_ok(coro_rsleeps() > 6, "callers slept in rsleep (%lu times)", coro_rsleeps());
	return tap_end();
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		ncaller = atoi(argv[1]);
	if (argc > 2)
		ncall = atoi(argv[2]);
	tap_start("coro_switch", 60);
	return coro_run(3, run, NULL);
}
