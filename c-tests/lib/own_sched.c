/*
 * own_sched.c: installs a scheduler of the program before main runs, made of pthreads: a task is a lock, a
 * condition and a token. A program that is linked with this file runs as usual, but sleeps through these functions.
 *
 * A task is reused for another thread when its own has ended: a late unpark then wakes the other thread without
 * reason.
 */
#define _GNU_SOURCE 1
#include <mux.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct Sleeper Sleeper;
struct Sleeper {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int token;
	Sleeper *next;
};

typedef struct Started Started;
struct Started {
	void (*body)(void *);
	void *arg;
};

/* shows a test that the scheduler is installed */
extern const int own_sched;
const int own_sched = 1;

static pthread_key_t key;
static pthread_mutex_t spareslock = PTHREAD_MUTEX_INITIALIZER;
static Sleeper *spares;

static void
leaves(void *v)
{
	Sleeper *s;

	s = v;
	pthread_mutex_lock(&spareslock);
	s->next = spares;
	spares = s;
	pthread_mutex_unlock(&spareslock);
}

static void *
task(void)
{
	pthread_condattr_t attr;
	Sleeper *s;

	s = pthread_getspecific(key);
	if (s != NULL)
		return s;
	pthread_mutex_lock(&spareslock);
	s = spares;
	if (s != NULL)
		spares = s->next;
	pthread_mutex_unlock(&spareslock);
	if (s == NULL) {
		s = calloc(1, sizeof *s);
		if (s == NULL)
			abort();
		pthread_mutex_init(&s->lock, NULL);
		pthread_condattr_init(&attr);
		pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
		pthread_cond_init(&s->cond, &attr);
		pthread_condattr_destroy(&attr);
	}
	pthread_setspecific(key, s);
	return s;
}

static void
sleepfor(Sleeper *s, const struct timespec *end)
{
	int r;

	pthread_mutex_lock(&s->lock);
	for (r = 0; !s->token && r == 0;)
		r = end == NULL ? pthread_cond_wait(&s->cond, &s->lock) : pthread_cond_timedwait(&s->cond, &s->lock, end);
	s->token = 0;
	pthread_mutex_unlock(&s->lock);
}

static void
park(void *v)
{
	sleepfor(v, NULL);
}

static int
parkfor(void *v, int ms)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += ms % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	sleepfor(v, &end);
	return 0;
}

static void
unpark(void *v)
{
	Sleeper *s;

	s = v;
	pthread_mutex_lock(&s->lock);
	s->token = 1;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

static void *
run(void *v)
{
	Started s;

	s = *(Started *)v;
	free(v);
	s.body(s.arg);
	return NULL;
}

static int
start(void (*body)(void *), void *arg)
{
	pthread_t t;
	Started *s;

	s = malloc(sizeof *s);
	if (s == NULL)
		return -1;
	s->body = body;
	s->arg = arg;
	if (pthread_create(&t, NULL, run, s) != 0) {
		free(s);
		return -1;
	}
	pthread_detach(t);
	return 0;
}

__attribute__((constructor)) static void
handin(void)
{
	Muxsched s = {.size = sizeof s, .task = task, .park = park, .unpark = unpark, .start = start, .parkfor = parkfor};

	if (pthread_key_create(&key, leaves) != 0 || muxsetsched(&s) != 0) {
		printf("not ok - no scheduler\n");
		exit(1);
	}
}
