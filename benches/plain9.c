/*
 * The functions of libthread and lib9 that plan9port's libmux needs, implemented on threads of the system. That
 * library can then be measured as a peer on the same threads as ours, without the cost of libthread, which
 * libthread.c measures. The locks are those of libthread: first come, first served, and handed over instead of
 * released. This file is in an archive, so that it is linked only with a library that needs it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <linux/futex.h>
#include <sys/syscall.h>

typedef struct Sleeper Sleeper;
typedef struct Queue Queue;
typedef struct QLock QLock;
typedef struct Rendez Rendez;

struct Sleeper {
	atomic_int awake;
	Sleeper *next;
};

struct Queue {
	Sleeper *first, *last;
};

/* the layouts that the library has inside its Mux; initially zero */
struct QLock {
	int unused;
	pthread_mutex_t lock;
	int unused2;
	Sleeper *owner;
	Queue waiting;
};

struct Rendez {
	QLock *l;
	Queue sleeping;
};

char *argv0 = "bench";

static _Thread_local Sleeper me;

static void
put(Queue *q, Sleeper *s)
{
	s->next = NULL;
	if (q->first)
		q->last->next = s;
	else
		q->first = s;
	q->last = s;
}

static Sleeper *
get(Queue *q)
{
	Sleeper *s = q->first;

	if (s)
		q->first = s->next;
	return s;
}

static void
nod(void)
{
	while (!atomic_load(&me.awake))
		syscall(SYS_futex, &me.awake, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static void
wake(Sleeper *s)
{
	atomic_store(&s->awake, 1);
	syscall(SYS_futex, &s->awake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void
qlock(QLock *l)
{
	int mine;

	pthread_mutex_lock(&l->lock);
	mine = l->owner == NULL;
	if (mine) {
		l->owner = &me;
	} else {
		atomic_store(&me.awake, 0);
		put(&l->waiting, &me);
	}
	pthread_mutex_unlock(&l->lock);
	if (!mine)
		nod();
}

void
qunlock(QLock *l)
{
	Sleeper *next;

	pthread_mutex_lock(&l->lock);
	next = l->owner = get(&l->waiting);
	pthread_mutex_unlock(&l->lock);
	if (next)
		wake(next);
}

void
rsleep(Rendez *r)
{
	atomic_store(&me.awake, 0);
	put(&r->sleeping, &me);
	qunlock(r->l);
	nod();
	qlock(r->l);
}

int
rwakeup(Rendez *r)
{
	Sleeper *s = get(&r->sleeping);

	if (s == NULL)
		return 0;
	wake(s);
	return 1;
}

int
rwakeupall(Rendez *r)
{
	int n = 0;

	while (rwakeup(r))
		n++;
	return n;
}

/* declared in bench.h, defined in pthreads.c */
void newthread(void (*)(void *), void *);

int
proccreate(void (*f)(void *), void *arg, unsigned stack)
{
	(void)stack;
	newthread(f, arg);
	return 1;
}

void *p9malloc(unsigned long n) { return malloc(n); }
void *mallocz(unsigned long n, int clear) { return clear ? calloc(1, n) : malloc(n); }
void *p9realloc(void *p, unsigned long n) { return realloc(p, n); }
void p9free(void *p) { free(p); }
void werrstr(const char *form, ...) { (void)form; }
int fprint(int fd, const char *form, ...) { (void)fd; (void)form; return 0; }
