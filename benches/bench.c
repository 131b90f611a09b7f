/*
 * bench: measures the cost of a call through a multiplexor. It uses only the public functions of libmux, so it can
 * be linked with any libmux.a, ours or a peer's. It runs one load once and prints one line for each figure: name,
 * unit and value, separated by tabs. compare.sh runs it in turns with both libraries and with the floors. The loads
 * are in loads.c; docs/results.md describes them.
 *
 *	bench [-fu] [-s seconds] [-n calls] load
 *	bench [-f] -L
 *
 * -f runs the floor of the load: the same work without a multiplexor. -u reads one message at a time instead of all
 * available messages. -n makes this number of calls in the main thread and prints nothing, for callgrind. -L lists
 * the loads, with -f only those with a floor.
 *
 * A load warms up for a fifth of its time. Its calls are then the difference between two readings of the threads'
 * counters. An alarm ends a load that makes no progress, so that it costs one round and not the run.
 */
#include "bench.h"
#include <signal.h>
#include <time.h>
#include <sys/resource.h>
#include <sys/time.h>

enum {
	PATIENCE = 10 /* seconds that a round may take beyond its time before it counts as stuck */
};

Conn conn;
Worker workers[MAXTHREADS];
atomic_int stopped;
int unbuffered;

static int byhand; /* -f */
static double seconds = 1;

void
die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* Ends the program because the library or the system lacks what the load measures, which is not a failure. */
void
cannot(const char *what)
{
	fprintf(stderr, "bench: no %s here\n", what);
	_exit(CANNOT);
}

double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

void
nap(double s)
{
	struct timespec t = {(time_t)s, (long)((s - (time_t)s) * 1e9)};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

int
running(void)
{
	return !atomic_load_explicit(&stopped, memory_order_relaxed);
}

/* A counter is written by its own worker only, so an atomic addition is not necessary. */
void
count(Worker *w)
{
	unsigned long n = atomic_load_explicit(&w->calls, memory_order_relaxed) + 1;

	atomic_store_explicit(&w->calls, n, memory_order_relaxed);
	if (n == w->limit)
		atomic_store(&stopped, 1);
}

void
figure(const char *name, const char *unit, double value)
{
	printf("%s\t%s\t%.10g\n", name, unit, value);
}

static void
work(void *v)
{
	Worker *w = v;

	w->loop(w);
}

/* Initialises a worker. The first one may have a loop of its own. */
static void
prepare(const Load *l, int i)
{
	Loop *lone = byhand ? l->lonefloor : l->lone;

	workers[i].index = i;
	workers[i].load = l;
	workers[i].loop = i == 0 && lone ? lone : byhand ? l->floorloop : l->loop;
}

static void
look(const Load *l, unsigned long *calls)
{
	int i;

	for (i = 0; i < l->threads; i++)
		calls[i] = atomic_load_explicit(&workers[i].calls, memory_order_relaxed);
}

/* Returns true if a call was made. On a busy machine a short time may pass without one. */
static int
any(const Load *l, unsigned long *before, unsigned long *after)
{
	int i, n = l->lone ? 1 : l->threads;

	for (i = 0; i < n; i++)
		if (after[i] - before[i] >= (l->lone ? 10 : 1))
			return 1;
	return 0;
}

static long
switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_nvcsw + u.ru_nivcsw;
}

/* Prints the figures of two readings of the counters. The few calls of a lone caller are left out. */
static void
tell(const Load *l, unsigned long *before, unsigned long *after, double elapsed, long csw)
{
	unsigned long n, least = -1UL, most = 0, sum = 0;
	int i;

	for (i = l->lone != NULL; i < l->threads; i++) {
		n = after[i] - before[i];
		sum += n;
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	if (l->threads == 1 && l->lone)
		return;
	if (l->cost)
		figure("cost", "ns/call", elapsed * 1e9 / (sum + !sum));
	else
		figure("rate", "calls/s", sum / elapsed);
	if (l->threads > 1)
		figure("fairness", "slowest/fastest", most ? (double)least / most : 0);
	if (!l->cost)
		figure("switches", "per call", (double)csw / (sum + !sum));
}

/* A load in memory has only one thread, as a program with one thread would: a timer reads the counter. */
static volatile double ticked[2];
static unsigned long seen[2];
static volatile sig_atomic_t ticks;

static void
tick(int sig)
{
	int i = ticks;

	(void)sig;
	if (i > 1)
		return;
	ticked[i] = now();
	seen[i] = atomic_load_explicit(&workers[0].calls, memory_order_relaxed);
	ticks = i + 1;
	if (i == 1)
		atomic_store(&stopped, 1);
}

static void
idler(void *v)
{
	(void)v;
	for (;;)
		pause();
}

static void
measurealone(const Load *l, double s)
{
	struct itimerval t;

	if (l->beside)
		newthread(idler, NULL);
	prepare(l, 0);
	signal(SIGPROF, tick);
	t.it_value.tv_sec = (long)(s / 5);
	t.it_value.tv_usec = (long)((s / 5 - (long)(s / 5)) * 999999) + 1;
	t.it_interval.tv_sec = (long)s;
	t.it_interval.tv_usec = (long)((s - (long)s) * 1e6);
	if (t.it_interval.tv_usec == 0 && t.it_interval.tv_sec == 0)
		t.it_interval.tv_usec = 1;
	setitimer(ITIMER_PROF, &t, NULL);
	workers[0].loop(&workers[0]);
	tell(l, &seen[0], &seen[1], ticked[1] - ticked[0], 0);
}

static void
measure(const Load *l)
{
	static unsigned long before[MAXTHREADS], after[MAXTHREADS];
	double elapsed, s = seconds * (l->stretch ? l->stretch : 1);
	long csw;
	int i;

	alarm((unsigned)(s * 1.2) + PATIENCE);
	if (l->whole) {
		l->whole(l);
		return;
	}
	(byhand ? l->floorsetup : l->setup)(l);
	if (l->cost) {
		measurealone(l, s);
		return;
	}
	for (i = 0; i < l->threads; i++) {
		prepare(l, i);
		newthread(work, &workers[i]);
	}
	nap(s / 5);
	elapsed = now();
	csw = switches();
	look(l, before);
	do {
		nap(s);
		look(l, after);
	} while (!any(l, before, after));
	csw = switches() - csw;
	elapsed = now() - elapsed;
	/* the threads are not joined; they end with the process */
	atomic_store(&stopped, 1);
	tell(l, before, after, elapsed, csw);
	if (l->report)
		l->report(l);
}

static void
makecalls(const Load *l, unsigned long calls)
{
	if (l->whole || l->threads != 1) {
		fprintf(stderr, "bench: %s is not one thread's\n", l->name);
		exit(2);
	}
	(byhand ? l->floorsetup : l->setup)(l);
	prepare(l, 0);
	workers[0].limit = calls;
	workers[0].loop(&workers[0]);
}

static int
usage(void)
{
	fprintf(stderr, "usage: bench [-fu] [-s seconds] [-n calls] load; bench [-f] -L\n");
	return 2;
}

static int
has(const Load *l)
{
	return !byhand || l->floorloop != NULL;
}

static int
list(void)
{
	const Load *l;

	for (l = loads; l->name; l++)
		if (has(l))
			puts(l->name);
	return 0;
}

int
bench(int argc, char **argv)
{
	unsigned long calls = 0;
	int c, listing = 0;
	const Load *l;

	while ((c = getopt(argc, argv, "fLun:s:")) != -1) {
		switch (c) {
		case 'f': byhand = 1; break;
		case 'L': listing = 1; break;
		case 'u': unbuffered = 1; break;
		case 'n': calls = strtoul(optarg, NULL, 10); break;
		case 's': seconds = atof(optarg); break;
		default: return usage();
		}
	}
	if (listing)
		return list();
	if (optind != argc - 1 || seconds <= 0)
		return usage();
	for (l = loads; l->name && strcmp(l->name, argv[optind]) != 0; l++)
		;
	if (!l->name || !has(l)) {
		fprintf(stderr, "bench: no such load: %s\n", argv[optind]);
		return 2;
	}
	if (calls > 0)
		makecalls(l, calls);
	else
		measure(l);
	return 0;
}
