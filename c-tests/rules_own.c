/*
 * rules_own.c: the request belongs to the caller. When muxrpc or muxrpcstart has returned, in
 * whatever way and mode, the library does not access it any more. Here callers overwrite their
 * requests as soon as they have them back, while a send that began with them is held; the server
 * then receives what a library that returns too early would send.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

static Client *client;
static Muxrpc *started;

static void
startit(void *v)
{
	(void)v;
	started = client_start(client, T_ECHO, ID, ID, N);
}

/* gives a library that returns too early the time to be caught; does not affect a correct one */
static void
grace(void)
{
	unsigned i;

	for (i = 0; i < 200; i++)
		task_yield();
}

/* the event loop of libdraw: the request is on the stack of a function that returns at once */
static void
onstack(int procs)
{
	Client *c;
	Task *t;
	Request r;
	int peer;

	c = client = client_pair(&peer, &frame_9p, 0, 256, procs);
	steps_hold(c, ID, 1, 0);
	t = task_start(startit, NULL);
	steps_wait(c);
	grace();
	steps_go(c);
	r = peer_read(peer, c->frame);
	tap_ok(r.good && r.id == ID, "%s: muxrpcstart returns only when the request has been sent", mode(procs));
	task_join(t);
	peer_answer(peer, c->frame, &r);
	tap_ok(started != NULL && finish(c, started, ID) == 1, "%s: the call finishes", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* many calls from one stack frame, for procs that queue the requests */
static void
many(int procs)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 10, .seed = 7, .small = 1};
	Client *c;
	Server *s;
	Muxrpc *rpc[60];
	unsigned i, round, good;
	int fd;

	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 0, 256);
	if (procs)
		muxprocs(&c->mux);
	for (round = good = 0; round < 10; round++) {
		/* no more at once than the socket holds, because without procs no caller receives
		 * meanwhile */
		for (i = 0; i < (procs ? 60 : 3); i++)
			rpc[i] = client_start(c, T_ECHO, ID + i, ID + i, N);
		for (i = 0; i < (procs ? 60 : 3); i++)
			good += rpc[i] != NULL && finish(c, rpc[i], ID + i) == 1;
	}
	tap_ok(good == (procs ? 600 : 30), "%s: %u calls started from one buffer on the stack", mode(procs), good);
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
}

/* B's reply arrives before its request has been written: muxrpc has its result, but send still uses the request */
static void
replied(int procs)
{
	Client *c;
	Caller a, b;
	Request ra, rb;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	steps_hold(c, ID + 1, 1, 0);
	ra = begin(&a, c, peer, ID);
	caller_start(&b, c, T_ECHO, ID + 1, N);
	steps_wait(c);
	rb = ra;
	rb.id = b.id;
	rb.seq = b.seq;
	rb.tag = ra.tag + 1;
	peer_answer(peer, c->frame, &rb);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: a reply arrived before its request was written", mode(procs));
	grace();
	steps_go(c);
	rb = peer_read(peer, c->frame);
	tap_ok(rb.good && rb.id == ID + 1, "%s: the request was unchanged until it was written", mode(procs));
	tap_ok(caller_join(&b) == 1, "%s: the call gets its reply", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/*
 * The connection ends, for recv, while B is in send and W is queued behind it. Both calls have
 * ended. B's muxrpc returns after its send; W's request is not accessed after its muxrpc has
 * returned (it is freed then: the sanitizers and valgrind check this).
 */
static void
ended(int procs)
{
	static const unsigned char nothing[4];
	Client *c;
	Caller a, b, w[3];
	Request rb;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	steps_hold(c, ID + 1, 1, 0);
	begin(&a, c, peer, ID);
	caller_start(&b, c, T_ECHO, ID + 1, N);
	steps_wait(c);
	for (i = 0; i < 3; i++)
		caller_start(&w[i], c, T_ECHO, ID + 2 + i, N);
	grace();
	/* a caller that comes only now makes a later call, whose send fails the same way */
	steps_dead(c, 1);
	/* recv takes a message of size 0 for the end; the descriptor stays open, so B's send
	 * succeeds */
	peer_write(peer, nothing, sizeof nothing);
	tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "%s: the connection ends while a call is in send", mode(procs));
	grace();
	steps_go(c);
	rb = peer_read(peer, c->frame);
	tap_ok(rb.good && rb.id == ID + 1, "%s: its request was unchanged until it was written", mode(procs));
	tap_ok(caller_join(&b) == 0 && b.error == ECONNRESET, "%s: then its call ends, too: NULL and ECONNRESET", mode(procs));
	for (i = good = 0; i < 3; i++)
		good += caller_join(&w[i]) == 0 && w[i].error == ECONNRESET;
	tap_ok(good == 3, "%s: the queued calls have ended, too", mode(procs));
	steps_dead(c, 0);
	steps_none(c);
	rb = begin(&a, c, peer, ID + 9);
	tap_ok(rb.id == ID + 9, "%s: their requests were never sent", mode(procs));
	peer_answer(peer, c->frame, &rb);
	tap_ok(caller_join(&a) == 1, "%s: a later call works", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/*
 * Calls that were queued behind B at the end have ended, and are not sent, though sending would
 * work now. One of them may have come too late: it is a later call then, and gets its reply. That
 * does not happen to all of them in this number of rounds.
 */
static void
endedbehind(int procs)
{
	static const unsigned char nothing[4];
	Client *c;
	Caller a, b, w[3];
	Request r;
	unsigned i, round, good, over;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	for (round = good = over = 0; round < 10; round++) {
		if (procs)
			muxprocs(&c->mux);
		steps_hold(c, ID + 1, 1, 0);
		begin(&a, c, peer, ID);
		caller_start(&b, c, T_ECHO, ID + 1, N);
		steps_wait(c);
		for (i = 0; i < 3; i++)
			caller_start(&w[i], c, T_ECHO, ID + 2 + i, N);
		grace();
		peer_write(peer, nothing, sizeof nothing);
		good += caller_join(&a) == 0 && a.error == ECONNRESET;
		steps_go(c);
		r = peer_read(peer, c->frame);
		good += r.good && r.id == ID + 1;
		good += caller_join(&b) == 0 && b.error == ECONNRESET;
		for (i = 0; i < 3; i++) {
			while (!task_event_isset(w[i].done)) {
				if (peer_ready(peer)) {
					r = peer_read(peer, c->frame);
					peer_answer(peer, c->frame, &r);
				} else
					task_yield();
			}
			if (caller_join(&w[i]) == 0 && w[i].error == ECONNRESET)
				over++;
			else
				good -= w[i].result != 1;
		}
	}
	tap_ok(good == 30, "%s: the connection ends 10 times while a call is in send and three are queued", mode(procs));
	tap_ok(over > 0, "%s: %u queued calls have ended unsent", mode(procs), over);
	client_check(c, mode(procs));
	close(peer);
}

/* the same for a non-blocking call that is in send */
static void
endedstart(int procs)
{
	static const unsigned char nothing[4];
	Client *c;
	Caller a;
	Task *t;
	Request r;
	int peer, n, e;

	c = client = client_pair(&peer, &frame_9p, 0, 256, procs);
	steps_hold(c, ID, 1, 0);
	begin(&a, c, peer, ID + 1);
	t = task_start(startit, NULL);
	steps_wait(c);
	peer_write(peer, nothing, sizeof nothing);
	caller_join(&a);
	grace();
	steps_go(c);
	r = peer_read(peer, c->frame);
	tap_ok(r.good && r.id == ID, "%s: the connection ended during the send of muxrpcstart, and the request was unchanged", mode(procs));
	task_join(t);
	/* it may fail at once, or return a call that has ended */
	n = -1;
	e = ECONNRESET;
	if (started != NULL) {
		n = finish(c, started, ID);
		e = errno;
	}
	tap_ok(n == -1 && e == ECONNRESET, "%s: the call has ended", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("rules_own", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		onstack(procs);
		many(procs);
		replied(procs);
		ended(procs);
		endedbehind(procs);
		endedstart(procs);
	}
	quiet_end();
	return tap_end();
}
