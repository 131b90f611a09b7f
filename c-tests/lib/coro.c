/*
 * coro.c: procs and coroutines. A coroutine belongs to one proc for its whole life, so only that proc takes it from
 * the run queue. A coroutine that is about to sleep may be made ready at any moment; it is then on the queue when
 * it has switched away. The proc's scheduler runs on the stack of the pthread.
 */
#define _GNU_SOURCE 1
#include "coro.h"
#include "fiber.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(start, end) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

enum {
	STACK = 256 * 1024,
	POLLEVERY = 16,		/* switches between polls of the descriptors, while coroutines are ready */
	LINGER = 3000,		/* ms in which coroutines must end after main */
	TICK = 50		/* ms between the first proc's checks of that time */
};

typedef struct Proc Proc;

struct Coro {
	Coro *next;
	Proc *proc;
	void (*fn)(void *);
	void *arg;
	int id;
	int over;
	int err;		/* its errno while it does not run */
	int fd;			/* the descriptor that it waits for while on its proc's io list */
	short events;
	ucontext_t ctx;
	char *map;
	size_t maplen;
	unsigned stackid;
	Fiber fiber;
};

struct Proc {
	Proc *next;
	int num;
	pthread_t thread;
	pthread_mutex_t lock;	/* run, ncoro, asleep, quit */
	CoroList run;
	int ncoro;
	int asleep;
	int quit;
	int wake[2];
	/* used by the proc only, without a lock */
	CoroList io;
	Coro *cur;
	ucontext_t sched;
	Fiber fiber;
	unsigned nswitch;
	struct pollfd *pfd;
	size_t npfd;
	/* protected by the runtime's lock */
	int live;		/* its pthread is to be joined */
	int ended;
	int sysproc;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	Proc *all;		/* never freed: a waker may still be in the lock of a proc that has ended */
	Proc **base;
	int nbase;
	int nid;
	int nfail;
	int (*main)(void *);
	void *arg;
	int status;
	struct timespec deadline;
} rt = { .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t prockey;

static void
mkkey(void)
{
	if (pthread_key_create(&prockey, NULL) != 0)
		coro_die("runtime: no key");
}

void
coro_die(const char *why)
{
	char buf[200];
	int n;

	n = snprintf(buf, sizeof buf, "not ok - %s\n", why);
	if (write(1, buf, (size_t)n) < 0)
		_exit(2);
	_exit(1);
}

void *
_threadproc(void)
{
	pthread_once(&once, mkkey);
	return pthread_getspecific(prockey);
}

Coro *
coro_self(void)
{
	Proc *p;

	p = _threadproc();
	return p == NULL ? NULL : p->cur;
}

int
coro_procnum(void)
{
	Proc *p;

	p = _threadproc();
	return p == NULL ? -2 : p->num;
}

int
coro_nproc(void)
{
	return rt.nbase;
}

void
coro_push(CoroList *l, Coro *c)
{
	c->next = NULL;
	if (l->tail != NULL)
		l->tail->next = c;
	else
		l->head = c;
	l->tail = c;
}

Coro *
coro_pop(CoroList *l)
{
	Coro *c;

	c = l->head;
	if (c != NULL) {
		l->head = c->next;
		if (l->head == NULL)
			l->tail = NULL;
		c->next = NULL;
	}
	return c;
}

/* called with p's lock held: after the unlock the proc may have ended */
static void
kick(Proc *p)
{
	int err;

	if (!p->asleep)
		return;
	p->asleep = 0;
	err = errno;
	if (write(p->wake[1], "", 1) != 1)
		coro_die("runtime: cannot wake a proc");
	errno = err;
}

void
coro_ready(Coro *c)
{
	Proc *p;

	p = c->proc;
	pthread_mutex_lock(&p->lock);
	coro_push(&p->run, c);
	kick(p);
	pthread_mutex_unlock(&p->lock);
}

void
coro_park(void)
{
	Proc *p;
	Coro *c;

	p = _threadproc();
	c = p->cur;
	c->err = errno;
	fiber_leave(&c->fiber, &p->fiber, c->over);
	swapcontext(&c->ctx, &p->sched);
	fiber_arrive(&c->fiber, &p->fiber);
	errno = c->err;
}

void
coro_yield(void)
{
	coro_ready(coro_self());
	coro_park();
}

static void
enter(void)
{
	Coro *c;

	c = coro_self();
	fiber_arrive(&c->fiber, &c->proc->fiber);
	errno = 0;
	c->fn(c->arg);
	c->over = 1;
	coro_park();
}

static Coro *
newcoro(Proc *p, void (*fn)(void *), void *arg)
{
	Coro *c;
	size_t page;

	page = (size_t)sysconf(_SC_PAGESIZE);
	c = calloc(1, sizeof *c);
	if (c == NULL)
		coro_die("runtime: no memory for a coroutine");
	c->proc = p;
	c->fn = fn;
	c->arg = arg;
	c->maplen = STACK + page;
	c->map = mmap(NULL, c->maplen, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->map == MAP_FAILED || mprotect(c->map, page, PROT_NONE) != 0)
		coro_die("runtime: no stack for a coroutine");
	c->stackid = VALGRIND_STACK_REGISTER(c->map + page, c->map + c->maplen);
	fiber_new(&c->fiber, c->map + page, STACK);
	getcontext(&c->ctx);
	c->ctx.uc_stack.ss_sp = c->map + page;
	c->ctx.uc_stack.ss_size = STACK;
	c->ctx.uc_link = NULL;
	makecontext(&c->ctx, enter, 0);
	pthread_mutex_lock(&rt.lock);
	c->id = ++rt.nid;
	pthread_mutex_unlock(&rt.lock);
	pthread_mutex_lock(&p->lock);
	p->ncoro++;
	pthread_mutex_unlock(&p->lock);
	return c;
}

/* on the scheduler's stack: a coroutine cannot free its own stack */
static void
bury(Proc *p, Coro *c)
{
	VALGRIND_STACK_DEREGISTER(c->stackid);
	fiber_free(&c->fiber);
	munmap(c->map, c->maplen);
	free(c);
	pthread_mutex_lock(&p->lock);
	p->ncoro--;
	pthread_mutex_unlock(&p->lock);
}

/* returns 0 if the proc need not sleep */
static int
fallasleep(Proc *p)
{
	int asleep;

	pthread_mutex_lock(&p->lock);
	asleep = p->asleep = p->run.head == NULL;
	pthread_mutex_unlock(&p->lock);
	return asleep;
}

static void
awake(Proc *p)
{
	char buf[64];

	pthread_mutex_lock(&p->lock);
	p->asleep = 0;
	pthread_mutex_unlock(&p->lock);
	while (read(p->wake[0], buf, sizeof buf) > 0)
		;
}

/* makes coroutines with ready descriptors ready; ms as in poll, and coro_ready ends the wait */
static void
pollio(Proc *p, int ms)
{
	CoroList old;
	Coro *c;
	size_t n, i;

	n = 1;
	for (c = p->io.head; c != NULL; c = c->next)
		n++;
	if (n > p->npfd) {
		p->pfd = realloc(p->pfd, n * sizeof p->pfd[0]);
		if (p->pfd == NULL)
			coro_die("runtime: no memory for poll");
		p->npfd = n;
	}
	p->pfd[0].fd = p->wake[0];
	p->pfd[0].events = POLLIN;
	for (i = 1, c = p->io.head; c != NULL; c = c->next, i++) {
		p->pfd[i].fd = c->fd;
		p->pfd[i].events = c->events;
	}
	if (ms != 0 && !fallasleep(p))
		ms = 0;
	while (poll(p->pfd, n, ms) < 0)
		if (errno != EINTR)
			coro_die("runtime: poll failed");
	if (ms != 0)
		awake(p);
	old = p->io;
	p->io.head = p->io.tail = NULL;
	for (i = 1; (c = coro_pop(&old)) != NULL; i++)
		if (p->pfd[i].revents != 0)
			coro_ready(c);
		else
			coro_push(&p->io, c);
}

static int
toolate(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec > rt.deadline.tv_sec
		|| (now.tv_sec == rt.deadline.tv_sec && now.tv_nsec >= rt.deadline.tv_nsec);
}

static void
schedule(Proc *p)
{
	Coro *c;
	int empty, quit;

	fiber_pthread(&p->fiber);
	for (;;) {
		pthread_mutex_lock(&p->lock);
		c = coro_pop(&p->run);
		quit = p->quit;
		empty = p->ncoro == 0;
		pthread_mutex_unlock(&p->lock);
		if (c != NULL) {
			p->cur = c;
			fiber_leave(&p->fiber, &c->fiber, 0);
			swapcontext(&p->sched, &c->ctx);
			fiber_arrive(&p->fiber, &c->fiber);
			p->cur = NULL;
			if (c->over)
				bury(p, c);
			if (++p->nswitch % POLLEVERY == 0 && p->io.head != NULL)
				pollio(p, 0);
			continue;
		}
		if (quit && (empty || (p->num == 0 && toolate())))
			return;
		pollio(p, quit && p->num == 0 ? TICK : -1);
	}
}

static void *
procmain(void *v)
{
	Proc *p;

	p = v;
	pthread_once(&once, mkkey);
	pthread_setspecific(prockey, p);
	schedule(p);
	pthread_setspecific(prockey, NULL);
	pthread_mutex_lock(&rt.lock);
	p->ended = 1;
	pthread_cond_broadcast(&rt.ended);
	pthread_mutex_unlock(&rt.lock);
	return NULL;
}

/* an ended proc is reused, with its lock and pipe */
static Proc *
newproc(int num)
{
	Proc *p;

	pthread_mutex_lock(&rt.lock);
	for (p = rt.all; p != NULL; p = p->next)
		if (p->live && p->ended)
			break;
	if (p != NULL)
		p->live = p->ended = 0;
	pthread_mutex_unlock(&rt.lock);
	if (p != NULL) {
		pthread_join(p->thread, NULL);
	} else {
		p = calloc(1, sizeof *p);
		if (p == NULL || pthread_mutex_init(&p->lock, NULL) != 0 || pipe(p->wake) != 0)
			coro_die("runtime: no memory or pipe for a proc");
		fcntl(p->wake[0], F_SETFL, O_NONBLOCK);
		fcntl(p->wake[1], F_SETFL, O_NONBLOCK);
		pthread_mutex_lock(&rt.lock);
		p->next = rt.all;
		rt.all = p;
		pthread_mutex_unlock(&rt.lock);
	}
	p->num = num;
	p->quit = num < 0;
	return p;
}

static void
startproc(Proc *p)
{
	pthread_mutex_lock(&rt.lock);
	if (pthread_create(&p->thread, NULL, procmain, p) != 0)
		coro_die("runtime: no pthread for a proc");
	p->live = 1;
	pthread_mutex_unlock(&rt.lock);
}

void
coro_failproccreate(int n)
{
	pthread_mutex_lock(&rt.lock);
	rt.nfail = n;
	pthread_mutex_unlock(&rt.lock);
}

int
coro_nproccreated(void)
{
	Proc *p;
	int n;

	n = 0;
	pthread_mutex_lock(&rt.lock);
	for (p = rt.all; p != NULL; p = p->next)
		n += p->num < 0 && p->live && !p->ended;
	pthread_mutex_unlock(&rt.lock);
	return n;
}

void
_threadsetsysproc(void)
{
	Proc *p;

	p = pthread_getspecific(prockey);
	if (p == NULL)
		coro_die("_threadsetsysproc without a proc");
	pthread_mutex_lock(&rt.lock);
	p->sysproc = 1;
	pthread_mutex_unlock(&rt.lock);
}

int
coro_nsysproc(void)
{
	Proc *p;
	int n;

	n = 0;
	pthread_mutex_lock(&rt.lock);
	for (p = rt.all; p != NULL; p = p->next)
		n += p->sysproc && p->live && !p->ended;
	pthread_mutex_unlock(&rt.lock);
	return n;
}

int
proccreate(void (*fn)(void *), void *arg, unsigned int stack)
{
	Proc *p;
	Coro *c;
	int id, fail;

	(void)stack;
	pthread_mutex_lock(&rt.lock);
	fail = rt.nfail > 0;
	if (fail)
		rt.nfail--;
	pthread_mutex_unlock(&rt.lock);
	if (fail)
		return -1;
	p = newproc(-1);
	c = newcoro(p, fn, arg);
	id = c->id;
	coro_ready(c);
	startproc(p);
	return id;
}

Coro *
coro_start(int proc, void (*fn)(void *), void *arg)
{
	Coro *c;

	c = newcoro(rt.base[proc], fn, arg);
	coro_ready(c);
	return c;
}

static void
quitall(void)
{
	Proc *p;
	int i;

	clock_gettime(CLOCK_REALTIME, &rt.deadline);
	rt.deadline.tv_sec += LINGER / 1000;
	for (i = 0; i < rt.nbase; i++) {
		p = rt.base[i];
		pthread_mutex_lock(&p->lock);
		p->quit = 1;
		kick(p);
		pthread_mutex_unlock(&p->lock);
	}
}

static void
maincoro(void *v)
{
	(void)v;
	rt.status = rt.main(rt.arg);
	quitall();
}

/* the procs other than the first, including those of proccreate */
static void
joinall(void)
{
	Proc *p;
	int busy;

	pthread_mutex_lock(&rt.lock);
	do {
		busy = 0;
		for (p = rt.all; p != NULL; p = p->next)
			busy += p->live && !p->ended;
	} while (busy > 0 && pthread_cond_timedwait(&rt.ended, &rt.lock, &rt.deadline) == 0);
	for (p = rt.all; p != NULL; p = p->next)
		if (p->live && p->ended) {
			pthread_join(p->thread, NULL);
			p->live = 0;
		}
	pthread_mutex_unlock(&rt.lock);
	if (busy > 0)
		printf("# runtime: %d procs had coroutines left at the end\n", busy);
}

int
coro_run(int nproc, int (*main)(void *), void *arg)
{
	int i;

	signal(SIGPIPE, SIG_IGN);
	rt.main = main;
	rt.arg = arg;
	rt.nbase = nproc;
	rt.base = calloc((size_t)nproc, sizeof rt.base[0]);
	if (rt.base == NULL)
		coro_die("runtime: no memory");
	for (i = 0; i < nproc; i++)
		rt.base[i] = newproc(i);
	coro_lib9_start();
	coro_start(0, maincoro, NULL);
	for (i = 1; i < nproc; i++)
		startproc(rt.base[i]);
	pthread_once(&once, mkkey);
	pthread_setspecific(prockey, rt.base[0]);
	schedule(rt.base[0]);
	pthread_setspecific(prockey, NULL);
	joinall();
	free(rt.base);
	return rt.status;
}

/* always lets other coroutines run first, like the I/O of a libthread program: callbacks switch every time */
static void
waitio(int fd, short events)
{
	struct pollfd x;
	Proc *p;

	p = _threadproc();
	x.fd = fd;
	x.events = events;
	if (p == NULL) {
		while (poll(&x, 1, -1) < 0 && errno == EINTR)
			;
		return;
	}
	coro_yield();
	if (poll(&x, 1, 0) > 0)
		return;
	p->cur->fd = fd;
	p->cur->events = events;
	coro_push(&p->io, p->cur);
	coro_park();
}

static int
again(void)
{
	return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK;
}

long
coro_readn(int fd, void *buf, size_t n)
{
	char *p;
	size_t got;
	ssize_t r;

	p = buf;
	for (got = 0; got < n; got += (size_t)r) {
		waitio(fd, POLLIN);
		r = recv(fd, p + got, n - got, MSG_DONTWAIT);
		if (r < 0 && errno == ENOTSOCK)
			r = read(fd, p + got, n - got);
		if (r == 0)
			break;
		if (r < 0 && !again())
			return -1;
		if (r < 0)
			r = 0;
	}
	return (long)got;
}

long
coro_writen(int fd, const void *buf, size_t n)
{
	const char *p;
	size_t put;
	ssize_t w;

	p = buf;
	for (put = 0; put < n; put += (size_t)w) {
		waitio(fd, POLLOUT);
		w = send(fd, p + put, n - put, MSG_DONTWAIT | MSG_NOSIGNAL);
		/* a pipe that poll reports as writable accepts this much without blocking */
		if (w < 0 && errno == ENOTSOCK)
			w = write(fd, p + put, n - put < _POSIX_PIPE_BUF ? n - put : _POSIX_PIPE_BUF);
		if (w < 0 && !again())
			return -1;
		if (w < 0)
			w = 0;
	}
	return (long)put;
}

int
coro_ready_fd(int fd)
{
	struct pollfd x;

	x.fd = fd;
	x.events = POLLIN;
	return poll(&x, 1, 0) > 0;
}
