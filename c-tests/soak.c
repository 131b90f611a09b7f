/*
 * soak.c: no resource grows. Each round runs every scene of lib/scenes.c in each way: Muxes are made and freed,
 * procs start and end, calls time out, are cancelled and hung up, connections break and are replaced, with threads,
 * coroutines or an installed scheduler. One Mux exists as long as the test, through many connections. Memory,
 * descriptors and threads are sampled from time to time, and must not grow after the first rounds.
 *
 * malloc keeps some freed memory for each thread, counts it as allocated, and needs a long time until it has some
 * of each size. Slow growth could not be distinguished from that, so this cache is disabled.
 *
 *	soak [rounds [leak]]	SOAK_SECONDS in the environment: a time instead of rounds
 *
 * With leak, one of mux, fd, thread and heap, it leaks one of these in each round, and must fail.
 */
#define _GNU_SOURCE 1
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "fault.h"
#include "scene.h"
#include "steps.h"
#include "tap.h"

enum { NTASK = 6, NCALL = 20, LINES = 10, LOST = 16384 };

typedef struct Sample Sample;
struct Sample {
	long rounds, seconds;
	long blocks, bytes;	/* the library's */
	long heap;	/* everything that malloc has allocated */
	long rss;	/* kB */
	long fds, threads;
};

/* permitted growth over the first rounds; a leak in every round is larger in the end */
static const Sample bound = {.blocks = 8, .bytes = 32768, .heap = 65536, .rss = 16384, .fds = 4, .threads = 4};

/* executes itself again, with a malloc without a cache for each thread: it reads that setting only before main */
static void
unpooled(char **argv)
{
	static const char tunable[] = "glibc.malloc.tcache_count=0";
	const char *s;

	s = getenv("GLIBC_TUNABLES");
	if (s != NULL && strstr(s, tunable) != NULL)
		return;
	setenv("GLIBC_TUNABLES", tunable, 1);
	execv("/proc/self/exe", argv);
}

static void
nothing(Run *r)
{
	(void)r;
}

static long
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static long
entries(const char *dir)
{
	struct dirent *e;
	DIR *d;
	long n;

	d = opendir(dir);
	if (d == NULL)
		return 0;
	for (n = 0; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static long
resident(void)
{
	long size, pages;
	FILE *f;
	int n;

	f = fopen("/proc/self/statm", "r");
	if (f == NULL)
		return 0;
	n = fscanf(f, "%ld %ld", &size, &pages);
	fclose(f);
	return n == 2 ? pages * (sysconf(_SC_PAGESIZE) / 1024) : 0;
}

static Sample
sample(long rounds, long seconds)
{
	Sample s;

	s.rounds = rounds;
	s.seconds = seconds;
	s.blocks = fault_live();
	s.bytes = fault_bytes();
	s.heap = 0;
#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 33)
	s.heap = (long)mallinfo2().uordblks;
#endif
#endif
	s.rss = resident();
	s.fds = entries("/proc/self/fd");
	s.threads = entries("/proc/self/task");
	return s;
}

/* threads that are ending may still exist; the test waits only for them */
static int
grown(const Sample *base, Sample *s)
{
	int i, more;

	for (i = 0; i < 20000; i++) {
		*s = sample(s->rounds, s->seconds);
		more = s->blocks > base->blocks + bound.blocks || s->bytes > base->bytes + bound.bytes ||
		    s->fds > base->fds + bound.fds || s->threads > base->threads + bound.threads ||
		    s->heap > base->heap + bound.heap || s->rss > base->rss + bound.rss;
		if (!more)
			return 0;
		task_yield();
	}
	return 1;
}

static void
line(const char *what, const Sample *s)
{
	tap_note("%-6s %7ld rounds %5ld s: %4ld blocks %7ld bytes of the library, heap %8ld, rss %6ld kB, %3ld descriptors, %3ld threads",
	    what, s->rounds, s->seconds, s->blocks, s->bytes, s->heap, s->rss, s->fds, s->threads);
}

/* the Mux that stays */
static Run keeper;
static long kept;

static void
keeps(Run *r, unsigned i)
{
	Muxrpc *x;
	unsigned j;

	for (j = 0; j < NCALL; j++)
		switch ((i + j) % 5) {
		case 0:
			scene_finish(r, scene_start(r, T_ECHO, 1000 + j), T_ECHO, 1000 + j);
			break;
		case 1:
			scene_call(r, T_TWICE, 1000 + j, -1);
			break;
		case 2:
			scene_call(r, j % 10 == 0 ? T_NEVER : T_ECHO, 1000 + j, j % 10 == 0 ? 1 : 600000);
			break;
		case 3:
			x = scene_start(r, T_ECHO, 1000 + j);
			if (x != NULL)
				muxrpccancel(x);
			break;
		default:
			scene_call(r, T_ECHO, 1000 + j, -1);
		}
}

static const Scene keeping = {.name = "the Mux that stays", .ends = {ETIMEDOUT, ECONNRESET, EPIPE, EAGAIN}};

/* a part of its life */
static int
keep(long round)
{
	Run *r;

	r = &keeper;
	tap_watch(120, "the Mux that stays");
	scene_stage(r);
	if (round % 4 == 3)
		muxprocs(&r->c->mux);
	if (round % 4 == 0)
		muxpollfd(&r->c->mux);
	scene_tasks(r, NTASK, keeps);
	kept++;
	/* a new connection each time, which frees the tags of calls that have timed out */
	scene_renew(r);
	client_dropstrays(r->c);
	if (r->bad != 0)
		tap_ok(0, "the Mux that stays: %s", r->why);
	return r->bad == 0;
}

static int
rounds(void)
{
	Run r;
	int i, way;

	for (i = 0; i < nscenes; i++)
		for (way = 0; way < NWAY; way++) {
			memset(&r, 0, sizeof r);
			r.arm = r.disarm = nothing;
			tap_watch(120, "%s (%s)", scenes[i].name, scene_way(way));
			scene_run(&r, &scenes[i], way);
			if (r.bad != 0) {
				tap_ok(0, "%s (%s): %s", scenes[i].name, scene_way(way), r.why);
				return 0;
			}
		}
	return 1;
}

/* the leak that must be detected */
static void
leak(const char *what)
{
	static void *volatile lost;
	int peer;
	Client *c;

	if (strcmp(what, "heap") == 0) {
		lost = malloc(LOST);
		(void)lost;
		return;
	}
	c = client_pair(&peer, &frame_9p, 0, 256, strcmp(what, "thread") == 0);
	if (strcmp(what, "fd") == 0)
		muxpollfd(&c->mux);
	client_start(c, T_ECHO, ID, ID, N);
}

int
task_main(int argc, char **argv)
{
	long limit, seconds, begun, i, next, bad;
	const char *s;
	Sample base, last;

	unpooled(argv);
	tap_start("soak", 120);
	limit = argc > 1 ? atol(argv[1]) : 12;
	s = getenv("SOAK_SECONDS");
	seconds = s != NULL ? atol(s) : 0;
	quiet_start();
	keeper.arm = keeper.disarm = nothing;
	scene_open(&keeper, &keeping, DIRECT);
	begun = now();
	/* the first rounds, in which everything is created that is created once: a third of them, or a twelfth of
	   the time */
	memset(&base, 0, sizeof base);
	last = base;
	next = 0;
	bad = 0;
	for (i = 0; !bad && (seconds > 0 ? now() - begun < seconds : i < limit); i++) {
		bad = !rounds() || !keep(i);
		if (argc > 2)
			leak(argv[2]);
		last.rounds = i + 1;
		last.seconds = now() - begun;
		if (base.rounds == 0) {
			if (seconds > 0 ? last.seconds * 12 >= seconds : last.rounds * 3 >= limit) {
				base = sample(last.rounds, last.seconds);
				line("base", &base);
				next = seconds > 0 ? last.seconds + seconds / LINES : last.rounds + limit / 4;
			}
			continue;
		}
		if ((seconds > 0 ? last.seconds : last.rounds) < next && i + 1 != limit)
			continue;
		next += seconds > 0 ? seconds / LINES : limit / 4 + 1;
		if (grown(&base, &last)) {
			line("grown", &last);
			tap_ok(0, "memory, descriptors and threads are the same as after %ld rounds", base.rounds);
			bad = 1;
		} else
			line("", &last);
	}
	if (!bad && grown(&base, &last)) {
		line("grown", &last);
		bad = 1;
	}
	line("end", &last);
	tap_ok(!bad, "%ld rounds: memory, descriptors and threads do not grow after the first %ld", last.rounds, base.rounds);
	scene_close(&keeper);
	tap_ok(keeper.bad == 0 && kept > 0, "one Mux has had %ld connections, %u calls%s%s", kept, keeper.good,
	    keeper.bad != 0 ? ": " : "", keeper.why);
	quiet_end();
	return tap_end();
}
