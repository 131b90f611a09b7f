/*
 * signals.c: a constant stream of signals to all threads that accept them, with handlers without SA_RESTART: every
 * blocking system call is interrupted. The library continues its own waits; the program's functions continue, or
 * fail with EINTR, which becomes the errno of that call. A caller that waits for a reply waits until it arrives,
 * and a caller with a deadline does not wake before it.
 */
#define _GNU_SOURCE 1
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "fault.h"
#include "scene.h"
#include "steps.h"
#include "tap.h"

enum { NSLEEPER = 4, MS = 150, SOME = 300 };

static unsigned long caught;	/* how often a handler ran */
static int stop;

static void
handler(int sig)
{
	(void)sig;
	__atomic_add_fetch(&caught, 1, __ATOMIC_SEQ_CST);
}

static unsigned long
count(void)
{
	return __atomic_load_n(&caught, __ATOMIC_SEQ_CST);
}

/* signals each other thread in turn; the library's procs block the signals */
static void *
storm(void *v)
{
	struct timespec moment = {0, 50000};
	struct dirent *e;
	sigset_t all;
	int me, tid, n;
	DIR *d;

	(void)v;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	me = (int)syscall(SYS_gettid);
	for (n = 0; !__atomic_load_n(&stop, __ATOMIC_SEQ_CST); n++) {
		d = opendir("/proc/self/task");
		if (d == NULL)
			continue;
		while ((e = readdir(d)) != NULL) {
			tid = atoi(e->d_name);
			if (tid > 0 && tid != me)
				syscall(SYS_tgkill, getpid(), tid, n % 2 ? SIGUSR1 : SIGUSR2);
		}
		closedir(d);
		nanosleep(&moment, NULL);
	}
	return NULL;
}

static void
nothing(Run *r)
{
	(void)r;
}

/* waits until it is interrupted, and reports that to the library */
static int
interrupted(Client *c, void *msg)
{
	static unsigned n;

	(void)c;
	(void)msg;
	if (__atomic_add_fetch(&n, 1, __ATOMIC_SEQ_CST) % 3 != 0)
		return 0;
	return poll(NULL, 0, 2) < 0 ? -1 : 0;
}

static void
arm(Run *r)
{
	r->c->sending = interrupted;
}

static void
disarm(Run *r)
{
	r->c->sending = NULL;
}

/* every scene, with functions that continue (passes 0), or return EINTR */
static void
plays(int passes)
{
	unsigned bad, failed;
	int i, way;
	Run r;

	bad = failed = 0;
	for (i = 0; i < nscenes; i++)
		for (way = 0; way < NWAY; way++) {
			memset(&r, 0, sizeof r);
			r.arm = passes ? arm : nothing;
			r.disarm = passes ? disarm : nothing;
			r.allowed[0] = r.refuses[0] = passes ? EINTR : 0;
			tap_watch(120, "%s (%s), %s", scenes[i].name, scene_way(way), passes ? "EINTR returned" : "continued");
			scene_run(&r, &scenes[i], way);
			if (r.bad != 0)
				tap_note("%s (%s): %s", scenes[i].name, scene_way(way), r.why);
			bad += r.bad;
			failed += r.failed + r.refused;
		}
	tap_ok(bad == 0, "%d scenes in %d ways under signals, functions %s", nscenes, NWAY, passes ? "that fail with EINTR" : "that continue");
	/* otherwise nothing was interrupted, and the test shows nothing */
	if (passes)
		tap_ok(failed > 0, "%u calls ended with EINTR", failed);
	tap_note("%lu signals so far", count());
}

static long
ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

typedef struct Sleeper Sleeper;
struct Sleeper { Client *c; unsigned id; int result, error, over; long took; };

static void
waits(void *v)
{
	Sleeper *s;
	long begun;

	s = v;
	begun = ms();
	s->result = client_callfor(s->c, T_NEVER, s->id, 0, N, MS);
	s->error = errno;
	s->took = ms() - begun;
}

static void
sleeps(void *v)
{
	Sleeper *s;

	s = v;
	s->result = client_call(s->c, T_ECHO, s->id, s->id, N);
	__atomic_store_n(&s->over, 1, __ATOMIC_SEQ_CST);
}

static void
whole(int procs)
{
	Sleeper s[NSLEEPER];
	Task *t[NSLEEPER];
	Request q[NSLEEPER];
	unsigned long before;
	unsigned i, late, early, over;
	Client *c;
	int peer;

	tap_watch(120, "%s: waits", mode(procs));
	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	for (i = 0; i < NSLEEPER; i++) {
		s[i].c = c;
		s[i].id = ID + i;
		t[i] = task_start(waits, &s[i]);
	}
	for (i = late = early = 0; i < NSLEEPER; i++) {
		task_join(t[i]);
		late += s[i].result == 0 && s[i].error == ETIMEDOUT;
		early += s[i].took < MS;
		peer_read(peer, c->frame);
	}
	tap_ok(late == NSLEEPER && early == 0, "%s: %u calls time out, %u of them too early", mode(procs), late, early);
	for (i = 0; i < NSLEEPER; i++) {
		s[i].over = 0;
		t[i] = task_start(sleeps, &s[i]);
		q[i] = peer_read(peer, c->frame);
	}
	before = count();
	while (count() < before + SOME)
		task_yield();
	for (i = over = 0; i < NSLEEPER; i++)
		over += (unsigned)__atomic_load_n(&s[i].over, __ATOMIC_SEQ_CST);
	tap_ok(over == 0, "%s: after %d signals all callers still wait", mode(procs), SOME);
	for (i = late = 0; i < NSLEEPER; i++)
		peer_answer(peer, c->frame, &q[i]);
	for (i = late = 0; i < NSLEEPER; i++) {
		task_join(t[i]);
		late += s[i].result == 1;
	}
	tap_ok(late == NSLEEPER, "%s: then they get their replies", mode(procs));
	client_hangup(c);
	muxfree(&c->mux);
	client_check(c, mode(procs));
	client_free(c);
	close(peer);
}

/* successful functions do not change errno */
static void
quietly(void)
{
	Muxstats s;
	Client *c;
	int peer, i, same;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	s.size = sizeof s;
	for (i = same = 0; i < 2000; i++) {
		errno = 4711;
		muxstats(&c->mux, &s);
		muxpollfd(&c->mux);
		muxsetorphan(&c->mux, NULL);
		same += errno == 4711;
	}
	muxhangup(&c->mux);
	muxfree(&c->mux);
	tap_ok(same == 2000 && errno == 4711, "successful functions do not change errno");
	client_free(c);
	close(peer);
}

int
task_main(int argc, char **argv)
{
	struct sigaction sa;
	pthread_t t;
	int procs;

	(void)argc;
	(void)argv;
	tap_start("signals", 120);
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = handler;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGUSR2, &sa, NULL);
	quiet_start();
	if (pthread_create(&t, NULL, storm, NULL) != 0)
		abort();
	plays(0);
	plays(1);
	for (procs = 0; procs < 2; procs++)
		whole(procs);
	quietly();
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	pthread_join(t, NULL);
	tap_ok(count() > SOME, "%lu signals were caught", count());
	quiet_end();
	return tap_end();
}
