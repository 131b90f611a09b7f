/*
 * replay_draw.c: the way in which libdraw uses a Mux. Tags 1 to 254 in one byte at offset 4, nbrecv by a poll that
 * does not wait. Blocking calls and an event loop share it: the loop starts one call for each event source from a
 * buffer on its stack, checks rpc->p before it waits for the descriptor, and then calls muxrpccanfinish; a result
 * of 1 with NULL ends the program.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

enum { MOUSE, KEYBOARD, NSOURCE };

typedef struct Source Source;
struct Source {
	Muxrpc *rpc;
	unsigned seq;
	unsigned events;
};

typedef struct Loop Loop;
struct Loop {
	Client *c;
	Source source[NSOURCE];
	unsigned peeked;	/* how often rpc->p made a wait unnecessary */
	int over;	/* the program would exit */
	int nil;	/* because muxrpccanfinish returned 1 with NULL */
	int damaged;
};

/* the stack frame of this function is soon reused */
static void
listen(Loop *l, unsigned i)
{
	Source *s;

	s = &l->source[i];
	if (s->rpc == NULL)
		s->rpc = client_start(l->c, T_ECHO, ID + i, ++s->seq, N);
	/* this fails here only if the server has gone */
	if (s->rpc == NULL)
		l->over = 1;
}

/* one turn of the loop; returns the number of events */
static unsigned
turn(Loop *l, int canblock)
{
	unsigned i, n;

	for (i = 0; i < NSOURCE; i++) {
		listen(l, i);
		if (l->source[i].rpc != NULL && client_peek(l->source[i].rpc) != NULL) {
			l->peeked++;
			canblock = 0;
		}
	}
	/* select, but other tasks run meanwhile */
	while (canblock && !task_ready(l->c->fd))
		task_yield();
	n = 0;
	for (i = 0; i < NSOURCE; i++) {
		if (l->source[i].rpc == NULL)
			continue;
		switch (client_finish(l->c, l->source[i].rpc, T_ECHO, ID + i, l->source[i].seq, N)) {
		case 1:
			l->source[i].rpc = NULL;
			l->source[i].events++;
			n++;
			break;
		case -1:
			l->source[i].rpc = NULL;
			l->over = l->nil = 1;
			return n;
		case -2:
			l->damaged = 1;
			break;
		}
	}
	return n;
}

/* one task: the loop, and sometimes a blocking call, which receives the mouse's reply first */
static void
program(void)
{
	Client *c;
	Loop l;
	Request mouse, key, r;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_draw, 1, 255, 0);
	memset(&l, 0, sizeof l);
	l.c = c;
	tap_ok(turn(&l, 0) == 0 && !l.over, "without an event the loop continues");
	mouse = peer_read(peer, c->frame);
	key = peer_read(peer, c->frame);
	tap_ok(mouse.good && key.good && mouse.id == ID + MOUSE && key.id == ID + KEYBOARD,
	    "both requests arrived as they were on the stack");
	peer_answer(peer, c->frame, &key);
	tap_ok(turn(&l, 1) == 1 && l.source[KEYBOARD].events == 1, "a key: the descriptor is ready and it finishes");
	tap_ok(turn(&l, 0) == 0, "no event");
	key = peer_read(peer, c->frame);

	peer_answer(peer, c->frame, &mouse);
	tap_ok(callpeer(c, peer, ID + 9, 200) == 1, "a blocking call, which receives the mouse's reply first");
	/* the descriptor does not become ready: only rpc->p shows the reply */
	tap_ok(!task_ready(c->fd) && turn(&l, 1) == 1 && l.peeked == 1, "rpc->p is set, so the loop does not wait");
	tap_ok(l.source[MOUSE].events == 1 && l.source[MOUSE].rpc == NULL, "the mouse event has been delivered");

	for (i = good = 0; i < 200; i++) {
		turn(&l, 0);
		r = peer_read(peer, c->frame);
		if (r.id == ID + KEYBOARD) {
			tap_ok(0, "only the mouse has a call");
			break;
		}
		peer_answer(peer, c->frame, &r);
		good += turn(&l, 1) == 1;
	}
	tap_ok(good == 200 && !l.over && !l.damaged, "200 mouse events");
	turn(&l, 0);
	peer_answer(peer, c->frame, &key);
	close(peer);
	for (i = 0; i < 10 && !l.over; i++)
		turn(&l, 0);
	tap_ok(l.over && l.nil, "the connection ends: 1 with NULL");
	tap_ok(l.source[KEYBOARD].events == 2 ||
	    client_finish(c, l.source[KEYBOARD].rpc, T_ECHO, ID + KEYBOARD, l.source[KEYBOARD].seq, N) == 1,
	    "the key that arrived before the end is delivered");
	client_check(c, "event loop");
}

/* other tasks make blocking calls: while one of them receives, the loop gets 0, not the end */
static void
shared(void)
{
	Client *c;
	Loop l;
	Caller a;
	Request mouse, r;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_draw, 1, 255, 0);
	memset(&l, 0, sizeof l);
	l.c = c;
	turn(&l, 0);
	mouse = peer_read(peer, c->frame);
	peer_read(peer, c->frame);
	for (i = good = 0; i < 50; i++) {
		steps_rewatch(c);
		r = begin(&a, c, peer, ID + 9);
		steps_waitrecv(c);
		good += turn(&l, 0) == 0 && !l.over;
		if (i % 2) {
			peer_answer(peer, c->frame, &mouse);
			good -= l.source[MOUSE].events != i / 2;
		}
		peer_answer(peer, c->frame, &r);
		good -= caller_join(&a) != 1;
		if (i % 2) {
			good -= turn(&l, 1) != 1;
			turn(&l, 0);
			mouse = peer_read(peer, c->frame);
		}
	}
	tap_ok(good == 50 && !l.over && !l.damaged, "50 times another task receives while the loop polls");
	tap_ok(l.source[MOUSE].events == 25 && l.peeked >= 25, "the other tasks deliver 25 mouse events to the loop");
	client_check(c, "event loop and tasks");
	close(peer);
}

/* 300 calls at once for 254 tags: the original's table doubles past maxtag, to 256, which one byte turns into 0 */
static void
crowd(int procs)
{
	enum { NCROWD = 300 };
	ServerPlan plan = {.frame = &frame_draw, .first = 254, .batch = 300, .seed = 21};
	Client *c;
	Server *s;
	Caller *a;
	unsigned i, good;
	int fd;

	a = calloc(NCROWD, sizeof *a);
	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_draw, 1, 255);
	if (procs)
		muxprocs(&c->mux);
	/* the server replies only when it has 254 requests, so every tag is in use */
	for (i = 0; i < NCROWD; i++)
		caller_start(&a[i], c, T_ECHO, ID + i, N);
	for (i = good = 0; i < NCROWD; i++)
		good += caller_join(&a[i]) == 1;
	tap_ok(good == NCROWD, "%s: 300 callers for 254 tags", mode(procs));
	client_check(c, mode(procs));
	client_hangup(c);
	tap_ok(server_join(s) == NCROWD, "%s: each was sent once", mode(procs));
	free(a);
}

/* blocking calls of many tasks and the loop, against a server that replies out of order */
static void
drawing(void *v)
{
	Client *c;
	unsigned i;

	c = v;
	for (i = 0; i < 100; i++)
		if (client_call(c, T_ECHO, ID + 50, i, 20 + i % 100) != 1)
			client_fault(c, "a blocking call got no reply, or another call's");
}

static void
mixed(void)
{
	ServerPlan plan = {.frame = &frame_draw, .batch = 6, .seed = 4};
	Client *c;
	Server *s;
	Loop l;
	Task *t[8];
	unsigned i;
	int fd;

	s = server_start(&plan, &fd);
	memset(&l, 0, sizeof l);
	l.c = c = client_new(fd, &frame_draw, 1, 255);
	for (i = 0; i < 8; i++)
		t[i] = task_start(drawing, c);
	while (l.source[MOUSE].events + l.source[KEYBOARD].events < 300 && !l.over && !l.damaged) {
		turn(&l, 0);
		task_yield();
	}
	for (i = 0; i < 8; i++)
		task_join(t[i]);
	tap_ok(!l.over && !l.damaged, "300 events while 8 tasks draw");
	client_check(c, "all at once");
	client_hangup(c);
	for (i = 0; i < 1000 && !l.over; i++)
		turn(&l, 0);
	tap_ok(l.over, "the end of the connection ends the loop");
	server_join(s);
}

int
task_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	tap_start("replay_draw", 60);
	quiet_start();
	program();
	shared();
	crowd(0);
	crowd(1);
	mixed();
	quiet_end();
	return tap_end();
}
