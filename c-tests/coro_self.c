/*
 * coro_self.c: the test of the coroutine runtime, without libmux, so that a fault in the runtime is not taken for
 * one of the library. Arguments: rounds, and the number of locks on stacks.
 */
#define _GNU_SOURCE 1
#include "lib/coro.h"
#include "lib/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NPROC = 4, NCORO = 24, BIG = 1 << 20 };

/* counts down; the last one wakes the waiter */
typedef struct Group Group;
struct Group { QLock l; Rendez r; int left; };

static int rounds = 2000, lives = 3000;

static void
group(Group *g, int n)
{
	memset(g, 0, sizeof *g);
	g->r.l = &g->l;
	g->left = n;
}

static void
leave(Group *g)
{
	qlock(&g->l);
	if (--g->left == 0)
		rwakeup(&g->r);
	qunlock(&g->l);
}

static void
await(Group *g)
{
	qlock(&g->l);
	while (g->left > 0)
		rsleep(&g->r);
	qunlock(&g->l);
}

/* --- a qlock provides mutual exclusion, also across switches --- */

static struct { Group g; QLock l; int inside, worst, n; } excl;

static void
exclude(void *v)
{
	int i;

	(void)v;
	for (i = 0; i < rounds / 10; i++) {
		qlock(&excl.l);
		if (++excl.inside > excl.worst)
			excl.worst = excl.inside;
		coro_yield();
		excl.n++;
		excl.inside--;
		qunlock(&excl.l);
		if (i % 3 == 0)
			coro_yield();
	}
	leave(&excl.g);
}

static void
test_exclusion(void)
{
	int i;

	group(&excl.g, NCORO);
	for (i = 0; i < NCORO; i++)
		coro_start(i % NPROC, exclude, NULL);
	await(&excl.g);
	tap_ok(excl.worst == 1, "qlock: one inside at a time");
	tap_ok(excl.n == NCORO * (rounds / 10), "qlock: every coroutine had its turns (%d)", excl.n);
}

/* --- and is handed over in the order of the requests --- */

static struct { Group g; QLock l; int order[NCORO], n; } fifo;

static void
queue(void *v)
{
	qlock(&fifo.l);
	fifo.order[fifo.n++] = (int)(size_t)v;
	qunlock(&fifo.l);
	leave(&fifo.g);
}

static int
lastwaiter(QLock *l, Coro *c)
{
	int last;

	pthread_mutex_lock(&l->l.mutex);
	last = l->waiting.tail == c;
	pthread_mutex_unlock(&l->l.mutex);
	return last;
}

static void
test_fifo(void)
{
	Coro *c;
	int i, ok;

	group(&fifo.g, NCORO);
	qlock(&fifo.l);
	for (i = 0; i < NCORO; i++) {
		c = coro_start(i % NPROC, queue, (void *)(size_t)i);
		while (!lastwaiter(&fifo.l, c))
			coro_yield();
	}
	qunlock(&fifo.l);
	await(&fifo.g);
	for (ok = 1, i = 0; i < NCORO; i++)
		ok = ok && fifo.order[i] == i;
	tap_ok(ok, "qlock: first come, first served, across procs");
}

/* --- rsleep and rwakeup: how many wake, and in which order (in one proc, because procs race for the lock) --- */

static struct { Group g; QLock l; Rendez r; int asleep, order[NCORO], n; } rend;

static void
sleeper(void *v)
{
	qlock(&rend.l);
	rend.asleep++;
	rsleep(&rend.r);
	rend.order[rend.n++] = (int)(size_t)v;
	qunlock(&rend.l);
	leave(&rend.g);
}

static void
putasleep(int first, int n)
{
	int i, asleep;

	for (i = first; i < first + n; i++) {
		coro_start(1, sleeper, (void *)(size_t)i);
		do {
			coro_yield();
			qlock(&rend.l);
			asleep = rend.asleep;
			qunlock(&rend.l);
		} while (asleep <= i);
	}
}

static void
test_rendez(void)
{
	int i, n, ok;

	rend.r.l = &rend.l;
	group(&rend.g, 1);
	qlock(&rend.l);
	tap_ok(rwakeup(&rend.r) == 0, "rwakeup: no sleeper, none is woken");
	qunlock(&rend.l);
	putasleep(0, 1);
	qlock(&rend.l);
	n = rwakeup(&rend.r);
	tap_ok(n == 1 && rend.n == 0, "rwakeup: wakes one, which waits for the lock");
	qunlock(&rend.l);
	await(&rend.g);
	group(&rend.g, NCORO - 1);
	putasleep(1, NCORO - 1);
	qlock(&rend.l);
	n = rwakeup(&rend.r);
	tap_ok(n == 1, "rwakeup: wakes one of many");
	n = rwakeupall(&rend.r);
	tap_ok(n == NCORO - 2, "rwakeupall: wakes the rest (%d)", n);
	qunlock(&rend.l);
	await(&rend.g);
	for (ok = 1, i = 0; i < NCORO; i++)
		ok = ok && rend.order[i] == i;
	tap_ok(ok, "rwakeup: in the order of falling asleep");
}

/* --- thousands of switches between two procs --- */

static struct { Group g; QLock l; Rendez r[2]; int turn; } pp;

static void
pingpong(void *v)
{
	int me, i;

	me = (int)(size_t)v;
	for (i = 0; i < rounds; i++) {
		qlock(&pp.l);
		while (pp.turn != me)
			rsleep(&pp.r[me]);
		pp.turn = !me;
		rwakeup(&pp.r[!me]);
		qunlock(&pp.l);
	}
	leave(&pp.g);
}

static void
test_pingpong(void)
{
	int procs;

	pp.r[0].l = pp.r[1].l = &pp.l;
	for (procs = 1; procs <= 2; procs++) {
		group(&pp.g, 2);
		coro_start(1, pingpong, (void *)0);
		coro_start(procs, pingpong, (void *)1);
		await(&pp.g);
		tap_ok(1, "%d alternating turns in %d procs", rounds, procs);
	}
}

/* --- a lock and a Rendez on the waiter's stack, invalid as soon as the waiter runs --- */

typedef struct Parker Parker;
struct Parker { QLock l; Rendez r; int set; };

static struct { Group g; pthread_mutex_t m; Parker *slot[NCORO]; int stop; } van;

/* a frame of its own, overwritten by the next one */
static __attribute__((noinline)) void
waitonce(int me)
{
	Parker p;

	memset(&p, 0, sizeof p);
	p.r.l = &p.l;
	pthread_mutex_lock(&van.m);
	van.slot[me] = &p;
	pthread_mutex_unlock(&van.m);
	qlock(&p.l);
	while (!p.set)
		rsleep(&p.r);
	qunlock(&p.l);
	memset(&p, 0xaa, sizeof p);
	__asm__ volatile("" : : "r"(&p) : "memory");
}

static __attribute__((noinline)) void
scribble(void)
{
	char junk[2048];

	memset(junk, 0x55, sizeof junk);
	__asm__ volatile("" : : "r"(junk) : "memory");
}

static void
vanisher(void *v)
{
	int i;

	for (i = 0; i < lives; i++) {
		waitonce((int)(size_t)v);
		scribble();
	}
	leave(&van.g);
}

static void
waker(void *v)
{
	Parker *p;
	int i, stop;

	for (stop = 0, i = (int)(size_t)v; !stop; i = (i + 1) % NPROC) {
		pthread_mutex_lock(&van.m);
		p = van.slot[i];
		van.slot[i] = NULL;
		stop = van.stop;
		pthread_mutex_unlock(&van.m);
		if (p != NULL) {
			qlock(&p->l);
			p->set = 1;
			rwakeup(&p->r);
			qunlock(&p->l);
		} else
			coro_yield();
	}
}

static void
test_vanishing(void)
{
	int i;

	pthread_mutex_init(&van.m, NULL);
	group(&van.g, NPROC);
	for (i = 0; i < NPROC; i++)
		coro_start(i, vanisher, (void *)(size_t)i);
	coro_start(1, waker, (void *)0);
	coro_start(3, waker, (void *)2);
	await(&van.g);
	pthread_mutex_lock(&van.m);
	van.stop = 1;
	pthread_mutex_unlock(&van.m);
	tap_ok(1, "%d locks and Rendezes on stacks were made and freed", NPROC * lives);
}

/* --- proccreate --- */

static struct { Group g; void *proc; pthread_t thread; int num; } born;

static void
inproc(void *v)
{
	(void)v;
	born.proc = _threadproc();
	born.thread = pthread_self();
	born.num = coro_procnum();
	leave(&born.g);
}

static void
test_proccreate(void)
{
	int i, id;

	for (i = 0; i < 20; i++) {
		group(&born.g, 1);
		id = proccreate(inproc, NULL, 32768);
		await(&born.g);
		if (id <= 0 || born.proc == NULL || born.proc == _threadproc() || born.num != -1
		    || pthread_equal(born.thread, pthread_self()))
			break;
	}
	tap_ok(i == 20, "proccreate: a proc and a pthread of its own");
	coro_failproccreate(1);
	tap_ok(proccreate(inproc, NULL, 0) == -1, "proccreate: fails on request");
}

/* --- errno and the error text --- */

static struct { Group g; int bad; } err;

static void
errnos(void *v)
{
	int i;

	for (i = 0; i < rounds / 10; i++) {
		errno = 1000 + (int)(size_t)v;
		coro_yield();
		if (errno != 1000 + (int)(size_t)v)
			err.bad = 1;
	}
	leave(&err.g);
}

static void
test_errors(void)
{
	char buf[200];
	int i;

	group(&err.g, NPROC * 3);
	for (i = 0; i < NPROC * 3; i++)
		coro_start(i % NPROC, errnos, (void *)(size_t)i);
	await(&err.g);
	tap_ok(!err.bad, "errno is the coroutine's own");
	errno = ENOENT;
	werrstr("open %s %d: %r", "x", -7);
	tap_ok(errno == CORO_ERRMARK, "werrstr leaves its mark in errno");
	coro_errstr(buf, sizeof buf);
	tap_ok(strcmp(buf, "open x -7: No such file or directory") == 0, "werrstr: %%r is errno's text: %s", buf);
	werrstr("again: %r");
	coro_errstr(buf, sizeof buf);
	tap_ok(strcmp(buf, "again: open x -7: No such file or directory") == 0, "werrstr: or the last text: %s", buf);
}

/* --- I/O stops only the coroutine --- */

static struct { Group g; int fd[2]; char *in, *out; long nread, nwritten; int count; } io;

static void
reader(void *v)
{
	(void)v;
	io.nread = coro_readn(io.fd[0], io.in, BIG);
	leave(&io.g);
}

static void
writer(void *v)
{
	(void)v;
	io.nwritten = coro_writen(io.fd[1], io.out, BIG);
	leave(&io.g);
}

static void
counter(void *v)
{
	int i;

	(void)v;
	for (i = 0; i < 100; i++) {
		__atomic_store_n(&io.count, i, __ATOMIC_RELAXED);
		coro_yield();
	}
	__atomic_store_n(&io.count, i, __ATOMIC_RELAXED);
	leave(&io.g);
}

static void
transfer(const char *what, int otherproc)
{
	memset(io.in, 0, BIG);
	io.nread = io.nwritten = 0;
	group(&io.g, 1);
	coro_start(1, counter, NULL);
	await(&io.g);
	group(&io.g, 1);
	coro_start(1, reader, NULL);
	coro_yield();
	tap_ok(!coro_ready_fd(io.fd[0]) && io.nread == 0, "%s: the reader waits", what);
	io.g.left++;
	coro_start(1, counter, NULL);
	while (__atomic_load_n(&io.count, __ATOMIC_RELAXED) < 100)
		coro_yield();
	tap_ok(io.nread == 0, "%s: its proc continues", what);
	qlock(&io.g.l);
	io.g.left++;
	qunlock(&io.g.l);
	coro_start(otherproc ? 2 : 1, writer, NULL);
	await(&io.g);
	tap_ok(io.nread == BIG && io.nwritten == BIG && memcmp(io.in, io.out, BIG) == 0,
		"%s: a megabyte within %s", what, otherproc ? "two procs" : "one proc");
	close(io.fd[1]);
	tap_ok(coro_readn(io.fd[0], io.in, 10) == 0, "%s: the end of the file", what);
	close(io.fd[0]);
}

static void
test_io(void)
{
	int i;

	io.in = malloc(BIG);
	io.out = malloc(BIG);
	for (i = 0; i < BIG; i++)
		io.out[i] = (char)(i * 7 + i / 251);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, io.fd) == 0)
		transfer("socket", 0);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, io.fd) == 0)
		transfer("socket", 1);
	if (pipe(io.fd) == 0)
		transfer("pipe", 0);
	free(io.in);
	free(io.out);
}

/* --- misuse ends the program with a message --- */

static int
refuse(void *v)
{
	static QLock l;

	(void)v;
	qlock(&l);
	qlock(&l);
	return 0;
}

static int
inchild(int which, char *said, size_t n)
{
	int fd[2], status;
	ssize_t r;
	pid_t pid;

	if (pipe(fd) != 0 || (pid = fork()) < 0)
		return -1;
	if (pid == 0) {
		dup2(fd[1], 1);
		if (which == 0)
			coro_run(1, refuse, NULL);
		else
			refuse(NULL);
		_exit(0);
	}
	close(fd[1]);
	r = read(fd[0], said, n - 1);
	said[r > 0 ? r : 0] = '\0';
	close(fd[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
test_refusals(void)
{
	char said[200];
	int status;

	status = inchild(1, said, sizeof said);
	tap_ok(status == 1 && strstr(said, "qlock without a proc") != NULL, "qlock in a pthread that is no proc ends the program");
	status = inchild(0, said, sizeof said);
	tap_ok(status == 1 && strstr(said, "caller holds") != NULL, "a second qlock by the same coroutine ends the program");
}

static int
run(void *v)
{
	(void)v;
	tap_ok(_threadproc() != NULL && _rsleep != NULL, "the runtime is initialized");
	tap_ok(coro_procnum() == 0 && coro_nproc() == NPROC, "main is in the first proc");
	test_exclusion();
	test_fifo();
	test_rendez();
	test_pingpong();
	test_vanishing();
	test_proccreate();
	test_errors();
	test_io();
	return tap_end();
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		rounds = atoi(argv[1]);
	if (argc > 2)
		lives = atoi(argv[2]);
	tap_start("coro_self", 60);
	tap_ok(_threadproc() == NULL && _rsleep == NULL, "before the runtime is initialized there are no procs");
	test_refusals();
	return coro_run(NPROC, run, NULL);
}
