/*
 * nomem.c: no memory. Each allocation of the library fails once, at every place where it makes one; that call
 * returns NULL with ENOMEM, no other call is affected, and the next call works. Delivering a reply needs no memory
 * at all. Also, nbrecv may return 0 without setting *reply.
 *
 * This program replaces malloc, on glibc; where that is impossible (valgrind), nothing can fail.
 */
#define _GNU_SOURCE 1
#include "lib/tap.h"
#include "lib/task.h"

#include <errno.h>
#include <mux.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

/* the allocation that fails: 0 the next one, less than 0 none; and the number of allocations */
static __thread long failat = -1, made;

static int
fails(void)
{
	made++;
	return failat >= 0 && failat-- == 0;
}

void *
malloc(size_t n)
{
	if (fails()) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_malloc(n);
}

void *
calloc(size_t n, size_t m)
{
	if (fails()) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_calloc(n, m);
}

void *
realloc(void *p, size_t n)
{
	if (fails()) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(p, n);
}

/* a wire in memory, for messages that are their own tags */
enum { NMSG = 400 };
static unsigned *wire[NMSG];
static int head, tail;

static int
put(Mux *m, void *v)
{
	(void)m;
	wire[tail++ % NMSG] = v;
	return 0;
}

static void *
take(Mux *m)
{
	(void)m;
	return head < tail ? wire[head++ % NMSG] : NULL;
}

static int
look(Mux *m, void **v)
{
	(void)m;
	if (head == tail)
		return 0;	/* *v stays unchanged */
	*v = wire[head++ % NMSG];
	return 1;
}

static int
gettag(Mux *m, void *v)
{
	(void)m;
	return (int)*(unsigned *)v;
}

static int
settag(Mux *m, void *v, unsigned tag)
{
	(void)m;
	*(unsigned *)v = tag;
	return 0;
}

static void
fresh(Mux *m, unsigned mintag)
{
	memset(m, 0, sizeof *m);
	m->mintag = mintag;
	m->maxtag = mintag + NMSG;
	m->send = put;
	m->recv = take;
	m->nbrecv = look;
	m->gettag = gettag;
	m->settag = settag;
	muxinit(m);
	head = tail = 0;
}

/* 200 calls at once, then all collected; returns how many failed, all with ENOMEM, or -1 for any other result */
static int
rounds(Mux *m)
{
	static unsigned msg[NMSG];
	Muxrpc *rpc[NMSG];
	int i, failed;
	void *p;

	for (i = failed = 0; i < 200; i++) {
		errno = 0;
		rpc[i] = muxrpcstart(m, &msg[i]);
		if (rpc[i] == NULL && errno != ENOMEM)
			return -1;
		failed += rpc[i] == NULL;
	}
	for (i = 0; i < 200; i++)
		if (rpc[i] != NULL && (muxrpccanfinish(rpc[i], &p) != 1 || p != &msg[i]))
			return -1;
	errno = 0;
	if (muxrpc(m, &msg[0]) != &msg[0]) {
		if (errno != ENOMEM)
			return -1;
		failed++;
	}
	return failed;
}

/* the K-th allocation fails, for every K */
static void
sweep(unsigned mintag)
{
	static Mux m[1000];
	long k, n;
	int failed, bad;

	fresh(&m[0], mintag);
	made = 0;
	rounds(&m[0]);
	n = made;
	bad = 0;
	for (k = failed = 0; k < n && k < 999; k++) {
		fresh(&m[k + 1], mintag);
		failat = k;
		switch (rounds(&m[k + 1])) {
		case 0:
			break;
		case 1:
			failed++;
			break;
		default:
			bad++;
		}
		failat = -1;
		if (rounds(&m[k + 1]) != 0)
			bad++;
	}
	if (made == 0) {
		tap_note("malloc is not this program's: nothing can fail");
		return;
	}
	tap_ok(bad == 0, "mintag %u: %ld allocations, each failed once: ENOMEM, and everything else works", mintag, n);
	tap_ok(failed >= 200, "mintag %u: %d calls failed for lack of memory", mintag, failed);
}

static void
steady(void)
{
	static Mux m;
	static unsigned msg;
	void *p = NULL;
	Muxrpc *rpc;
	int i;

	fresh(&m, 0);
	for (i = 0; i < 300; i++)
		muxrpc(&m, &msg);
	made = 0;
	for (i = 0; i < 1000; i++)
		muxrpc(&m, &msg);
	tap_ok(made == 0, "1000 blocking calls in the steady state allocate no memory (%ld)", made);
	rpc = muxrpcstart(&m, &msg);
	made = 0;
	tap_ok(rpc != NULL && muxrpccanfinish(rpc, &p) == 1 && p == &msg && made == 0, "delivering a reply allocates none");
}

static void
untouched(void)
{
	static Mux m;
	static unsigned msg;
	void *p;
	Muxrpc *rpc;

	fresh(&m, 0);
	rpc = muxrpcstart(&m, &msg);
	head = tail;
	p = &msg;
	tap_ok(rpc != NULL && muxrpccanfinish(rpc, &p) == 0 && p == NULL, "nbrecv returns 0 without setting *reply: no message");
	head--;
	tap_ok(rpc != NULL && muxrpccanfinish(rpc, &p) == 1 && p == &msg, "then it returns the reply");
}

static int
vector(Mux *m, void **v, int n)
{
	(void)n;
	return put(m, v[0]) < 0 ? -1 : 1;
}

static void
forget(Mux *m, void *v)
{
	(void)m;
	(void)v;
}

/* additional functions that allocate memory */
static void
additions(void)
{
	static Mux m;
	static unsigned msg;
	long n;
	int ok;

	fresh(&m, 0);
	failat = 0;
	errno = 0;
	made = 0;
	muxsetorphan(&m, forget);
	n = made;
	failat = -1;
	if (n == 0)
		return;
	tap_ok(errno == ENOMEM, "muxsetorphan: ENOMEM");
	failat = 0;
	errno = 0;
	muxsetbatch(&m, vector, NULL);
	failat = -1;
	tap_ok(errno == ENOMEM, "muxsetbatch: ENOMEM");
	/* not where the test runtime allocates the memory for a timer: it ends the program without memory */
	ok = strcmp(task_kind(), "coro") == 0;
	for (n = 0; n < 10 && !ok; n++) {
		failat = n;
		errno = 0;
		ok = muxrpctimeout(&m, &msg, 60000) == &msg;
		failat = -1;
		if (!ok && errno != ENOMEM)
			break;
	}
	tap_ok(ok, "muxrpctimeout: ENOMEM, as long as there is no memory");
	muxsetbatch(&m, vector, NULL);
	tap_ok(muxrpc(&m, &msg) == &msg, "calls work afterwards");
	failat = 0;
	errno = 0;
	muxfree(&m);
	failat = -1;
	tap_ok(errno == 0, "muxfree allocates no memory");
}

int
task_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	tap_start("nomem", 60);
	sweep(0);
	sweep(7);
	steady();
	untouched();
	additions();
	return tap_end();
}
