/*
 * cancel.c: pthread_cancel. The library has no cancellation point of its own: a thread with a pending cancellation
 * returns from every function with the same result as otherwise, wherever it waited, and is cancelled later, at a
 * point of the program. So each call here is made with the cancellation pending from the beginning, or requested
 * while the caller sleeps, and with callbacks that have no cancellation point either.
 *
 * A cancellation in a callback that has a cancellation point, such as read(2), would leave the callback, which is
 * not allowed: a program that cancels threads must disable cancellation during a call (mux(3)). The last case shows
 * that this is enough.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <mux.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "lib/tap.h"

enum { NMSG = 64, NCALL = 300, NTHREAD = 4 };

/* a wire in memory; a caller that waits for a message yields, which is no cancellation point */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned *wire[NMSG];
static unsigned head, tail;
static int closed;	/* recv returns NULL */
static int mute;	/* requests get no reply yet */
static int held;	/* send does not return */
static int insend, inrecv;

static int
see(int *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void
set(int *p, int v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

static int
put(Mux *m, void *v)
{
	(void)m;
	set(&insend, 1);
	while (see(&held))
		sched_yield();
	pthread_mutex_lock(&lock);
	wire[tail++ % NMSG] = v;
	pthread_mutex_unlock(&lock);
	set(&insend, 0);
	return 0;
}

/* requests are their own replies */
static int
look(Mux *m, void **v)
{
	int there;

	(void)m;
	*v = NULL;
	pthread_mutex_lock(&lock);
	there = head != tail && !see(&mute);
	if (there)
		*v = wire[head++ % NMSG];
	pthread_mutex_unlock(&lock);
	return there || see(&closed);
}

static void *
take(Mux *m)
{
	void *v;

	set(&inrecv, 1);
	while (look(m, &v) == 0)
		sched_yield();
	set(&inrecv, 0);
	return v;
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

static Mux mux;

static void
fresh(unsigned ntag)
{
	memset(&mux, 0, sizeof mux);
	mux.maxtag = ntag;
	mux.send = put;
	mux.recv = take;
	mux.nbrecv = look;
	mux.gettag = gettag;
	mux.settag = settag;
	muxinit(&mux);
	head = tail = 0;
	closed = mute = held = 0;
}

/* what a thread does with its cancellation pending; it returns nonzero if the result is right */
static int (*what)(void);
static int result, over, pending, tid;

static void *
victim(void *v)
{
	(void)v;
	set(&tid, (int)syscall(SYS_gettid));
	if (pending)
		pthread_cancel(pthread_self());
	set(&result, what());
	set(&over, 1);
	for (;;)
		pthread_testcancel();
	return NULL;
}

static pthread_t
begin(int (*fn)(void), int now)
{
	pthread_t t;

	what = fn;
	result = over = tid = 0;
	pending = now;
	if (pthread_create(&t, NULL, victim, NULL) != 0)
		abort();
	return t;
}

static void
end(pthread_t t, const char *name)
{
	void *v;

	pthread_join(t, &v);
	tap_ok(v == PTHREAD_CANCELED && see(&over) && see(&result), "%s%s", name,
	    see(&over) ? see(&result) ? "" : ": another result" : ": cancelled inside");
}

static void
whole(const char *name, int (*fn)(void))
{
	end(begin(fn, 1), name);
}

/* waits until the thread sleeps in the kernel, or its call is over; a thread that only yields does not sleep */
static void
asleep(void)
{
	char name[64], state;
	FILE *f;
	int n, times;

	while (see(&tid) == 0)
		sched_yield();
	snprintf(name, sizeof name, "/proc/self/task/%d/stat", see(&tid));
	for (times = 0; times < 3 && !see(&over);) {
		f = fopen(name, "r");
		if (f == NULL)
			return;
		state = 0;
		n = fscanf(f, "%*d %*s %c", &state);
		fclose(f);
		if (n == 1 && state == 'S')
			times++;
		sched_yield();
	}
}

static int
call(void)
{
	unsigned msg;

	return muxrpc(&mux, &msg) == &msg;
}

static int
ended(void)
{
	unsigned msg;

	errno = 0;
	return muxrpc(&mux, &msg) == NULL && errno == ECONNRESET;
}

static int
late(void)
{
	/* it is its own reply, which arrives after the call has ended */
	static unsigned msg;

	errno = 0;
	return muxrpctimeout(&mux, &msg, 30) == NULL && errno == ETIMEDOUT;
}

static int
intime(void)
{
	unsigned msg;

	return muxrpctimeout(&mux, &msg, 600000) == &msg;
}

static void *
caller(void *v)
{
	(void)v;
	call();
	return NULL;
}

static pthread_t
another(void *(*fn)(void *))
{
	pthread_t t;

	if (pthread_create(&t, NULL, fn, NULL) != 0)
		abort();
	return t;
}

/* another caller receives; the cancelled one sleeps until its reply */
static void
reply(const char *name, int (*fn)(void), int now)
{
	pthread_t r, t;

	fresh(10);
	set(&mute, 1);
	r = another(caller);
	while (!see(&inrecv))
		sched_yield();
	t = begin(fn, now);
	asleep();
	if (!now)
		pthread_cancel(t);
	sched_yield();
	if (fn == ended)
		set(&closed, 1);
	else if (fn != late)
		set(&mute, 0);
	end(t, name);
	set(&mute, 0);
	pthread_join(r, NULL);
	set(&closed, 1);
	muxfree(&mux);
}

/* all tags are in use, or the turn to send is taken */
static void
turn(const char *name, unsigned ntag, int now)
{
	pthread_t r, t;

	fresh(ntag);
	set(&mute, 1);
	set(&held, ntag > 1);
	r = another(caller);
	while (!see(ntag > 1 ? &insend : &inrecv))
		sched_yield();
	t = begin(call, now);
	asleep();
	if (!now)
		pthread_cancel(t);
	set(&held, 0);
	set(&mute, 0);
	end(t, name);
	pthread_join(r, NULL);
	set(&closed, 1);
	muxfree(&mux);
}

/* the caller that finds the descriptor out of date writes to it or reads from it */
static int
watched(void)
{
	unsigned msg[3];
	Muxrpc *x[3];
	int i, ok, fd;
	void *v;

	fd = muxpollfd(&mux);
	ok = fd >= 0;
	for (i = 0; i < 3; i++)
		x[i] = muxrpcstart(&mux, &msg[i]);
	ok = ok && call();
	for (i = 0; i < 3; i++)
		ok = ok && x[i] != NULL && muxrpccanfinish(x[i], &v) == 1 && v == &msg[i];
	return ok;
}

static void
nothing(Mux *m, void *v)
{
	(void)m;
	(void)v;
}

static int
others(void)
{
	unsigned msg;
	Muxstats s;
	Muxrpc *x;

	errno = 0;
	s.size = sizeof s;
	muxsetorphan(&mux, nothing);
	muxsetbatch(&mux, NULL, NULL);
	muxpollfd(&mux);
	muxstats(&mux, &s);
	x = muxrpcstart(&mux, &msg);
	muxrpccancel(x);
	call();
	muxhangup(&mux);
	return errno == 0 && x != NULL;
}

/* waits for the caller that is inside, and closes a descriptor */
static int
ends(void)
{
	errno = 0;
	muxfree(&mux);
	return errno == 0;
}

static int
procs(void)
{
	int i, ok;

	errno = 0;
	muxprocs(&mux);
	ok = errno == 0;
	for (i = 0; i < 20; i++)
		ok = ok && call();
	return ok;
}

static int
often(void)
{
	int i, ok;

	for (i = 0, ok = 1; i < NCALL; i++)
		ok = ok && call() && intime();
	return ok;
}

static void *
oftenv(void *v)
{
	int *ok;

	ok = v;
	pthread_cancel(pthread_self());
	*ok = often();
	for (;;)
		pthread_testcancel();
	return NULL;
}

/* the threads also contend for the locks */
static void
crowd(void)
{
	pthread_t t[NTHREAD];
	int ok[NTHREAD], i, good;
	void *v;

	fresh(3);
	muxpollfd(&mux);
	for (i = good = 0; i < NTHREAD; i++) {
		ok[i] = 0;
		if (pthread_create(&t[i], NULL, oftenv, &ok[i]) != 0)
			abort();
	}
	for (i = 0; i < NTHREAD; i++) {
		pthread_join(t[i], &v);
		good += v == PTHREAD_CANCELED && ok[i];
	}
	tap_ok(good == NTHREAD, "%d of %d threads make all of their calls with a pending cancellation", good, NTHREAD);
	muxfree(&mux);
}

static struct Muxqueue *queue;
static int item;

static int
queued(void)
{
	return _muxqrecv(queue) == &item;
}

/* a program that cancels threads and whose callbacks have cancellation points */
static void *
readtake(Mux *m)
{
	pthread_testcancel();
	return take(m);
}

static int
disabled(void)
{
	int before, ok;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	ok = call() && call();
	pthread_setcancelstate(before, NULL);
	return ok;
}

int
main(void)
{
	pthread_t t, r;
	int now;

	tap_start("cancel", 60);
	for (now = 0; now < 2; now++) {
		const char *when = now ? "pending" : "requested while it sleeps";
		char name[100];

#define SAY(s) (snprintf(name, sizeof name, "%s, %s", s, when), name)
		reply(SAY("muxrpc asleep until its reply"), call, now);
		reply(SAY("muxrpc at the end of the connection"), ended, now);
		reply(SAY("muxrpctimeout that gets its reply"), intime, now);
		reply(SAY("muxrpctimeout that times out"), late, now);
		turn(SAY("asleep until a tag is free"), 1, now);
		turn(SAY("asleep until its turn to send"), 10, now);
		queue = _muxqalloc();
		t = begin(queued, now);
		asleep();
		if (!now)
			pthread_cancel(t);
		_muxqsend(queue, &item);
		end(t, SAY("asleep in _muxqrecv"));
		free(queue);

		fresh(10);
		set(&mute, 1);
		r = another(caller);
		while (!see(&inrecv))
			sched_yield();
		muxpollfd(&mux);
		t = begin(ends, now);
		asleep();
		if (!now)
			pthread_cancel(t);
		set(&closed, 1);
		end(t, SAY("muxfree that waits for a caller, and closes a descriptor"));
		pthread_join(r, NULL);
	}
	fresh(10);
	whole("muxrpc as the receiver", call);
	whole("calls in a row", often);
	set(&mute, 1);
	whole("muxrpctimeout as the polling receiver", late);
	set(&mute, 0);
	whole("non-blocking calls, and the descriptor of muxpollfd", watched);
	whole("muxprocs, and calls under procs", procs);
	whole("the descriptor of muxpollfd under procs", watched);
	set(&closed, 1);
	muxfree(&mux);
	fresh(10);
	whole("functions that do not wait, and muxhangup", others);
	set(&closed, 1);
	whole("muxfree", ends);
	crowd();
	fresh(10);
	mux.recv = readtake;
	whole("with cancellation disabled the callbacks may have cancellation points", disabled);
	return tap_end();
}
