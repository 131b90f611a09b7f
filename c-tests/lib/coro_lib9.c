/*
 * coro_lib9.c: lib9's locks and sleeping, on the coroutines of coro.c. The order of the statements here follows
 * from one rule: a lock or a Rendez may be on a waiter's stack and become invalid as soon as the waiter runs, so it
 * is not accessed after the waiter has been made ready.
 */
#define _GNU_SOURCE 1
#include "coro.h"

#include <stddef.h>

void (*_rsleep)(Rendez *, unsigned long);

static pthread_mutex_t initlock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long nrsleep;

static void
lk(Lock *l)
{
	pthread_mutex_lock(&initlock);
	if (!l->init) {
		pthread_mutex_init(&l->mutex, NULL);
		l->init = 1;
	}
	pthread_mutex_unlock(&initlock);
	pthread_mutex_lock(&l->mutex);
}

static void
unlk(Lock *l)
{
	pthread_mutex_unlock(&l->mutex);
}

static Coro *
caller(const char *noproc)
{
	Coro *c;

	c = coro_self();
	if (c == NULL)
		coro_die(noproc);
	return c;
}

void
qlock(QLock *l)
{
	Coro *c;

	c = caller("qlock without a proc");
	lk(&l->l);
	if (l->owner == NULL) {
		l->owner = c;
		unlk(&l->l);
		return;
	}
	if (l->owner == c)
		coro_die("qlock of a lock that the caller holds");
	coro_push(&l->waiting, c);
	unlk(&l->l);
	coro_park();
	if (l->owner != c)
		coro_die("runtime: qlock woke without the lock");
}

void
qunlock(QLock *l)
{
	Coro *next;

	lk(&l->l);
	if (l->owner == NULL)
		coro_die("qunlock of a lock that is not held");
	next = coro_pop(&l->waiting);
	l->owner = next;
	unlk(&l->l);
	if (next != NULL)
		coro_ready(next);
}

static void
sleepon(Rendez *r, unsigned long pc)
{
	Coro *c;

	(void)pc;
	c = caller("rsleep without a proc");
	if (r->l == NULL || r->l->owner != c)
		coro_die("rsleep without the lock");
	pthread_mutex_lock(&initlock);
	nrsleep++;
	pthread_mutex_unlock(&initlock);
	coro_push(&r->waiting, c);
	qunlock(r->l);
	coro_park();
	qlock(r->l);
}

void
rsleep(Rendez *r)
{
	if (_rsleep != NULL)
		_rsleep(r, 0);
}

static int
wakeup(Rendez *r, int max)
{
	Coro *c, *self;
	int n;

	self = caller("rwakeup without a proc");
	/* a Rendez that was never slept on may have no lock yet */
	if (r->l == NULL && r->waiting.head == NULL)
		return 0;
	if (r->l == NULL || r->l->owner != self)
		coro_die("rwakeup without the lock");
	for (n = 0; n < max && (c = coro_pop(&r->waiting)) != NULL; n++)
		coro_ready(c);
	return n;
}

int
rwakeup(Rendez *r)
{
	return wakeup(r, 1);
}

int
rwakeupall(Rendez *r)
{
	return wakeup(r, 0x7fffffff);
}

void
coro_lib9_start(void)
{
	_rsleep = sleepon;
}

unsigned long
coro_rsleeps(void)
{
	unsigned long n;

	pthread_mutex_lock(&initlock);
	n = nrsleep;
	pthread_mutex_unlock(&initlock);
	return n;
}
