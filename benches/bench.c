/*
 * bench: what a call through a multiplexor costs, measured over libmux's public calls alone, so that it links
 * against any libmux.a, ours or a peer's (compare.sh does both, by turns).
 *
 *   mem-1       one thread, no descriptor: send puts a copy of the request on a list, recv takes it off.
 *               ns a call, the caller's malloc, copy and frees included
 *   mem-floor   the same loop without a multiplexor
 *   echo-N      N threads call at once over one socketpair to a child that echoes; calls a second
 *   procs-8     echo-8 after muxprocs
 *   async-64    one thread keeps 64 calls outstanding: muxrpcstart, muxrpccanfinish, poll when nothing is there
 *   floor-async the same loop without a multiplexor
 *   floor-1     write and read, no multiplexor
 *   floor-N     N threads write, each sleeps on a futex of its own; one reader takes what there is in one large
 *               read and wakes whom it is for: about what a multiplexor could reach
 *
 * A message is size[4] type[1] tag[2] payload, 64 bytes. The callbacks are the same whatever the library: send
 * is one write, recv hands out one message of a buffer that it fills with as much as there is (-u: with one
 * message a read), nbrecv likewise with MSG_DONTWAIT. Each reply is checked to be its caller's own.
 *
 * A round is a process of its own, so that a library that locks up costs that round and not the run: it warms
 * up for a fifth of the time, then counts between two looks at the threads' counters. Printed for each load:
 * the median, least and most of the rounds, their unit, how many calls the slowest thread made for each of the
 * fastest's (1 is fair), and context switches a call in the calling process (the last two: medians).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fnmatch.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <mux.h>

enum {
	MSGSIZE = 64,
	TAGAT = 5,
	PAYLOADAT = 8,
	BUFFER = 64 * 1024,
	OUTSTANDING = 64,
	MAXTHREADS = 1000,
	MORETAGS = 1000,
	STACK = 128 * 1024,
	MAXROUNDS = 99,
	PATIENCE = 15 /* seconds beyond a round's own before it counts as stuck */
};

typedef struct Msg Msg;
typedef struct Conn Conn;
typedef struct Worker Worker;
typedef struct Load Load;
typedef struct Result Result;

struct Msg {
	unsigned char b[MSGSIZE];
	Msg *next; /* mem: the list; not sent */
};

struct Conn {
	Mux mux;
	int fd;
	int sofar, end; /* what of buf is still to be handed out */
	unsigned char buf[BUFFER];
	Msg *head, **tail; /* mem */
};

struct Worker {
	_Alignas(128) atomic_ulong calls;
	atomic_int ready; /* floor: the futex */
	unsigned index;
	uint64_t serial;
	Msg reply; /* floor */
	pthread_t thread;
	void (*loop)(Worker *);
};

struct Load {
	const char *name;
	int threads;
	void (*setup)(int threads);
	void (*loop)(Worker *);
	int nanoseconds; /* says ns a call rather than calls a second */
};

struct Result {
	double value, fair, switches;
};

static struct {
	int rounds, json, unbuffered;
	double seconds;
	const char *only;
} opt = {5, 0, 0, 1.0, "*"};

static Conn conn;
static Worker workers[MAXTHREADS];
static atomic_int stopped;

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void nap(double seconds)
{
	struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static int running(void)
{
	return !atomic_load_explicit(&stopped, memory_order_relaxed);
}

/* Only its own worker writes a counter, so it need not be added to atomically. */
static void count(Worker *w)
{
	unsigned long n = atomic_load_explicit(&w->calls, memory_order_relaxed);

	atomic_store_explicit(&w->calls, n + 1, memory_order_relaxed);
}

/* messages */

static void fillmsg(Msg *m, Worker *w)
{
	uint64_t payload[2] = {w->index, ++w->serial};

	memset(m->b, 0, sizeof m->b);
	m->b[0] = MSGSIZE;
	memcpy(m->b + PAYLOADAT, payload, sizeof payload);
}

static void checkmsg(const Msg *m, const Worker *w, uint64_t serial)
{
	uint64_t payload[2];

	if (m == NULL)
		die("a call ended without a reply");
	memcpy(payload, m->b + PAYLOADAT, sizeof payload);
	if (payload[0] != w->index || payload[1] != serial) {
		errno = EPROTO;
		die("somebody else's reply");
	}
}

static void puttag(Msg *m, unsigned tag)
{
	m->b[TAGAT] = tag & 0xff;
	m->b[TAGAT + 1] = tag >> 8 & 0xff;
}

static unsigned tagof(const Msg *m)
{
	return m->b[TAGAT] | m->b[TAGAT + 1] << 8;
}

static int muxgettag(Mux *mux, void *msg)
{
	(void)mux;
	return (int)tagof(msg);
}

static int muxsettag(Mux *mux, void *msg, unsigned tag)
{
	(void)mux;
	puttag(msg, tag);
	return 0;
}

static Msg *newmsg(void)
{
	Msg *m = malloc(sizeof *m);

	if (m == NULL)
		die("malloc");
	return m;
}

/* the transport in memory */

static int memsend(Mux *mux, void *msg)
{
	Conn *c = mux->aux;
	Msg *copy = newmsg();

	memcpy(copy->b, ((Msg *)msg)->b, MSGSIZE);
	copy->next = NULL;
	*c->tail = copy;
	c->tail = &copy->next;
	return 0;
}

static void *memrecv(Mux *mux)
{
	Conn *c = mux->aux;
	Msg *m = c->head;

	if (m == NULL)
		return NULL;
	c->head = m->next;
	if (c->head == NULL)
		c->tail = &c->head;
	return m;
}

/* the transport over a descriptor */

static void writeall(int fd, const void *v, size_t n)
{
	const char *p = v;
	ssize_t m;

	for (; n > 0; p += m, n -= m) {
		m = write(fd, p, n);
		if (m <= 0)
			die("write");
	}
}

static int fdsend(Mux *mux, void *msg)
{
	Conn *c = mux->aux;

	writeall(c->fd, ((Msg *)msg)->b, MSGSIZE);
	return 0;
}

/* Reads what there is; what recv(2) says. */
static ssize_t fill(Conn *c, int flags)
{
	int left = c->end - c->sofar;
	ssize_t n;

	memmove(c->buf, c->buf + c->sofar, left);
	c->sofar = 0;
	c->end = left;
	n = recv(c->fd, c->buf + left, opt.unbuffered ? MSGSIZE - left : BUFFER - left, flags);
	if (n > 0)
		c->end += n;
	return n;
}

static Msg *take(Conn *c)
{
	Msg *m = newmsg();

	memcpy(m->b, c->buf + c->sofar, MSGSIZE);
	c->sofar += MSGSIZE;
	return m;
}

static void *fdrecv(Mux *mux)
{
	Conn *c = mux->aux;

	while (c->end - c->sofar < MSGSIZE)
		if (fill(c, 0) <= 0)
			return NULL;
	return take(c);
}

static int fdnbrecv(Mux *mux, void **reply)
{
	Conn *c = mux->aux;
	ssize_t n;

	*reply = NULL;
	while (c->end - c->sofar < MSGSIZE) {
		n = fill(c, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return 1;
	}
	*reply = take(c);
	return 1;
}

/* A child that reads as much as there is and writes it back at once, until the other end is closed. */
static void echo(int fd)
{
	static char buf[BUFFER];
	ssize_t n, m, sofar;

	while ((n = read(fd, buf, sizeof buf)) > 0)
		for (sofar = 0; sofar < n; sofar += m) {
			m = write(fd, buf + sofar, n - sofar);
			if (m <= 0)
				_exit(0);
		}
	_exit(0);
}

static int startecho(void)
{
	int fd[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
		die("socketpair");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(fd[0]);
		echo(fd[1]);
	}
	close(fd[1]);
	return fd[0];
}

/* setting a load up */

static void initmux(int threads)
{
	Mux *m = &conn.mux;

	m->mintag = 0;
	m->maxtag = MORETAGS + threads;
	m->gettag = muxgettag;
	m->settag = muxsettag;
	m->aux = &conn;
	muxinit(m);
}

static void setupmem(int threads)
{
	conn.tail = &conn.head;
	conn.mux.send = memsend;
	conn.mux.recv = memrecv;
	initmux(threads);
}

static void setupecho(int threads)
{
	conn.fd = startecho();
	conn.mux.send = fdsend;
	conn.mux.recv = fdrecv;
	conn.mux.nbrecv = fdnbrecv;
	initmux(threads);
}

static void setupprocs(int threads)
{
	setupecho(threads);
	muxprocs(&conn.mux);
}

/* What each thread does until it is told to stop. */

static void muxloop(Worker *w)
{
	Msg request, *reply;

	while (running()) {
		fillmsg(&request, w);
		reply = muxrpc(&conn.mux, &request);
		checkmsg(reply, w, w->serial);
		free(reply);
		count(w);
	}
}

static void memloop(Worker *w)
{
	Msg *request, *reply;

	while (running()) {
		request = newmsg();
		fillmsg(request, w);
		reply = muxrpc(&conn.mux, request);
		checkmsg(reply, w, w->serial);
		free(request);
		free(reply);
		count(w);
	}
}

static void memfloorloop(Worker *w)
{
	Msg *request, *reply;

	while (running()) {
		request = newmsg();
		fillmsg(request, w);
		puttag(request, 0);
		memsend(&conn.mux, request);
		reply = memrecv(&conn.mux);
		if (tagof(reply) != 0)
			die("tag");
		checkmsg(reply, w, w->serial);
		free(request);
		free(reply);
		count(w);
	}
}

static Msg *finish(Muxrpc *rpc)
{
	struct pollfd p = {conn.fd, POLLIN, 0};
	void *reply;

	while (!muxrpccanfinish(rpc, &reply))
		poll(&p, 1, -1);
	return reply;
}

static Muxrpc *start(Worker *w, Msg *request)
{
	Muxrpc *rpc;

	fillmsg(request, w);
	rpc = muxrpcstart(&conn.mux, request);
	if (rpc == NULL)
		die("muxrpcstart");
	return rpc;
}

static void asyncloop(Worker *w)
{
	Muxrpc *rpc[OUTSTANDING];
	Msg request, *reply;
	int i;

	for (i = 0; i < OUTSTANDING; i++)
		rpc[i] = start(w, &request);
	for (i = 0; running(); i = (i + 1) % OUTSTANDING) {
		reply = finish(rpc[i]);
		checkmsg(reply, w, w->serial - OUTSTANDING + 1);
		free(reply);
		count(w);
		rpc[i] = start(w, &request);
	}
}

/* the floors */

static void onefloorloop(Worker *w)
{
	Msg request, *reply;

	while (running()) {
		fillmsg(&request, w);
		fdsend(&conn.mux, &request);
		reply = fdrecv(&conn.mux);
		checkmsg(reply, w, w->serial);
		free(reply);
		count(w);
	}
}

/* What asyncloop does, its replies being known to come in order. */
static void asyncfloorloop(Worker *w)
{
	struct pollfd p = {conn.fd, POLLIN, 0};
	Msg request;
	void *reply;
	int i;

	for (i = 0; i < OUTSTANDING; i++) {
		fillmsg(&request, w);
		fdsend(&conn.mux, &request);
	}
	while (running()) {
		while (!fdnbrecv(&conn.mux, &reply))
			poll(&p, 1, -1);
		checkmsg(reply, w, w->serial - OUTSTANDING + 1);
		free(reply);
		count(w);
		fillmsg(&request, w);
		fdsend(&conn.mux, &request);
	}
}

static void futex(atomic_int *word, int op, int value)
{
	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* No lock round the write: so short a one is a single buffer to the kernel, and goes in whole. */
static void floorloop(Worker *w)
{
	Msg request;

	while (running()) {
		fillmsg(&request, w);
		puttag(&request, w->index);
		atomic_store(&w->ready, 0);
		fdsend(&conn.mux, &request);
		while (!atomic_load(&w->ready))
			futex(&w->ready, FUTEX_WAIT, 0);
		checkmsg(&w->reply, w, w->serial);
		count(w);
	}
}

static void *floorreader(void *v)
{
	Msg *m;
	Worker *w;

	(void)v;
	while ((m = fdrecv(&conn.mux)) != NULL) {
		w = &workers[tagof(m)];
		w->reply = *m;
		free(m);
		atomic_store(&w->ready, 1);
		futex(&w->ready, FUTEX_WAKE, 1);
	}
	return NULL;
}

static pthread_t newthread(void *(*f)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	errno = pthread_create(&t, &attr, f, arg);
	if (errno != 0)
		die("pthread_create");
	pthread_attr_destroy(&attr);
	return t;
}

static void setupfloor(int threads)
{
	setupecho(threads);
	if (threads > 1)
		pthread_detach(newthread(floorreader, NULL));
}

static const Load loads[] = {
	{"mem-1", 1, setupmem, memloop, 1},
	{"mem-floor", 1, setupmem, memfloorloop, 1},
	{"echo-1", 1, setupecho, muxloop, 0},
	{"echo-8", 8, setupecho, muxloop, 0},
	{"echo-64", 64, setupecho, muxloop, 0},
	{"echo-1000", 1000, setupecho, muxloop, 0},
	{"procs-8", 8, setupprocs, muxloop, 0},
	{"async-64", 1, setupecho, asyncloop, 0},
	{"floor-async", 1, setupfloor, asyncfloorloop, 0},
	{"floor-1", 1, setupfloor, onefloorloop, 0},
	{"floor-8", 8, setupfloor, floorloop, 0},
	{"floor-64", 64, setupfloor, floorloop, 0},
	{"floor-1000", 1000, setupfloor, floorloop, 0},
};

/* one round, in a process of its own */

static void *work(void *v)
{
	Worker *w = v;

	w->loop(w);
	return NULL;
}

static void startworkers(const Load *l)
{
	int i;

	for (i = 0; i < l->threads; i++) {
		workers[i].index = i;
		workers[i].loop = l->loop;
		workers[i].thread = newthread(work, &workers[i]);
	}
}

static void stopworkers(const Load *l)
{
	int i;

	atomic_store(&stopped, 1);
	for (i = 0; i < l->threads; i++)
		pthread_join(workers[i].thread, NULL);
}

static void look(const Load *l, unsigned long *calls)
{
	int i;

	for (i = 0; i < l->threads; i++)
		calls[i] = atomic_load_explicit(&workers[i].calls, memory_order_relaxed);
}

static long switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_nvcsw + u.ru_nivcsw;
}

/* Turns two looks at the counters into calls made, and how the threads shared them. */
static unsigned long tally(const Load *l, unsigned long *before, unsigned long *after, double *fair)
{
	unsigned long n, least = -1UL, most = 0, sum = 0;
	int i;

	for (i = 0; i < l->threads; i++) {
		n = after[i] - before[i];
		sum += n;
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	*fair = most > 0 ? (double)least / most : 0;
	return sum;
}

static Result measure(const Load *l)
{
	static unsigned long before[MAXTHREADS], after[MAXTHREADS];
	unsigned long calls;
	double elapsed;
	long csw;
	Result r;

	l->setup(l->threads);
	startworkers(l);
	nap(opt.seconds / 5);
	elapsed = now();
	csw = switches();
	look(l, before);
	nap(opt.seconds);
	look(l, after);
	csw = switches() - csw;
	elapsed = now() - elapsed;
	stopworkers(l);
	calls = tally(l, before, after, &r.fair);
	r.value = l->nanoseconds ? elapsed * 1e9 / (calls + !calls) : calls / elapsed;
	r.switches = (double)csw / (calls + !calls);
	return r;
}

static int readresult(int fd, Result *r)
{
	struct pollfd p = {fd, POLLIN, 0};
	int ms = (int)((opt.seconds * 1.2 + PATIENCE) * 1000);

	return poll(&p, 1, ms) == 1 && read(fd, r, sizeof *r) == sizeof *r;
}

/* 0, or -1 when the round was stuck or died. */
static int isolated(const Load *l, Result *r)
{
	int fd[2], ok;
	pid_t pid;

	if (pipe(fd) < 0)
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(fd[0]);
		*r = measure(l);
		writeall(fd[1], r, sizeof *r);
		_exit(0);
	}
	close(fd[1]);
	ok = readresult(fd[0], r);
	close(fd[0]);
	if (!ok)
		kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return ok ? 0 : -1;
}

/* all rounds of a load, and what is said of them */

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, n, sizeof v[0], ascending);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void report(const Load *l, int n, double *value, double *fair, double *csw)
{
	const char *unit = l->nanoseconds ? "ns/call" : "calls/s";
	const char *form = "%-11s %12.1f %12.1f %12.1f  %s  fair %.2f  switches %.2f\n";
	double mid = median(value, n);

	if (opt.json)
		form = "{\"load\":\"%s\",\"median\":%.1f,\"min\":%.1f,\"max\":%.1f,\"unit\":\"%s\","
		       "\"fair\":%.3f,\"switches\":%.3f}\n";
	printf(form, l->name, mid, value[0], value[n - 1], unit, median(fair, n), median(csw, n));
	fflush(stdout);
}

static int runload(const Load *l)
{
	double value[MAXROUNDS], fair[MAXROUNDS], csw[MAXROUNDS];
	int i, n = 0;
	Result r;

	for (i = 0; i < opt.rounds; i++) {
		if (isolated(l, &r) < 0) {
			fprintf(stderr, "bench: %s: round %d: stuck or dead\n", l->name, i + 1);
			continue;
		}
		value[n] = r.value;
		fair[n] = r.fair;
		csw[n++] = r.switches;
	}
	if (n > 0)
		report(l, n, value, fair, csw);
	return n == opt.rounds ? 0 : -1;
}

static void usage(void)
{
	fprintf(stderr, "usage: bench [-jLu] [-r rounds] [-s seconds] [-l load-pattern]\n");
	exit(2);
}

static void listloads(void)
{
	size_t i;

	for (i = 0; i < sizeof loads / sizeof loads[0]; i++)
		puts(loads[i].name);
	exit(0);
}

static void options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "jLur:s:l:")) != -1) {
		switch (c) {
		case 'j': opt.json = 1; break;
		case 'L': listloads(); break;
		case 'u': opt.unbuffered = 1; break;
		case 'r': opt.rounds = atoi(optarg); break;
		case 's': opt.seconds = atof(optarg); break;
		case 'l': opt.only = optarg; break;
		default: usage();
		}
	}
	if (optind != argc || opt.rounds < 1 || opt.rounds > MAXROUNDS || opt.seconds <= 0)
		usage();
}

int main(int argc, char **argv)
{
	size_t i;
	int bad = 0;

	options(argc, argv);
	for (i = 0; i < sizeof loads / sizeof loads[0]; i++)
		if (fnmatch(opt.only, loads[i].name, 0) == 0)
			bad |= runload(&loads[i]);
	return bad ? 1 : 0;
}
