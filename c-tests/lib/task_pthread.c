/*
 * task_pthread.c: task.h with plain pthreads, one for each task; main is a task itself.
 */
#define _GNU_SOURCE 1
#include "task.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

struct Task {
	pthread_t thread;
	void (*fn)(void *);
	void *arg;
};

struct TaskEvent {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int set;
};

struct TaskMutex {
	pthread_mutex_t lock;
};

static void *
get(size_t n)
{
	void *p;

	p = calloc(1, n);
	if (p == NULL) {
		printf("not ok - no memory for a task\n");
		exit(1);
	}
	return p;
}

static void *
body(void *v)
{
	Task *t;

	t = v;
	t->fn(t->arg);
	return NULL;
}

Task *
task_start(void (*fn)(void *), void *arg)
{
	Task *t;

	t = get(sizeof *t);
	t->fn = fn;
	t->arg = arg;
	if (pthread_create(&t->thread, NULL, body, t) != 0) {
		printf("not ok - no thread for a task\n");
		exit(1);
	}
	return t;
}

void
task_join(Task *t)
{
	pthread_join(t->thread, NULL);
	free(t);
}

void
task_yield(void)
{
	sched_yield();
}

const char *
task_kind(void)
{
	return "pthread";
}

/* poll first: the descriptor may have been made non-blocking */
static void
waitio(int fd, short events)
{
	struct pollfd x;

	x.fd = fd;
	x.events = events;
	while (poll(&x, 1, -1) < 0 && errno == EINTR)
		;
}

long
task_readn(int fd, void *buf, size_t n)
{
	char *p;
	size_t got;
	ssize_t r;

	p = buf;
	for (got = 0; got < n; got += (size_t)r) {
		waitio(fd, POLLIN);
		r = read(fd, p + got, n - got);
		if (r == 0)
			break;
		if (r < 0 && errno != EINTR && errno != EAGAIN)
			return -1;
		if (r < 0)
			r = 0;
	}
	return (long)got;
}

long
task_writen(int fd, const void *buf, size_t n)
{
	const char *p;
	size_t put;
	ssize_t w;

	p = buf;
	for (put = 0; put < n; put += (size_t)w) {
		waitio(fd, POLLOUT);
		w = write(fd, p + put, n - put);
		if (w < 0 && errno != EINTR && errno != EAGAIN)
			return -1;
		if (w < 0)
			w = 0;
	}
	return (long)put;
}

int
task_ready(int fd)
{
	struct pollfd x;

	x.fd = fd;
	x.events = POLLIN;
	return poll(&x, 1, 0) > 0;
}

TaskEvent *
task_event(void)
{
	TaskEvent *e;

	e = get(sizeof *e);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->cond, NULL);
	return e;
}

void
task_event_set(TaskEvent *e)
{
	pthread_mutex_lock(&e->lock);
	e->set = 1;
	pthread_cond_broadcast(&e->cond);
	pthread_mutex_unlock(&e->lock);
}

void
task_event_wait(TaskEvent *e)
{
	pthread_mutex_lock(&e->lock);
	while (!e->set)
		pthread_cond_wait(&e->cond, &e->lock);
	pthread_mutex_unlock(&e->lock);
}

int
task_event_isset(TaskEvent *e)
{
	int set;

	pthread_mutex_lock(&e->lock);
	set = e->set;
	pthread_mutex_unlock(&e->lock);
	return set;
}

void
task_event_free(TaskEvent *e)
{
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->cond);
	free(e);
}

TaskMutex *
task_mutex(void)
{
	TaskMutex *m;

	m = get(sizeof *m);
	pthread_mutex_init(&m->lock, NULL);
	return m;
}

void
task_lock(TaskMutex *m)
{
	pthread_mutex_lock(&m->lock);
}

void
task_unlock(TaskMutex *m)
{
	pthread_mutex_unlock(&m->lock);
}

void
task_mutex_free(TaskMutex *m)
{
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int
main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	return task_main(argc, argv);
}
