/*
 * task_coro.c: task.h with coroutines. Tasks are distributed over the procs in turn; TASK_PROCS in the environment
 * is their number (with 1, a task that blocks the proc blocks all tasks). Events and mutexes may also be used by
 * plain pthreads, such as a server that a test keeps out of the runtime.
 */
#define _GNU_SOURCE 1
#include "task.h"
#include "coro.h"

#include <stdlib.h>

enum { NPROC = 3 };

struct TaskEvent {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int set;
	CoroList waiting;
};

struct TaskMutex {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int held;
	CoroList waiting;
};

struct Task {
	void (*fn)(void *);
	void *arg;
	TaskEvent *over;
};

typedef struct Args Args;
struct Args { int argc; char **argv; };

static void *
get(size_t n)
{
	void *p;

	p = calloc(1, n);
	if (p == NULL)
		coro_die("no memory for a task");
	return p;
}

static void
body(void *v)
{
	Task *t;

	t = v;
	t->fn(t->arg);
	task_event_set(t->over);
}

Task *
task_start(void (*fn)(void *), void *arg)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static int next;
	Task *t;
	int proc;

	t = get(sizeof *t);
	t->fn = fn;
	t->arg = arg;
	t->over = task_event();
	pthread_mutex_lock(&lock);
	proc = next++ % coro_nproc();
	pthread_mutex_unlock(&lock);
	coro_start(proc, body, t);
	return t;
}

void
task_join(Task *t)
{
	task_event_wait(t->over);
	task_event_free(t->over);
	free(t);
}

void
task_yield(void)
{
	coro_yield();
}

const char *
task_kind(void)
{
	return "coro";
}

long
task_readn(int fd, void *buf, size_t n)
{
	return coro_readn(fd, buf, n);
}

long
task_writen(int fd, const void *buf, size_t n)
{
	return coro_writen(fd, buf, n);
}

int
task_ready(int fd)
{
	return coro_ready_fd(fd);
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

/* a waiter may free the event once it is set: it is taken off the list before the lock is released */
void
task_event_set(TaskEvent *e)
{
	CoroList l;
	Coro *c;

	pthread_mutex_lock(&e->lock);
	e->set = 1;
	l = e->waiting;
	e->waiting.head = e->waiting.tail = NULL;
	pthread_cond_broadcast(&e->cond);
	pthread_mutex_unlock(&e->lock);
	while ((c = coro_pop(&l)) != NULL)
		coro_ready(c);
}

void
task_event_wait(TaskEvent *e)
{
	Coro *c;

	c = coro_self();
	pthread_mutex_lock(&e->lock);
	if (c != NULL && !e->set) {
		coro_push(&e->waiting, c);
		pthread_mutex_unlock(&e->lock);
		coro_park();
		return;
	}
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
	pthread_cond_init(&m->cond, NULL);
	return m;
}

void
task_lock(TaskMutex *m)
{
	Coro *c;

	c = coro_self();
	pthread_mutex_lock(&m->lock);
	if (c != NULL && m->held) {
		coro_push(&m->waiting, c);
		pthread_mutex_unlock(&m->lock);
		coro_park();
		return;
	}
	while (m->held)
		pthread_cond_wait(&m->cond, &m->lock);
	m->held = 1;
	pthread_mutex_unlock(&m->lock);
}

/* handed over: the mutex stays locked if a coroutine waits */
void
task_unlock(TaskMutex *m)
{
	Coro *c;

	pthread_mutex_lock(&m->lock);
	c = coro_pop(&m->waiting);
	if (c == NULL) {
		m->held = 0;
		pthread_cond_signal(&m->cond);
	}
	pthread_mutex_unlock(&m->lock);
	if (c != NULL)
		coro_ready(c);
}

void
task_mutex_free(TaskMutex *m)
{
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->cond);
	free(m);
}

static int
start(void *v)
{
	Args *a;

	a = v;
	return task_main(a->argc, a->argv);
}

int
main(int argc, char **argv)
{
	Args a;
	const char *s;
	int n;

	a.argc = argc;
	a.argv = argv;
	s = getenv("TASK_PROCS");
	n = s == NULL ? NPROC : atoi(s);
	return coro_run(n > 0 ? n : NPROC, start, &a);
}
