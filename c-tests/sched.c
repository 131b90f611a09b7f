/*
 * sched.c: the program's own scheduler, installed by muxsetsched. Here it is made of pthreads: a
 * task is a lock, a condition and a token. The calls of the table are counted, to show that callers
 * sleep and wake through this table. The table belongs to the process and is installed once, before
 * the first muxinit, so each case has a process of its own, whose lines the parent passes on.
 *
 * Tasks are not freed when their threads end: an unpark may still be running for a task whose call
 * has ended, because the call ends with the state that the library records before the unpark.
 */
#define _GNU_SOURCE 1
#include "lib/tap.h"
#include "lib/toy.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	NTHREAD = 12,
	NCALL = 150,
	BATCH = 8,
	SHORT = 50,	/* limit of calls that must time out; they get no reply */
	LONG = 600000,	/* limit of calls that must not */
};

/* --- the scheduler */

typedef struct Sleeper Sleeper;
struct Sleeper {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int token;
	int isproc;
	unsigned seed;
	Sleeper *next;
};

typedef struct Started Started;
struct Started {
	pthread_t thread;
	void (*body)(void *);
	void *arg;
	Started *next;
};

static __thread Sleeper *me;
static __thread int isproc;
static pthread_mutex_t lists = PTHREAD_MUTEX_INITIALIZER;
static Sleeper *sleepers;
static unsigned nsleeper;
static Started *started;
/* how often each function was called, and how often with another task than the caller's */
static unsigned ntask, npark, nunpark, nparkfor, nstart, nwrong;
/* callers that are asleep now */
static unsigned asleep;
/* if set, park and parkfor sometimes return early, and unpark is sometimes slow */
static int sloppy;
/* number of tasks that can still be started */
static int startable = INT_MAX;
/* descriptor to shut down when a caller sleeps in parkfor */
static int shutfd = -1;

/* relaxed, because the library and the table must order the callers themselves */
static unsigned
add(unsigned *n, int d)
{
	return __atomic_add_fetch(n, (unsigned)d, __ATOMIC_RELAXED);
}

static unsigned
now(unsigned *n)
{
	return __atomic_load_n(n, __ATOMIC_RELAXED);
}

static void
doze(long ns)
{
	struct timespec t = {0, ns};

	nanosleep(&t, NULL);
}

/* waits until the counter has reached n */
static void
await(unsigned *n, unsigned want)
{
	while (now(n) < want)
		doze(1000000);
}

static int
flip(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 30 & 1;
}

static void *
task(void)
{
	pthread_condattr_t attr;

	add(&ntask, 1);
	if (me == NULL) {
		me = calloc(1, sizeof *me);
		if (me == NULL)
			abort();
		pthread_mutex_init(&me->lock, NULL);
		pthread_condattr_init(&attr);
		pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
		pthread_cond_init(&me->cond, &attr);
		me->isproc = isproc;
		pthread_mutex_lock(&lists);
		me->seed = ++nsleeper * 7919;
		me->next = sleepers;
		sleepers = me;
		pthread_mutex_unlock(&lists);
	}
	return me;
}

/* waits for the token, or until the deadline */
static void
sleepfor(Sleeper *s, const struct timespec *end)
{
	int r;

	if (s != me)
		add(&nwrong, 1);
	if (sloppy && flip(&s->seed))
		return;
	pthread_mutex_lock(&s->lock);
	if (!s->isproc)
		add(&asleep, 1);
	for (r = 0; !s->token && r == 0;)
		r = end == NULL ? pthread_cond_wait(&s->cond, &s->lock) : pthread_cond_timedwait(&s->cond, &s->lock, end);
	s->token = 0;
	if (!s->isproc)
		add(&asleep, -1);
	pthread_mutex_unlock(&s->lock);
}

static void
park(void *v)
{
	add(&npark, 1);
	sleepfor(v, NULL);
}

static int
parkfor(void *v, int ms)
{
	struct timespec end;

	add(&nparkfor, 1);
	if (shutfd >= 0)
		shutdown(shutfd, SHUT_RDWR);
	if (ms < 0)
		add(&nwrong, 1);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += ms % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	sleepfor(v, &end);
	/* the result is not used */
	return -1;
}

static void
unpark(void *v)
{
	Sleeper *s;

	s = v;
	if (sloppy && add(&nunpark, 1) % 4 == 0)
		doze(100000);
	else if (!sloppy)
		add(&nunpark, 1);
	pthread_mutex_lock(&s->lock);
	s->token = 1;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

static void *
procmain(void *v)
{
	Started *s;

	s = v;
	isproc = 1;
	s->body(s->arg);
	return NULL;
}

static int
start(void (*body)(void *), void *arg)
{
	Started *s;

	if (startable-- <= 0)
		return -1;
	s = calloc(1, sizeof *s);
	if (s == NULL)
		return -1;
	s->body = body;
	s->arg = arg;
	if (pthread_create(&s->thread, NULL, procmain, s) != 0) {
		free(s);
		return -1;
	}
	add(&nstart, 1);
	pthread_mutex_lock(&lists);
	s->next = started;
	started = s;
	pthread_mutex_unlock(&lists);
	return 0;
}

/* waits for the end of all started tasks */
static void
joinstarted(void)
{
	Started *s;

	while ((s = started) != NULL) {
		started = s->next;
		pthread_join(s->thread, NULL);
		free(s);
	}
}

static const Muxsched whole = {sizeof whole, task, park, unpark, start, parkfor};

/*
 * Installs the table with the size that it claims, from memory that ends there, apart from
 * alignment, and that is overwritten afterwards. Bytes beyond a whole table are garbage.
 */
static int
install(Muxsched t)
{
	size_t page, pages, room;
	char *map, *p;
	int r, e;

	page = (size_t)sysconf(_SC_PAGESIZE);
	room = t.size < sizeof t.size ? sizeof t.size : t.size;
	room = (room + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
	pages = (room + page - 1) / page * page;
	map = mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		abort();
	mprotect(map + pages, page, PROT_NONE);
	p = map + pages - room;
	memset(p, 0xa5, room);
	memcpy(p, &t, t.size < sizeof t.size ? sizeof t.size : t.size < sizeof t ? t.size : sizeof t);
	errno = 0;
	r = muxsetsched((Muxsched *)p);
	e = errno;
	memset(p, 0x5a, room);
	munmap(map, pages + page);
	errno = e;
	return r;
}

static void
installed(Muxsched t)
{
	tap_ok(install(t) == 0, "muxsetsched: 0");
}

/* --- connections and callers */

typedef struct Conn Conn;
struct Conn {
	Toy toy;	/* first */
	pthread_t server;
	/* when this number of requests has arrived, the server waits until a number of callers
	 * sleep */
	unsigned held, till;
	/* how many requests the server has read, and how often a caller was in recv */
	unsigned nread, nreceiving;
};

/* replies to the requests that have arrived, the last first */
static void *
serve(void *v)
{
	Conn *c;
	Toymsg m[NTHREAD > BATCH ? NTHREAD : BATCH];
	struct pollfd p;
	unsigned n, max;

	c = v;
	p.fd = c->toy.server;
	p.events = POLLIN;
	for (;;) {
		max = c->held ? c->held : BATCH;
		for (n = 0; n < max && (n == 0 || c->held || poll(&p, 1, 0) > 0); n++) {
			if (c->toy.readn(p.fd, &m[n], sizeof m[n]) != sizeof m[n])
				goto End;
			add(&c->nread, 1);
		}
		if (c->held)
			await(&asleep, c->till);
		c->held = 0;
		while (n-- > 0) {
			m[n].value++;
			if (m[n].op == TOY_ECHO && c->toy.writen(p.fd, &m[n], sizeof m[n]) < 0)
				goto End;
		}
	}
End:
	shutdown(p.fd, SHUT_RDWR);
	return NULL;
}

static int
receiving(Toy *t)
{
	add(&((Conn *)t)->nreceiving, 1);
	return 0;
}

static Conn *
dial(int procs, unsigned held, unsigned till)
{
	Conn *c;

	c = calloc(1, sizeof *c);
	if (c == NULL)
		abort();
	c->held = held;
	c->till = till;
	toy_init(&c->toy, 0, 256, NULL, NULL);
	c->toy.receiving = receiving;
	if (pthread_create(&c->server, NULL, serve, c) != 0)
		abort();
	if (procs) {
		errno = 0;
		muxprocs(&c->toy.mux);
	}
	return c;
}

/* returns true between muxinit and muxfree */
static int
ismux(Mux *mux)
{
	Muxstats s;

	s.size = sizeof s;
	errno = 0;
	muxstats(mux, &s);
	return errno != EINVAL;
}

/* muxfree, which may be called again while a caller is inside; returns whether it has worked and
 * has set errno accordingly */
static int
release(Mux *mux)
{
	int e;

	do {
		errno = 0;
		muxfree(mux);
		e = errno;
	} while (e == EBUSY);
	return e == 0 && !ismux(mux);
}

/* ends the connection, and the Mux with it; a later access finds garbage */
static void
hangup(Conn *c)
{
	shutdown(c->toy.client, SHUT_RDWR);
	pthread_join(c->server, NULL);
	tap_ok(release(&c->toy.mux), "muxfree ends the Mux");
	toy_close(&c->toy);
	memset(c, 0xdd, sizeof *c);
	free(c);
	joinstarted();
}

typedef struct Caller Caller;
struct Caller {
	Conn *c;
	unsigned op, id, n;
	const int *ms;
	pthread_t thread;
	unsigned *nover;	/* counted there when it is over */
	unsigned ngood;
	int error;		/* the last one */
};

static void *
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
			add(&nwrong, 1);
	}
	if (a->nover != NULL)
		add(a->nover, 1);
	return NULL;
}

static const int rpcs[4] = {TOY_RPC, TOY_RPC, TOY_RPC, TOY_RPC};
static const int shorts[4] = {SHORT, SHORT, SHORT, SHORT};
static const int mixed[4] = {TOY_RPC, LONG, -1, INT_MAX};

static void
begin(Caller *a, Conn *c, unsigned op, unsigned id, unsigned n, const int *ms,
	unsigned *nover)
{
	memset(a, 0, sizeof *a);
	a->c = c;
	a->op = op;
	a->id = id;
	a->n = n;
	a->ms = ms;
	a->nover = nover;
	if (pthread_create(&a->thread, NULL, calls, a) != 0)
		abort();
}

/* how many of its calls got their replies */
static unsigned
end(Caller *a)
{
	pthread_join(a->thread, NULL);
	return a->ngood;
}

static unsigned
many(Conn *c, unsigned ncall, const int *ms)
{
	Caller a[NTHREAD];
	unsigned i, good;

	for (i = 0; i < NTHREAD; i++)
		begin(&a[i], c, TOY_ECHO, i, ncall, ms, NULL);
	for (i = good = 0; i < NTHREAD; i++)
		good += end(&a[i]);
	return good;
}

static const char *
mode(int procs)
{
	return procs ? "procs" : "direct";
}

/* tests a Mux that works, with any scheduler */
static void
works(int procs, const int *ms)
{
	Conn *c;
	unsigned good;

	c = dial(procs, 0, 0);
	good = many(c, NCALL, ms);
	tap_ok(good == NTHREAD * NCALL, "%s: %u of %u calls get their replies", mode(procs), good, NTHREAD * NCALL);
	hangup(c);
}

/* --- the cases */

/* a refused table leaves nothing behind */
static void
arguments(void)
{
	Muxsched t;
	unsigned size;
	int r;

	muxinit(NULL);
	errno = 0;
	tap_ok(muxsetsched(NULL) == -1 && errno == EINVAL, "nil: EINVAL");
	for (size = r = 0; size < offsetof(Muxsched, start); size++) {
		t = whole;
		t.size = size;
		r += install(t) == -1 && errno == EINVAL;
	}
	tap_ok(r == offsetof(Muxsched, start), "a size without room for task, park and unpark: EINVAL");
	t = whole;
	t.task = NULL;
	tap_ok(install(t) == -1 && errno == EINVAL, "no task: EINVAL");
	t = whole;
	t.park = NULL;
	tap_ok(install(t) == -1 && errno == EINVAL, "no park: EINVAL");
	t = whole;
	t.unpark = NULL;
	tap_ok(install(t) == -1 && errno == EINVAL, "no unpark: EINVAL");
	installed(whole);
	tap_ok(install(whole) == -1 && errno == EBUSY, "a second table: EBUSY");
	works(0, mixed);
	works(1, mixed);
	tap_ok(now(&ntask) > 0, "the first table is used");
}

/* the results of muxprocs and muxrpctimeout with the table in use */
static void
abilities(int starts, int times)
{
	Conn *c;
	int r;

	c = dial(0, 0, 0);
	errno = 0;
	muxprocs(&c->toy.mux);
	tap_ok(starts ? nstart == 2 : nstart == 0 && errno == ENOSYS, "muxprocs: %s", starts ? "starts two procs" : "ENOSYS");
	r = toy_callfor(&c->toy, TOY_ECHO, 7, LONG);
	tap_ok(times ? r == 1 : r == 0 && errno == EOPNOTSUPP, "muxrpctimeout: %s", times ? "a reply" : "EOPNOTSUPP");
	/* under procs a reply might arrive within 0 milliseconds */
	r = toy_callfor(&c->toy, TOY_NEVER, 7, 0);
	tap_ok(r == 0 && errno == (times ? ETIMEDOUT : EOPNOTSUPP), "with 0 milliseconds: NULL, %s", strerror(errno));
	tap_ok(toy_callfor(&c->toy, TOY_ECHO, 8, -1) == 1, "with a negative limit: a reply");
	tap_ok(many(c, 10, rpcs) == NTHREAD * 10, "calls get their replies");
	hangup(c);
}

/* a field that is cut off counts as missing */
static void
cutstart(void)
{
	Muxsched t;

	t = whole;
	t.size = offsetof(Muxsched, start) + sizeof t.start / 2;
	installed(t);
	abilities(0, 0);
}

static void
cutparkfor(void)
{
	Muxsched t;

	t = whole;
	t.size = offsetof(Muxsched, parkfor) + sizeof t.parkfor - 1;
	installed(t);
	abilities(1, 0);
}

static void
shortest(void)
{
	Muxsched t;

	t = whole;
	t.size = offsetof(Muxsched, start);
	installed(t);
	abilities(0, 0);
}

/* a table of a later version, of which the library knows the beginning */
static void
longer(void)
{
	Muxsched t;

	t = whole;
	t.size = 3 * sizeof t + 5;
	installed(t);
	abilities(1, 1);
}

static void
longest(void)
{
	Muxsched t;

	t = whole;
	t.size = 1 << 20;
	installed(t);
	abilities(1, 1);
}

static void
late(void)
{
	static Mux first;

	muxinit(&first);
	tap_ok(install(whole) == -1 && errno == EBUSY, "after muxinit: EBUSY");
	works(0, mixed);
	works(1, mixed);
	tap_ok(now(&ntask) + now(&npark) + now(&nunpark) + nstart + now(&nparkfor) == 0, "no function of the table is used");
}

/*
 * All callers are held inside: the server replies when all of them sleep but one, which receives,
 * or, under procs, when all of them sleep.
 */
static void
proven(int procs)
{
	static const int *const how[] = {rpcs, mixed};
	Conn *c;
	unsigned i, want, good, parks, unparks;

	for (i = 0; i < 2; i++) {
		want = procs ? NTHREAD : NTHREAD - 1;
		parks = now(&npark) + now(&nparkfor);
		unparks = now(&nunpark);
		nstart = 0;
		c = dial(procs, NTHREAD, want);
		if (procs)
			tap_ok(nstart == 2, "procs: muxprocs has started %u tasks", nstart);
		good = many(c, 1, how[i]);
		tap_ok(good == NTHREAD, "%s: %u callers, the server waits until %u sleep: %u replies", mode(procs), NTHREAD, want, good);
		tap_ok(now(&npark) + now(&nparkfor) - parks >= want, "%s: the callers slept in park or parkfor", mode(procs));
		/* the last ones may not have woken yet */
		await(&nunpark, unparks + want);
		tap_ok(1, "%s: unpark woke the callers", mode(procs));
		hangup(c);
	}
}

static void
all(void)
{
	int procs;

	installed(whole);
	for (procs = 0; procs < 2; procs++) {
		proven(procs);
		works(procs, rpcs);
		works(procs, mixed);
	}
}

/* some replies in time, some not; with nbrecv or without */
static void
deadlines(int procs, int nbrecv)
{
	Caller a, b;
	Conn *c;
	unsigned over, parks, receiving;
	int r;

	c = dial(procs, 0, 0);
	if (!nbrecv)
		c->toy.mux.nbrecv = NULL;
	tap_ok(toy_callfor(&c->toy, TOY_ECHO, 1, LONG) == 1, "%s, nbrecv %d: a reply in time", mode(procs), nbrecv);
	if (!procs) {
		/* it is in recv for all callers */
		receiving = now(&c->nreceiving);
		begin(&a, c, TOY_NEVER, 2, 1, rpcs, NULL);
		await(&c->nreceiving, receiving + 1);
	}
	parks = now(&nparkfor);
	r = toy_callfor(&c->toy, TOY_NEVER, 3, SHORT);
	tap_ok(r == 0 && errno == ETIMEDOUT, "%s, nbrecv %d: no reply: NULL, %s", mode(procs), nbrecv, strerror(errno));
	tap_ok(now(&nparkfor) > parks, "%s, nbrecv %d: the caller slept in parkfor", mode(procs), nbrecv);
	tap_ok(toy_callfor(&c->toy, TOY_ECHO, 4, LONG) == 1, "%s, nbrecv %d: another reply in time", mode(procs), nbrecv);
	shutdown(c->toy.client, SHUT_RDWR);
	if (!procs)
		tap_ok(end(&a) == 0 && a.error == ECONNRESET, "%s, nbrecv %d: the end of the connection", mode(procs), nbrecv);
	hangup(c);
	if (procs)
		return;
	/* a single caller receives for itself: by polling with pauses, or in recv, where it times
	 * out at the next message */
	c = dial(procs, 0, 0);
	if (!nbrecv)
		c->toy.mux.nbrecv = NULL;
	over = 0;
	begin(&b, c, TOY_NEVER, 5, 1, shorts, &over);
	if (nbrecv)
		await(&over, 1);
	else
		await(&c->nreceiving, 1);
	while (now(&over) == 0)
		if (toy_callfor(&c->toy, TOY_ECHO, 6, TOY_RPC) != 1)
			add(&nwrong, 1);
	r = (int)end(&b);
	tap_ok(r == 0 && b.error == ETIMEDOUT, "a single caller, nbrecv %d: NULL, %s", nbrecv, strerror(b.error));
	hangup(c);
}

static void
timed(void)
{
	int procs, nbrecv;

	installed(whole);
	for (procs = 0; procs < 2; procs++)
		for (nbrecv = 0; nbrecv < 2; nbrecv++)
			deadlines(procs, nbrecv);
}

/* callers that get no reply, all asleep but one, which receives */
static void
stuck(Caller *a, Conn *c, int procs, unsigned *nover)
{
	unsigned i;

	for (i = 0; i < NTHREAD; i++)
		begin(&a[i], c, TOY_NEVER, i, 1, mixed, nover);
	await(&c->nread, NTHREAD);
	await(&asleep, procs ? NTHREAD : NTHREAD - 1);
	if (!procs)
		await(&c->nreceiving, 1);
}

/* how many calls have ended with that error */
static unsigned
ended(Caller *a, int error)
{
	unsigned i, n;

	for (i = n = 0; i < NTHREAD; i++)
		n += end(&a[i]) == 0 && a[i].error == error;
	return n;
}

/* muxhangup: the sleepers wake at once, the caller in recv returns when recv does; then muxfree */
static void
hungup(int procs)
{
	Caller a[NTHREAD];
	Conn *c;
	unsigned over;
	int r;

	c = dial(procs, 0, 0);
	over = 0;
	stuck(a, c, procs, &over);
	muxhangup(&c->toy.mux);
	await(&over, procs ? NTHREAD : NTHREAD - 1);
	tap_ok(1, "%s: muxhangup wakes all callers", mode(procs));
	r = toy_callfor(&c->toy, TOY_ECHO, 1, TOY_RPC);
	tap_ok(r == 0 && errno == ESHUTDOWN, "%s: muxrpc after muxhangup: NULL, %s", mode(procs), strerror(errno));
	r = toy_callfor(&c->toy, TOY_ECHO, 1, LONG);
	tap_ok(r == 0 && errno == ESHUTDOWN, "%s: muxrpctimeout after muxhangup: NULL, %s", mode(procs), strerror(errno));
	shutdown(c->toy.client, SHUT_RDWR);
	tap_ok(ended(a, ECONNRESET) == NTHREAD, "%s: all calls fail with ECONNRESET", mode(procs));
	hangup(c);
}

/* muxfree, and freeing the Mux's memory, while the woken callers are still returning */
static void
freed(int procs)
{
	Caller a[NTHREAD];
	unsigned over;
	Conn *c;

	c = dial(procs, 0, 0);
	over = 0;
	stuck(a, c, procs, &over);
	hangup(c);
	tap_ok(ended(a, ECONNRESET) == NTHREAD, "%s: muxfree while all callers sleep: ECONNRESET", mode(procs));
}

/* muxfree itself sleeps in parkfor while a caller is in recv: at most three seconds */
static void
patience(void)
{
	Caller a;
	Conn *c;
	unsigned parks;

	c = dial(0, 0, 0);
	begin(&a, c, TOY_NEVER, 1, 1, rpcs, NULL);
	await(&c->nreceiving, 1);
	parks = now(&nparkfor);
	errno = 0;
	muxfree(&c->toy.mux);
	tap_ok(errno == EBUSY && ismux(&c->toy.mux), "muxfree while a caller stays in recv: %s", strerror(errno));
	tap_ok(now(&nparkfor) > parks, "muxfree waited in parkfor");
	parks = now(&nparkfor);
	shutfd = c->toy.client;
	tap_ok(release(&c->toy.mux) && now(&nparkfor) > parks, "muxfree again, while the caller leaves: it works");
	shutfd = -1;
	tap_ok(end(&a) == 0 && a.error == ECONNRESET, "the caller's call has ended");
	muxinit(&c->toy.mux);
	hangup(c);
}

static void
endings(void)
{
	int procs;

	installed(whole);
	for (procs = 0; procs < 2; procs++) {
		hungup(procs);
		freed(procs);
	}
	patience();
}

/* waking too early does no harm */
static void
early(void)
{
	int procs;

	installed(whole);
	for (procs = 0; procs < 2; procs++) {
		sloppy = 1;
		works(procs, rpcs);
		works(procs, mixed);
		deadlines(procs, 0);
		deadlines(procs, 1);
		sloppy = 0;
	}
}

static void
nostart(void)
{
	Muxsched t;

	t = whole;
	t.start = NULL;
	installed(t);
	abilities(0, 1);
	works(0, mixed);
}

/* the first proc cannot be started, or the second, which stops the first */
static void
startfails(void)
{
	Conn *c;
	int n, r;

	installed(whole);
	for (n = 0; n < 2; n++) {
		startable = n;
		c = dial(0, 0, 0);
		nstart = 0;
		errno = 0;
		muxprocs(&c->toy.mux);
		r = errno;
		tap_ok(nstart == (unsigned)n && r == EAGAIN, "muxprocs when %d can be started: %s", n, strerror(r));
		joinstarted();
		tap_ok(many(c, NCALL, mixed) == NTHREAD * NCALL, "calls get their replies");
		startable = INT_MAX;
		muxprocs(&c->toy.mux);
		tap_ok(nstart == (unsigned)n + 2, "muxprocs again: both procs");
		tap_ok(many(c, NCALL, mixed) == NTHREAD * NCALL, "calls get their replies");
		hangup(c);
	}
}

/*
 * Without parkfor, muxfree cannot wait for a caller: it works if the Mux is idle, or if all callers
 * inside sleep. It fails with EBUSY at once while a caller is in a callback or a proc has not
 * ended.
 */
static void
noparkfor(void)
{
	Caller a;
	Muxsched t;
	Conn *c;

	t = whole;
	t.parkfor = NULL;
	installed(t);
	abilities(1, 0);
	c = dial(0, 0, 0);
	begin(&a, c, TOY_NEVER, 1, 1, rpcs, NULL);
	await(&c->nreceiving, 1);
	errno = 0;
	muxfree(&c->toy.mux);
	tap_ok(errno == EBUSY && ismux(&c->toy.mux), "muxfree while a caller is in recv: %s", strerror(errno));
	shutdown(c->toy.client, SHUT_RDWR);
	tap_ok(end(&a) == 0 && a.error == ECONNRESET, "the caller's call has ended");
	errno = 0;
	muxfree(&c->toy.mux);
	tap_ok(errno == 0 && !ismux(&c->toy.mux), "muxfree works after the caller has left");
	muxinit(&c->toy.mux);
	hangup(c);
	works(0, rpcs);
	works(1, rpcs);
	tap_ok(now(&nparkfor) == 0, "parkfor was never called");
}

static void *
take(void *q)
{
	return _muxqrecv(q);
}

/* a thread that waits at a queue also sleeps by the table */
static void
queue(void)
{
	Muxqueue *q;
	pthread_t t;
	void *p;
	int x;

	installed(whole);
	q = _muxqalloc();
	pthread_create(&t, NULL, take, q);
	await(&asleep, 1);
	_muxqsend(q, &x);
	pthread_join(t, &p);
	tap_ok(p == &x && now(&npark) > 0 && now(&nunpark) == 1, "_muxqrecv sleeps in park, and unpark wakes it");
	pthread_create(&t, NULL, take, q);
	await(&asleep, 1);
	_muxqhangup(q);
	pthread_join(t, &p);
	tap_ok(p == NULL && now(&nunpark) == 2, "unpark wakes it after _muxqhangup, too");
	free(q);
}

/* --- one process each */

typedef struct Case Case;
struct Case {
	const char *name;
	void (*run)(void);
};

static const Case cases[] = {
	{"arguments", arguments},
	{"half of the field start", cutstart},
	{"parkfor without its last byte", cutparkfor},
	{"no start and no parkfor", shortest},
	{"a longer table", longer},
	{"a much longer table", longest},
	{"too late", late},
	{"whole", all},
	{"timed", timed},
	{"endings", endings},
	{"sloppy", early},
	{"no start", nostart},
	{"start fails", startfails},
	{"no parkfor", noparkfor},
	{"queue", queue},
};

static unsigned nlines, nbad;

static void
check(int good, const char *name, const char *what)
{
	nlines++;
	nbad += !good;
	tap_ok(good, "%s: %s", name, what);
}

/* passes on a child's lines as lines of this test; returns whether its plan arrived and was right */
static int
relay(const char *name, FILE *f)
{
	char line[1024], *what;
	unsigned plan;
	int whole;

	for (whole = 0; fgets(line, sizeof line, f) != NULL;) {
		line[strcspn(line, "\n")] = '\0';
		what = strstr(line, " - ");
		what = what == NULL ? line : what + 3;
		if (strncmp(line, "ok ", 3) == 0)
			check(1, name, what);
		else if (strncmp(line, "not ok ", 7) == 0)
			check(0, name, what);
		else if (sscanf(line, "1..%u", &plan) == 1)
			/* its numbers continue from its parent's */
			whole = plan == nlines;
		else if (line[0] == '#')
			tap_note("%s", line[1] == ' ' ? line + 2 : line + 1);
	}
	return whole;
}

static void
run(const Case *k)
{
	int fd[2], status, complete;
	pid_t pid;
	FILE *f;

	if (pipe(fd) != 0 || (pid = fork()) < 0)
		abort();
	if (pid == 0) {
		dup2(fd[1], 1);
		close(fd[0]);
		close(fd[1]);
		tap_start(k->name, 120);
		k->run();
		tap_ok(now(&nwrong) == 0, "no caller got another's reply or slept as another task");
		exit(tap_end());
	}
	close(fd[1]);
	f = fdopen(fd[0], "r");
	complete = f != NULL && relay(k->name, f);
	fclose(f);
	waitpid(pid, &status, 0);
	/* its failures include those of its parent */
	check(complete && WIFEXITED(status) && WEXITSTATUS(status) == (nbad > 0), k->name, "the process ends normally");
}

int
main(void)
{
	unsigned i;

	tap_start("sched", 600);
	for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
		run(&cases[i]);
	return tap_end();
}
