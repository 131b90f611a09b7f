/*
 * foreign.c: a plain pthread in a program of coroutines. It has no proc, so it can sleep neither in qlock
 * (plan9port's crashes there) nor in anything else (a coroutine would have to wake it, and must not block). Its
 * calls fail with EPERM, and the coroutines are not affected.
 */
#define _GNU_SOURCE 1
#include "lib/coro.h"
#include "lib/tap.h"
#include "lib/toy.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { NCALL = 200 };

static Toy toy;
static int done[2];
static int stop, ncalls, bad, over;

static void *
foreign(void *v)
{
	static Toymsg m;
	Muxrpc *rpc;
	int r;

	(void)v;
	tap_ok(_threadproc() == NULL, "a pthread that is no proc");
	r = toy_call(&toy, TOY_ECHO, 7);
	tap_ok(r == 0 && errno == EPERM, "muxrpc: NULL, %s", strerror(errno));
	errno = 0;
	rpc = muxrpcstart(&toy.mux, &m);
	tap_ok(rpc == NULL && errno == EPERM, "muxrpcstart: NULL, %s", strerror(errno));
	if (write(done[1], "", 1) != 1)
		_exit(1);
	return NULL;
}

static void
caller(void *v)
{
	unsigned i;

	for (i = 0; !stop && i < 1000000; i++) {
		if (toy_call(&toy, TOY_ECHO, (unsigned)(size_t)v + i) != 1)
			bad = 1;
		ncalls++;
	}
	over++;
}

static int
run(void *v)
{
	pthread_t t;
	char c;
	int i;

	(void)v;
	toy_init(&toy, 0, 256, coro_readn, coro_writen);
	coro_start(0, toy_serve, &toy);
	for (i = 0; i < 3; i++)
		coro_start(0, caller, (void *)(size_t)(i * 1000));
	while (ncalls < NCALL)
		coro_yield();
	if (pipe(done) != 0 || pthread_create(&t, NULL, foreign, NULL) != 0)
		return 1;
	coro_readn(done[0], &c, 1);
	pthread_join(t, NULL);
	i = ncalls;
	while (ncalls < i + NCALL)
		coro_yield();
	stop = 1;
	while (over < 3)
		coro_yield();
	tap_ok(!bad, "the coroutines' calls continue meanwhile");
	toy_call(&toy, TOY_CLOSE, 0);
	while (!toy_served(&toy))
		coro_yield();
	toy_close(&toy);
	return tap_end();
}

int
main(void)
{
	tap_start("foreign", 20);
	return coro_run(1, run, NULL);
}
