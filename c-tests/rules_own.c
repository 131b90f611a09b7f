/*
 * rules_own.c: the request is the caller's.  When muxrpc or muxrpcstart has returned, in whatever way and
 * in whatever mode, nobody looks at it any more.  Here callers scribble on theirs the moment they
 * have it back, while a send that began with it is held; what reaches the server shows who was too early.
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

/* what a library that answers too early needs to be caught; a right one is not hurt by it */
static void
grace(void)
{
	unsigned i;

	for (i = 0; i < 200; i++)
		task_yield();
}

/* libdraw's event loop: the request is on the stack of a function that returns at once */
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
	tap_ok(r.good && r.id == ID, "%s: muxrpcstart answers only when the request has been sent", mode(procs));
	task_join(t);
	peer_answer(peer, c->frame, &r);
	tap_ok(started != NULL && finish(c, started, ID) == 1, "%s: and the call finishes", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* many from one stack frame, for procs that queue what they are given */
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
		/* no more at once than the socket holds, for directly nobody receives meanwhile */
		for (i = 0; i < (procs ? 60 : 3); i++)
			rpc[i] = client_start(c, T_ECHO, ID + i, ID + i, N);
		for (i = 0; i < (procs ? 60 : 3); i++)
			good += rpc[i] != NULL && finish(c, rpc[i], ID + i) == 1;
	}
	tap_ok(good == (procs ? 600 : 30), "%s: %u started from one buffer on the stack", mode(procs), good);
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
}

/* B's reply is there before its request has been written: muxrpc has what it wants, but send still
   has the request */
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
	tap_ok(caller_join(&a) == 1, "%s: a reply came before its request was written", mode(procs));
	grace();
	steps_go(c);
	rb = peer_read(peer, c->frame);
	tap_ok(rb.good && rb.id == ID + 1, "%s: the request was left alone until it was", mode(procs));
	tap_ok(caller_join(&b) == 1, "%s: and the call has its reply", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/*
 * The connection ends, for recv, while B is in send and W behind it.  Both calls are over; B's muxrpc
 * returns after its send, and W's request is not used once it has returned (it is freed then:
 * the sanitizers and valgrind look here).
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
	/* whoever of them comes only now is a later call, and its send fails the same way */
	steps_dead(c, 1);
	/* to recv a message of no size is the end; the descriptor lives on, so B's send succeeds */
	peer_write(peer, nothing, sizeof nothing);
	tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "%s: the end of the connection, while one is in send", mode(procs));
	grace();
	steps_go(c);
	rb = peer_read(peer, c->frame);
	tap_ok(rb.good && rb.id == ID + 1, "%s: its request was left alone until it was written", mode(procs));
	tap_ok(caller_join(&b) == 0 && b.error == ECONNRESET, "%s: then its call ends too, nil and ECONNRESET", mode(procs));
	for (i = good = 0; i < 3; i++)
		good += caller_join(&w[i]) == 0 && w[i].error == ECONNRESET;
	tap_ok(good == 3, "%s: and those who waited for their turn to send", mode(procs));
	steps_dead(c, 0);
	steps_none(c);
	rb = begin(&a, c, peer, ID + 9);
	tap_ok(rb.id == ID + 9, "%s: whose requests were never sent", mode(procs));
	peer_answer(peer, c->frame, &rb);
	tap_ok(caller_join(&a) == 1, "%s: a later call works", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/*
 * Those who stood behind B when the end came are over, and are not sent, though sending would work now.  One
 * of them may have been too slow to stand there: it is a later call then, and gets its reply.  Not all, in
 * so many rounds.
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
	tap_ok(good == 30, "%s: 10 times the end, while one is in send and three behind it", mode(procs));
	tap_ok(over > 0, "%s: of those behind it %u were over, unsent", mode(procs), over);
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
	tap_ok(r.good && r.id == ID, "%s: the end came while muxrpcstart was in send, which had the request to itself", mode(procs));
	task_join(t);
	/* it may fail at once, or answer a call that has ended */
	n = -1;
	e = ECONNRESET;
	if (started != NULL) {
		n = finish(c, started, ID);
		e = errno;
	}
	tap_ok(n == -1 && e == ECONNRESET, "%s: and the call has ended", mode(procs));
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
