/*
 * rules_busy.c: all tags are in use. muxrpc waits for a tag, and receives meanwhile if no other
 * caller does, so that a single task does not lock itself up. When it has got its tag and goes to
 * send, another waiting caller must receive. muxrpcstart does not wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

/* the tags are held by non-blocking calls whose replies only this task can receive */
static void
alone(int procs, int nbrecv)
{
	Client *c;
	Muxrpc *rpc[3];
	Request r[3];
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 3, procs);
	if (!nbrecv)
		c->mux.nbrecv = NULL;
	for (i = 0; i < 3; i++) {
		rpc[i] = client_start(c, T_ECHO, ID + i, ID + i, N);
		r[i] = peer_read(peer, c->frame);
	}
	tap_ok(client_start(c, T_ECHO, ID + 3, ID + 3, N) == NULL && errno == EAGAIN,
	    "%s: three calls started, a fourth returns NULL with EAGAIN", mode(procs));
	for (i = 0; i < 3; i++)
		peer_answer(peer, c->frame, &r[i]);
	tap_ok(callpeer(c, peer, ID + 4, N) == 1,
	    "%s: then muxrpc succeeds, although they have not been collected%s", mode(procs), nbrecv ? "" : " and there is no nbrecv");
	for (i = good = 0; i < 3; i++)
		good += client_peek(rpc[i]) != NULL && client_finish(c, rpc[i], T_ECHO, ID + i, ID + i, N) == 1;
	tap_ok(good == 3, "%s: all three replies were delivered meanwhile", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* many callers for few tags: every caller gets a turn, and no caller gets another's tag */
static void
few(int procs, unsigned ntag)
{
	ServerPlan plan = {.frame = &frame_9p};
	Client *c;
	Server *s;
	Caller a[20];
	unsigned i, good;
	int fd;

	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 9, 9 + ntag);
	if (procs)
		muxprocs(&c->mux);
	for (i = 0; i < 20; i++)
		caller_start(&a[i], c, T_ECHO, ID + i, N);
	for (i = good = 0; i < 20; i++)
		good += caller_join(&a[i]) == 1;
	tap_ok(good == 20, "%s: 20 callers for %u tags", mode(procs), ntag);
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
}

/* a blocking call receives; a tag waiter gets the tag when that call has ended, and must then receive itself;
   meanwhile muxrpcstart does not wait */
static void
behind(int procs)
{
	Client *c;
	Caller a, b;
	Request r;
	int peer;

	c = client_pair(&peer, &frame_9p, 4, 5, procs);
	r = begin(&a, c, peer, ID);
	caller_start(&b, c, T_ECHO, ID + 1, N);
	tap_ok(client_start(c, T_ECHO, ID + 2, ID + 2, N) == NULL && errno == EAGAIN,
	    "%s: EAGAIN while other callers wait for a tag or a reply", mode(procs));
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: the call with the only tag gets its reply", mode(procs));
	r = peer_read(peer, c->frame);
	tap_ok(r.good && r.id == ID + 1 && r.tag == 4, "%s: the next call is sent with the same tag", mode(procs));
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&b) == 1, "%s: it gets its reply", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/*
 * Two callers wait for tags, one of them receiving. It gets a tag and goes to send, where it is
 * held: the other must receive now, or the reply that frees its tag is never received.
 */
static void
leaves(int procs)
{
	Client *c;
	Caller t[2];
	Muxrpc *a, *b;
	Request ra, rb, r;
	unsigned i;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 2, procs);
	a = client_start(c, T_ECHO, ID, ID, N);
	ra = peer_read(peer, c->frame);
	b = client_start(c, T_ECHO, ID + 1, ID + 1, N);
	rb = peer_read(peer, c->frame);
	/* both have the same number, because either of them may come first and must be held */
	steps_hold(c, ID + 2, 1, 0);
	caller_start(&t[0], c, T_ECHO, ID + 2, N);
	caller_start(&t[1], c, T_ECHO, ID + 2, N);
	peer_answer(peer, c->frame, &ra);
	steps_wait(c);
	tap_ok(client_peek(a) != NULL, "%s: a tag waiter receives, and is sent", mode(procs));
	peer_answer(peer, c->frame, &rb);
	while (client_peek(b) == NULL)
		task_yield();
	tap_ok(1, "%s: while it is in send, the other tag waiter receives", mode(procs));
	steps_go(c);
	for (i = 0; i < 2; i++) {
		r = peer_read(peer, c->frame);
		peer_answer(peer, c->frame, &r);
	}
	tap_ok(caller_join(&t[0]) == 1 && caller_join(&t[1]) == 1, "%s: both get their replies", mode(procs));
	tap_ok(client_finish(c, a, T_ECHO, ID, ID, N) == 1 && client_finish(c, b, T_ECHO, ID + 1, ID + 1, N) == 1,
	    "%s: the calls that had the tags before finish", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* the connection ends while callers wait for tags: all of them return */
static void
dies(int procs)
{
	Client *c;
	Muxrpc *a;
	Caller t[4];
	unsigned i, good;
	int peer, r;

	c = client_pair(&peer, &frame_9p, 0, 1, procs);
	a = client_start(c, T_ECHO, ID, ID, N);
	peer_read(peer, c->frame);
	for (i = 0; i < 4; i++)
		caller_start(&t[i], c, T_ECHO, ID + 1 + i, N);
	/* a caller that had no tag yet at the end may try to send, and fails the same way */
	steps_dead(c, 1);
	close(peer);
	for (i = good = 0; i < 4; i++)
		good += caller_join(&t[i]) == 0 && t[i].error == ECONNRESET;
	tap_ok(good == 4, "%s: the end of the connection ends all tag waiters with ECONNRESET", mode(procs));
	r = finish(c, a, ID);
	tap_ok(r == -1 && errno == ECONNRESET, "%s: the call that had the tag: 1, NULL and ECONNRESET", mode(procs));
	client_check(c, mode(procs));
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("rules_busy", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		alone(procs, 1);
		alone(procs, 0);
		few(procs, 1);
		few(procs, 3);
		behind(procs);
		leaves(procs);
		dies(procs);
	}
	quiet_end();
	return tap_end();
}
