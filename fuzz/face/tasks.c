/*
 * tasks.c: coroutines, by ucontext, and their clock.  A task that sleeps has a token, which unpark gives it.
 */
#define _GNU_SOURCE 1
#include "tasks.h"

#include <mux.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifdef ASAN
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK = 256 * 1024, STEPS = 200000 };

enum { FREE, READY, WAITS, PARKED, DONE };

typedef struct Task Task;
struct Task {
	int state, token;
	int64_t until;
	int (*so)(void *);
	void *soarg;
	void (*body)(void *);
	void *arg;
	ucontext_t context;
	void *fake;
};

static Task tasks[NTASK];
static char stacks[NTASK][STACK] __attribute__((aligned(64)));
static Task *running;
static ucontext_t outside;
#ifdef ASAN
static void *fakeoutside;
static const void *bottom;
static size_t room;
#endif

static const uint8_t *at, *end;
static int64_t clock_now;
static int inside;

unsigned
choice(unsigned n)
{
	return at == end || n == 0 ? 0 : *at++ % n;
}

int
rarely(unsigned n)
{
	return choice(n) == n - 1;
}

int
usedup(void)
{
	return at == end;
}

void
fault(const char *what, ...)
{
	va_list args;

	inside = 0;
	fprintf(stderr, "face: ");
	va_start(args, what);
	vfprintf(stderr, what, args);
	va_end(args);
	fprintf(stderr, "\n");
	abort();
}

void
trace(const char *what, ...)
{
	static int wanted = -1;
	va_list args;

	if (wanted < 0)
		wanted = getenv("FACE_TRACE") != NULL;
	if (!wanted)
		return;
	fprintf(stderr, "%6lld us task %2d: ", (long long)clock_now / 1000, running ? (int)(running - tasks) : -1);
	va_start(args, what);
	vfprintf(stderr, what, args);
	va_end(args);
	fprintf(stderr, "\n");
}

int64_t
now(void)
{
	return clock_now;
}

int __real_clock_gettime(clockid_t, struct timespec *);
int __wrap_clock_gettime(clockid_t, struct timespec *);

/* the clock of the library under test; libFuzzer's own clock is unchanged */
int
__wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	if (!inside || clock != CLOCK_MONOTONIC)
		return __real_clock_gettime(clock, t);
	t->tv_sec = clock_now / 1000000000;
	t->tv_nsec = clock_now % 1000000000;
	return 0;
}

static void
leave(void)
{
	Task *me;
	int e;

	e = errno;	/* each task has its own */
	me = running;
	running = NULL;
#ifdef ASAN
	__sanitizer_start_switch_fiber(me->state == DONE ? NULL : &me->fake, bottom, room);
#endif
	swapcontext(&me->context, &outside);
#ifdef ASAN
	__sanitizer_finish_switch_fiber(me->fake, &bottom, &room);
#endif
	errno = e;
}

static void
begin(void)
{
#ifdef ASAN
	__sanitizer_finish_switch_fiber(NULL, &bottom, &room);
#endif
	running->body(running->arg);
	running->state = DONE;
	leave();
	abort();
}

static void
enter(Task *t)
{
	running = t;
	t->state = READY;
#ifdef ASAN
	__sanitizer_start_switch_fiber(&fakeoutside, stacks[t - tasks], STACK);
#endif
	swapcontext(&outside, &t->context);
#ifdef ASAN
	__sanitizer_finish_switch_fiber(fakeoutside, NULL, NULL);
#endif
}

void
tasks_begin(const uint8_t *bytes, size_t size)
{
	at = bytes;
	end = bytes + size;
	clock_now = 1000000000;
	memset(tasks, 0, sizeof tasks);
}

void
tasks_again(void)
{
	memset(tasks, 0, sizeof tasks);
}

/* the slot of a task that has ended is reused only if no other is free: a late unpark may still arrive for it */
static Task *
vacant(void)
{
	Task *t, *done;

	done = NULL;
	for (t = tasks; t < tasks + NTASK; t++) {
		if (t->state == FREE)
			return t;
		if (t->state == DONE)
			done = t;
	}
	return done;
}

int
task_start(void (*body)(void *), void *arg)
{
	Task *const t = vacant();

	if (t == NULL)
		return -1;
	t->body = body;
	t->arg = arg;
	t->state = READY;
	getcontext(&t->context);
	t->context.uc_stack.ss_sp = stacks[t - tasks];
	t->context.uc_stack.ss_size = STACK;
	t->context.uc_link = NULL;
	makecontext(&t->context, begin, 0);
	return 0;
}

void
task_yield(void)
{
	leave();
}

void
task_wait(int (*so)(void *), void *arg)
{
	while (!so(arg)) {
		running->so = so;
		running->soarg = arg;
		running->state = WAITS;
		leave();
	}
}

int
tasks_left(void)
{
	Task *t;
	int n;

	n = 0;
	for (t = tasks; t < tasks + NTASK; t++)
		n += t->state != FREE && t->state != DONE;
	return n;
}

static int
isable(Task *t)
{
	switch (t->state) {
	case READY:
		return 1;
	case WAITS:
		return t->so(t->soarg);
	case PARKED:
		return t->token || clock_now >= t->until;
	default:
		return 0;
	}
}

int
tasks_run(void)
{
	static int turn;
	Task *able[NTASK], *t;
	unsigned n, steps, which;
	int64_t soonest;

	inside = 1;
	for (steps = 0; steps < STEPS; steps++) {
		n = 0;
		soonest = NEVER;
		for (t = tasks; t < tasks + NTASK; t++) {
			if (isable(t))
				able[n++] = t;
			if (t->state == PARKED && t->until < soonest)
				soonest = t->until;
		}
		if (n > 0) {
			which = usedup() ? (unsigned)turn++ : choice(256);
			if (!usedup() && which >= 240)
				clock_now += (int64_t)1000000 << (which & 7);
			enter(able[which % n]);
		} else if (soonest != NEVER) {
			clock_now = soonest;
		} else {
			inside = 0;
			turn = 0;
			return tasks_left() == 0;
		}
	}
	fault("the run does not end");
}

/* --- the table */

static void *
task(void)
{
	return running;
}

static void
parkuntil(void *v, int64_t until)
{
	Task *t;

	t = v;
	if (t != running)
		fault("park of another task");
	if (!t->token && rarely(16))
		return;	/* an early return, which is allowed */
	if (!t->token) {
		trace("sleeps%s", until == NEVER ? "" : " with a deadline");
		t->until = until;
		t->state = PARKED;
		leave();
		trace("is awake");
	}
	t->token = 0;
}

static void
park(void *v)
{
	parkuntil(v, NEVER);
}

static int
parkfor(void *v, int ms)
{
	if (ms < 0)
		fault("parkfor %d", ms);
	parkuntil(v, clock_now + (int64_t)ms * 1000000);
	return 0;
}

static void
unpark(void *v)
{
	((Task *)v)->token = 1;
	if (rarely(8))
		task_yield();
}

static int
start(void (*body)(void *), void *arg)
{
	int r;

	r = rarely(8) ? -1 : task_start(body, arg);
	trace(r < 0 ? "a proc cannot be started" : "a proc is started");
	return r;
}

void
tasks_install(void)
{
	static Muxsched sched = {sizeof sched, task, park, unpark, start, parkfor};

	if (muxsetsched(&sched) < 0)
		fault("muxsetsched");
}
