/* steps.c: see steps.h. Memory is never freed here while the process runs: a proc may be accessing it. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

typedef struct Event Event;
typedef struct Steps Steps;

struct Event {
	Event *next;
	TaskEvent *e;
};

struct Steps {
	pthread_mutex_t lock;
	unsigned id;
	int before;
	TaskEvent *in, *go;
	int error;
	TaskEvent *receiving;
	int dead;
	Event *events;
	Steps *next;
};

/* all of them, so that the leak checker can reach them */
static Steps *all;
static pthread_mutex_t alllock = PTHREAD_MUTEX_INITIALIZER;

static TaskEvent *
event(Steps *s)
{
	Event *e;

	e = malloc(sizeof *e);
	if (e == NULL)
		abort();
	e->e = task_event();
	e->next = s->events;
	s->events = e;
	return e->e;
}

static int
step(Client *c, void *msg, int before)
{
	Steps *s;
	TaskEvent *in, *go;
	int mine, error, dead;

	s = c->own;
	pthread_mutex_lock(&s->lock);
	mine = s->id != 0 && s->before == before && frame_id(c->frame, msg) == s->id;
	in = s->in;
	go = s->go;
	error = s->error;
	dead = s->dead && before;
	pthread_mutex_unlock(&s->lock);
	if (mine && go != NULL) {
		task_event_set(in);
		task_event_wait(go);
	}
	if (dead)
		error = ECONNRESET;
	else if (!mine || error == 0)
		return 0;
	if (error != STALE)
		errno = error;
	return -1;
}

static int
sending(Client *c, void *msg)
{
	return step(c, msg, 1);
}

static int
sent(Client *c, void *msg)
{
	return step(c, msg, 0);
}

static int
receiving(Client *c, int canblock)
{
	Steps *s;
	TaskEvent *e;

	s = c->own;
	pthread_mutex_lock(&s->lock);
	e = s->receiving;
	pthread_mutex_unlock(&s->lock);
	if (canblock)
		task_event_set(e);
	return 0;
}

Client *
client_pair(int *peer, const Frame *f, unsigned mintag, unsigned maxtag, int procs)
{
	Client *c;
	Steps *s;
	int fd[2];

	server_pair(fd, 0);
	*peer = fd[1];
	s = calloc(1, sizeof *s);
	if (s == NULL)
		abort();
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_lock(&alllock);
	s->next = all;
	all = s;
	pthread_mutex_unlock(&alllock);
	s->receiving = event(s);
	c = client_new(fd[0], f, mintag, maxtag);
	c->own = s;
	c->sending = sending;
	c->sent = sent;
	c->receiving = receiving;
	if (procs)
		muxprocs(&c->mux);
	return c;
}

void
client_again(Client *c, int *peer)
{
	int fd[2];

	server_pair(fd, 0);
	*peer = fd[1];
	client_reconnect(c, fd[0]);
}

const char *
mode(int procs)
{
	return procs ? "procs" : "direct";
}

static void
set(Client *c, unsigned id, int before, int error, int hold)
{
	Steps *s;

	s = c->own;
	pthread_mutex_lock(&s->lock);
	s->id = id;
	s->before = before;
	s->error = error;
	s->in = hold ? event(s) : NULL;
	s->go = hold ? event(s) : NULL;
	pthread_mutex_unlock(&s->lock);
}

void
steps_hold(Client *c, unsigned id, int before, int error)
{
	set(c, id, before, error, 1);
}

void
steps_fail(Client *c, unsigned id, int before, int error)
{
	set(c, id, before, error, 0);
}

void
steps_none(Client *c)
{
	set(c, 0, 0, 0, 0);
}

void
steps_wait(Client *c)
{
	task_event_wait(((Steps *)c->own)->in);
}

void
steps_go(Client *c)
{
	task_event_set(((Steps *)c->own)->go);
}

void
steps_dead(Client *c, int dead)
{
	Steps *s;

	s = c->own;
	pthread_mutex_lock(&s->lock);
	s->dead = dead;
	pthread_mutex_unlock(&s->lock);
}

void
steps_waitrecv(Client *c)
{
	task_event_wait(((Steps *)c->own)->receiving);
}

void
steps_rewatch(Client *c)
{
	Steps *s;

	s = c->own;
	pthread_mutex_lock(&s->lock);
	s->receiving = event(s);
	pthread_mutex_unlock(&s->lock);
}

Request
begin(Caller *a, Client *c, int peer, unsigned id)
{
	Request r;

	caller_start(a, c, T_ECHO, id, N);
	r = peer_read(peer, c->frame);
	if (!r.good || r.id != id)
		tap_ok(0, "the server got the request as the caller made it");
	return r;
}

int
finish(Client *c, Muxrpc *rpc, unsigned id)
{
	int r;

	/* one poll at a time: another caller or a proc may be receiving */
	while ((r = client_finish(c, rpc, T_ECHO, id, id, N)) == 0)
		task_yield();
	return r;
}

typedef struct Answer Answer;
struct Answer {
	int peer;
	const Frame *frame;
};

static void
answerone(void *v)
{
	Answer *a;
	Request r;

	a = v;
	r = peer_read(a->peer, a->frame);
	if (r.good)
		peer_answer(a->peer, a->frame, &r);
}

int
callpeer(Client *c, int peer, unsigned id, size_t n)
{
	Answer a;
	Task *t;
	int r, e;

	a.peer = peer;
	a.frame = c->frame;
	t = task_start(answerone, &a);
	r = client_call(c, T_ECHO, id, id, n);
	e = errno;
	task_join(t);
	errno = e;
	return r;
}
