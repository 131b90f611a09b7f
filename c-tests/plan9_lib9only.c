/*
 * plan9_lib9only.c: a program with lib9 and without libthread. It has qlock and related functions, but they do
 * nothing there, which lib9 shows by leaving _rsleep NULL. The library uses threads in such a program and never
 * calls those functions; it uses the program's werrstr.
 */
#define _GNU_SOURCE 1
#include "lib/tap.h"
#include "lib/toy.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NCALLER = 8, NCALL = 200, ERRMARK = 0x19283745 };

void qlock(void *);
void qunlock(void *);
void rsleep(void *);
int rwakeup(void *);
int rwakeupall(void *);
void werrstr(char *fmt, ...);
void (*_rsleep)(void *, unsigned long);

static Toy toy;
static int nwerrstr, bad;
static char errtext[300];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void
called(const char *name)
{
	tap_ok(0, "%s was called, although it does nothing in this program", name);
	tap_end();
	_exit(1);
}

void
qlock(void *l)
{
	(void)l;
	called("qlock");
}

void
qunlock(void *l)
{
	(void)l;
	called("qunlock");
}

void
rsleep(void *r)
{
	(void)r;
	called("rsleep");
}

int
rwakeup(void *r)
{
	(void)r;
	called("rwakeup");
	return 0;
}

int
rwakeupall(void *r)
{
	(void)r;
	called("rwakeupall");
	return 0;
}

/* supports only "%s" and plain text, which is all that the library uses */
void
werrstr(char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&lock);
	nwerrstr++;
	va_start(ap, fmt);
	vsnprintf(errtext, sizeof errtext, fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&lock);
	errno = ERRMARK;
}

static void *
serve(void *v)
{
	toy_serve(v);
	return NULL;
}

static void *
caller(void *v)
{
	unsigned i;

	for (i = 0; i < NCALL; i++)
		if (toy_call(&toy, TOY_ECHO, (unsigned)(size_t)v * NCALL + i) != 1)
			__atomic_store_n(&bad, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* the other callers wait for their turns */
static int
slowly(Toy *t, Toymsg *m)
{
	(void)t;
	if (m->value % 50 == 0)
		usleep(1000);
	return 0;
}

int
main(void)
{
	pthread_t s, t[NCALLER];
	int i, r;

	tap_start("plan9_lib9only", 20);
	toy_init(&toy, 0, 4, NULL, NULL);
	toy.sending = slowly;
	pthread_create(&s, NULL, serve, &toy);
	for (i = 0; i < NCALLER; i++)
		pthread_create(&t[i], NULL, caller, (void *)(size_t)i);
	for (i = 0; i < NCALLER; i++)
		pthread_join(t[i], NULL);
	tap_ok(!bad, "%d threads, four tags: each gets its own replies, without qlock", NCALLER);
	tap_ok(nwerrstr == 0, "without an error, werrstr is not called");
	r = toy_call(&toy, TOY_CLOSE, 0);
	tap_ok(r == 0 && errno == ERRMARK && nwerrstr > 0, "the end of the connection: NULL, and werrstr: %s", errtext);
	pthread_join(s, NULL);
	toy_close(&toy);
	return tap_end();
}
