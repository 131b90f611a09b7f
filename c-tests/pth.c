/*
 * pth.c: muxsetsched with an independent scheduler that does not know libmux: GNU Pth. All its
 * threads run in one kernel thread and switch only inside pth_ functions, so that a caller that
 * sleeps in any other way stops all of them, and the test. Callbacks, callers and the procs of
 * muxprocs are threads of Pth; the servers are processes.
 */
#define _GNU_SOURCE 1
#include "lib/tap.h"
#include "lib/toy.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pth.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* valgrind must be told of each stack; pth.supp is for its reports about Pth */
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(start, end) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

enum {
	NTHREAD = 10,
	NCALL = 50,
	BATCH = 8,
	NSTART = 20,
	SHORT = 50,	/* limit of calls that must time out; they get no reply */
	LONG = 600000,	/* limit of calls that must not */
	STACK = 64 * 1024,	/* Pth's own default */
};

static void
die(const char *what)
{
	tap_ok(0, "%s: %s", what, strerror(errno));
	_exit(1);
}

/* --- the table */

/*
 * A task is a flag and a condition. Only pth_cond_await and pth_cond_notify switch here, and the
 * latter does not touch the condition after the switch, so the task can be freed when its thread
 * ends.
 */
typedef struct Sleeper Sleeper;
struct Sleeper {
	pth_mutex_t lock;
	pth_cond_t cond;
	int token;
};

typedef struct Thread Thread;
struct Thread {
	pth_t pth;
	char *stack;
	unsigned id;	/* valgrind's, of the stack */
	void (*body)(void *);
	void *arg;
	Thread *next;
};

static pth_key_t key = PTH_KEY_INIT;
/* how often each function was called, and how often with another task than the caller's */
static unsigned npark, nunpark, nparkfor, nstart, nwrong;
/* number of sleepers now */
static unsigned asleep;
static Thread *started;

static void *
task(void)
{
	Sleeper *s;

	s = pth_key_getdata(key);
	if (s == NULL) {
		s = calloc(1, sizeof *s);
		if (s == NULL || !pth_mutex_init(&s->lock) || !pth_cond_init(&s->cond) || !pth_key_setdata(key, s))
			die("a task");
	}
	return s;
}

static void
sleepfor(Sleeper *s, int ms)
{
	pth_event_t end;

	if (s != pth_key_getdata(key))
		nwrong++;
	asleep++;
	pth_mutex_acquire(&s->lock, FALSE, NULL);
	if (!s->token && ms >= 0) {
		end = pth_event(PTH_EVENT_TIME, pth_timeout(ms / 1000, ms % 1000 * 1000));
		pth_cond_await(&s->cond, &s->lock, end);
		pth_event_free(end, PTH_FREE_THIS);
	} else
		while (!s->token)
			pth_cond_await(&s->cond, &s->lock, NULL);
	s->token = 0;
	pth_mutex_release(&s->lock);
	asleep--;
}

static void
park(void *v)
{
	npark++;
	sleepfor(v, -1);
}

static int
parkfor(void *v, int ms)
{
	nparkfor++;
	sleepfor(v, ms);
	return 0;
}

static void
unpark(void *v)
{
	Sleeper *s;

	nunpark++;
	s = v;
	s->token = 1;
	pth_cond_notify(&s->cond, FALSE);
}

static void *
threadmain(void *v)
{
	Thread *t;

	t = v;
	t->body(t->arg);
	return NULL;
}

static Thread *
spawn(void (*body)(void *), void *arg)
{
	pth_attr_t attr;
	Thread *t;

	t = calloc(1, sizeof *t);
	if (t == NULL)
		return NULL;
	t->body = body;
	t->arg = arg;
	t->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->stack == MAP_FAILED)
		die("a stack");
	t->id = VALGRIND_STACK_REGISTER(t->stack, t->stack + STACK);
	attr = pth_attr_new();
	pth_attr_set(attr, PTH_ATTR_STACK_SIZE, (unsigned)STACK);
	pth_attr_set(attr, PTH_ATTR_STACK_ADDR, t->stack);
	t->pth = pth_spawn(attr, threadmain, t);
	pth_attr_destroy(attr);
	if (t->pth == NULL)
		die("pth_spawn");
	return t;
}

static void
join(Thread *t)
{
	pth_join(t->pth, NULL);
	VALGRIND_STACK_DEREGISTER(t->id);
	munmap(t->stack, STACK);
	free(t);
}

static int
start(void (*body)(void *), void *arg)
{
	Thread *t;

	t = spawn(body, arg);
	if (t == NULL)
		return -1;
	nstart++;
	t->next = started;
	started = t;
	return 0;
}

static void
joinstarted(void)
{
	Thread *t;

	while ((t = started) != NULL) {
		started = t->next;
		join(t);
	}
}

/* --- servers and connections */

/* memory shared by a server's process and this one */
typedef struct Shared Shared;
struct Shared {
	unsigned nread;
};

typedef struct Conn Conn;
struct Conn {
	Toy toy;	/* first */
	Shared *shared;
	pid_t server;
	int go;		/* if closed, a slow server replies */
};

/* the current connection; a server's process also keeps it reachable, for the leak checker */
static Conn *volatile dialled;

static long
readn(int fd, void *buf, size_t n)
{
	size_t got;
	ssize_t r;

	for (got = 0; got < n; got += (size_t)r) {
		r = pth_read(fd, (char *)buf + got, n - got);
		if (r <= 0)
			break;
	}
	return (long)got;
}

static long
writen(int fd, const void *buf, size_t n)
{
	return pth_write(fd, buf, n) == (ssize_t)n ? (long)n : -1;
}

/* the server's process: replies to the requests that have arrived, the last first; a slow one waits
 * for a signal */
static void
serve(int fd, int wait, Shared *shared)
{
	Toymsg m[NTHREAD > BATCH ? NTHREAD : BATCH];
	struct pollfd p;
	unsigned n;
	char c;

	p.fd = fd;
	p.events = POLLIN;
	for (;;) {
		for (n = 0; n < sizeof m / sizeof m[0] && (n == 0 || wait >= 0 || poll(&p, 1, 0) > 0); n++) {
			if (recv(fd, &m[n], sizeof m[n], MSG_WAITALL) != sizeof m[n])
				return;
			__atomic_add_fetch(&shared->nread, 1, __ATOMIC_SEQ_CST);
		}
		if (wait >= 0 && read(wait, &c, 1) != 0)
			return;
		wait = -1;
		while (n-- > 0) {
			m[n].value++;
			if (m[n].op == TOY_ECHO && send(fd, &m[n], sizeof m[n], MSG_NOSIGNAL) < 0)
				return;
		}
	}
}

static Conn *
dial(int procs, int slow)
{
	unsigned nstarted;
	int fd[2];
	Conn *c;

	dialled = c = calloc(1, sizeof *c);
	if (c == NULL || pipe(fd) != 0)
		die("a connection");
	c->shared = mmap(NULL, sizeof *c->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->shared == MAP_FAILED)
		die("shared memory");
	toy_init(&c->toy, 0, 256, readn, writen);
	/* the child is a copy of this thread alone, and uses nothing of Pth */
	c->server = fork();
	if (c->server < 0)
		die("fork");
	if (c->server == 0) {
		close(c->toy.client);
		close(fd[1]);
		serve(c->toy.server, slow ? fd[0] : -1, c->shared);
		_exit(0);
	}
	close(fd[0]);
	c->go = fd[1];
	if (procs) {
		nstarted = nstart;
		muxprocs(&c->toy.mux);
		if (nstart != nstarted + 2)
			tap_ok(0, "muxprocs has started %u procs", nstart - nstarted);
	}
	return c;
}

/* ends the connection, and the Mux with it; a later access finds garbage */
static void
hangup(Conn *c)
{
	Muxstats s;

	shutdown(c->toy.client, SHUT_RDWR);
	/* after a success, errno may be a value that Pth has left while it waited */
	do {
		errno = 0;
		muxfree(&c->toy.mux);
	} while (errno == EBUSY);
	s.size = sizeof s;
	errno = 0;
	muxstats(&c->toy.mux, &s);
	tap_ok(errno == EINVAL, "muxfree ends the Mux");
	waitpid(c->server, NULL, 0);
	munmap(c->shared, sizeof *c->shared);
	if (c->go >= 0)
		close(c->go);
	toy_close(&c->toy);
	memset(c, 0xdd, sizeof *c);
	free(c);
	joinstarted();
}

/* --- callers */

typedef struct Caller Caller;
struct Caller {
	Conn *c;
	unsigned op, id, n;
	const int *ms;
	Thread *thread;
	unsigned ngood;
	int error;	/* the last one */
	int over;
};

static const int rpcs[4] = {TOY_RPC, TOY_RPC, TOY_RPC, TOY_RPC};
static const int shorts[4] = {SHORT, SHORT, SHORT, SHORT};
static const int longs[4] = {LONG, LONG, LONG, LONG};
static const int mixed[4] = {TOY_RPC, LONG, -1, INT_MAX};

static void
calls(void *v)
{
	Caller *a;
	unsigned i;
	int r;

	a = v;
	for (i = 0; i < a->n; i++) {
		r = toy_callfor(&a->c->toy, a->op, a->id * 100000 + i, a->ms[(a->id + i) % 4]);
		a->ngood += r == 1;
		if (r != 1)
			a->error = errno;
		if (r < 0)
			nwrong++;
	}
	a->over = 1;
}

static void
begin(Caller *a, Conn *c, unsigned op, unsigned id, unsigned n, const int *ms)
{
	memset(a, 0, sizeof *a);
	a->c = c;
	a->op = op;
	a->id = id;
	a->n = n;
	a->ms = ms;
	a->thread = spawn(calls, a);
}

/* how many of its calls got their replies */
static unsigned
end(Caller *a)
{
	join(a->thread);
	return a->ngood;
}

static const char *
mode(int procs)
{
	return procs ? "procs" : "direct";
}

/* number of requests that the server has read */
static unsigned
requests(Conn *c)
{
	return __atomic_load_n(&c->shared->nread, __ATOMIC_SEQ_CST);
}

/* number of kernel threads of this process; 0 if it is unknown */
static unsigned
kernelthreads(void)
{
	char line[256];
	unsigned n;
	FILE *f;

	f = fopen("/proc/self/status", "r");
	for (n = 0; f != NULL && fgets(line, sizeof line, f) != NULL;)
		if (sscanf(line, "Threads: %u", &n) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return n;
}

/* --- the cases */

/*
 * The server replies only when all callers sleep but one, which receives; or, under procs, when all
 * of them and the send proc sleep. So another thread must run meanwhile.
 */
static void
slow(int procs, const int *ms)
{
	Caller a[NTHREAD];
	unsigned i, good, want, threads, woken;
	Conn *c;

	woken = nunpark;
	want = procs ? NTHREAD + 1 : NTHREAD - 1;
	c = dial(procs, 1);
	for (i = 0; i < NTHREAD; i++)
		begin(&a[i], c, TOY_ECHO, i, 1, ms);
	while (requests(c) < NTHREAD || asleep < want)
		pth_nap(pth_time(0, 1000));
	threads = (unsigned)pth_ctrl(PTH_CTRL_GETTHREADS);
	tap_ok(threads > want, "%s: %u of %u threads sleep in Pth", mode(procs), asleep, threads);
	threads = kernelthreads();
	if (threads != 0)
		tap_ok(threads == 1, "%s: the kernel has %u thread", mode(procs), threads);
	close(c->go);
	c->go = -1;
	for (i = good = 0; i < NTHREAD; i++)
		good += end(&a[i]);
	tap_ok(good == NTHREAD, "%s: %u of %u callers get their replies", mode(procs), good, NTHREAD);
	tap_ok(nunpark - woken >= NTHREAD - 1, "%s: unpark woke the callers", mode(procs));
	hangup(c);
}

static void
many(int procs, const int *ms)
{
	Caller a[NTHREAD];
	unsigned i, good;
	Conn *c;

	c = dial(procs, 0);
	for (i = 0; i < NTHREAD; i++)
		begin(&a[i], c, TOY_ECHO, i, NCALL, ms);
	for (i = good = 0; i < NTHREAD; i++)
		good += end(&a[i]);
	tap_ok(good == NTHREAD * NCALL, "%s: %u of %u calls get their replies", mode(procs), good, NTHREAD * NCALL);
	hangup(c);
}

/* some calls time out, some keep waiting; others get their replies meanwhile */
static void
late(int procs)
{
	Caller a[NTHREAD], b;
	unsigned i, good, nlate;
	Conn *c;

	c = dial(procs, 0);
	begin(&b, c, TOY_NEVER, 1, 1, shorts);
	good = end(&b);
	tap_ok(good == 0 && b.error == ETIMEDOUT, "%s: a single caller: NULL, %s", mode(procs), strerror(b.error));
	begin(&b, c, TOY_NEVER, 1, 1, longs);
	for (i = 0; i < NTHREAD; i++)
		begin(&a[i], c, i % 2 ? TOY_NEVER : TOY_ECHO, i, i % 2 ? 2 : NCALL, i % 2 ? shorts : mixed);
	for (i = good = nlate = 0; i < NTHREAD; i++) {
		good += end(&a[i]);
		nlate += a[i].error == ETIMEDOUT;
	}
	tap_ok(nlate == NTHREAD / 2, "%s: %u threads without replies: ETIMEDOUT", mode(procs), nlate);
	tap_ok(good == NTHREAD / 2 * NCALL, "%s: the other threads get %u replies", mode(procs), good);
	tap_ok(!b.over, "%s: a call with a longer limit keeps waiting", mode(procs));
	hangup(c);
	good = end(&b);
	tap_ok(good == 0 && b.error == ECONNRESET, "%s: until the end of the connection: %s", mode(procs), strerror(b.error));
}

/* non-blocking calls, collected out of order, while others call */
static void
nonblocking(int procs)
{
	Muxrpc *r[NSTART];
	Toymsg m;
	Caller a[2];
	unsigned i, good, over, left;
	void *reply;
	Conn *c;

	c = dial(procs, 0);
	for (i = 0; i < 2; i++)
		begin(&a[i], c, TOY_ECHO, i, NCALL, rpcs);
	for (i = 0; i < NSTART; i++) {
		m.tag = 0;
		m.op = TOY_ECHO;
		m.value = 7000 + i;
		r[i] = muxrpcstart(&c->toy.mux, &m);
		if (r[i] == NULL)
			tap_ok(0, "muxrpcstart: %s", strerror(errno));
	}
	for (left = NSTART, good = 0; left > 0; pth_yield(NULL))
		for (i = 0; i < NSTART; i++) {
			if (r[i] == NULL)
				continue;
			over = muxrpccanfinish(r[i], &reply) != 0;
			if (!over)
				continue;
			good += reply != NULL && ((Toymsg *)reply)->value == 7000 + i + 1;
			free(reply);
			r[i] = NULL;
			left--;
		}
	tap_ok(good == NSTART, "%s: %u of %u non-blocking calls get their replies", mode(procs), good, NSTART);
	good = end(&a[0]) + end(&a[1]);
	tap_ok(good == 2 * NCALL, "%s: %u of %u blocking calls, too", mode(procs), good, 2 * NCALL);
	hangup(c);
}

/* calls whose replies never come are ended at once by muxhangup or muxfree, except for the caller
 * in recv */
static void
ends(int procs, int byfree)
{
	Caller a[NTHREAD];
	unsigned i, n, over;
	int r;
	Conn *c;

	c = dial(procs, 0);
	for (i = 0; i < NTHREAD; i++)
		begin(&a[i], c, TOY_NEVER, i, 1, mixed);
	while (requests(c) < NTHREAD)
		pth_nap(pth_time(0, 1000));
	if (!byfree) {
		muxhangup(&c->toy.mux);
		do {
			pth_nap(pth_time(0, 1000));
			for (i = over = 0; i < NTHREAD; i++)
				over += a[i].over != 0;
		} while (over < (procs ? NTHREAD : NTHREAD - 1));
		tap_ok(1, "%s: muxhangup wakes all callers", mode(procs));
		r = toy_callfor(&c->toy, TOY_ECHO, 1, TOY_RPC);
		tap_ok(r == 0 && errno == ESHUTDOWN, "%s: muxrpc after muxhangup: NULL, %s", mode(procs), strerror(errno));
	}
	hangup(c);
	for (i = n = 0; i < NTHREAD; i++)
		n += end(&a[i]) == 0 && a[i].error == ECONNRESET;
	tap_ok(n == NTHREAD, "%s: %s ends all calls with ECONNRESET", mode(procs), byfree ? "muxfree" : "muxhangup");
}

int
main(void)
{
	Muxsched t = {sizeof t, task, park, unpark, start, parkfor};
	int procs;

	tap_start("pth", 60);
	signal(SIGPIPE, SIG_IGN);
	tap_ok(muxsetsched(&t) == 0, "muxsetsched: 0");
	if (!pth_init() || !pth_key_create(&key, free))
		die("pth_init");
	for (procs = 0; procs < 2; procs++) {
		slow(procs, rpcs);
		slow(procs, mixed);
		many(procs, rpcs);
		many(procs, mixed);
		late(procs);
		nonblocking(procs);
		ends(procs, 0);
		ends(procs, 1);
	}
	tap_ok(nwrong == 0, "no caller got another's reply or slept as another task");
	tap_note("park %u, unpark %u, parkfor %u, start %u", npark, nunpark, nparkfor, nstart);
	return tap_end();
}
