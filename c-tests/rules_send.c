/*
 * rules_send.c: send.  One at a time, and recv one at a time, but the two side by side, so a send that
 * takes long holds up nobody's reply; a send or a settag that fails fails its own call and no
 * other; and a reply that comes before its send has returned counts, whatever that send then says.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

/* a send returns only when another caller's reply has been delivered; a library that holds a
   lock across send that delivery needs locks up */
static void
overlap(int procs, int before)
{
	Client *c;
	Caller a, b;
	Request ra, rb;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	steps_hold(c, ID + 1, before, 0);
	ra = begin(&a, c, peer, ID);
	caller_start(&b, c, T_ECHO, ID + 1, N);
	steps_wait(c);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: a reply is delivered while another's send blocks", mode(procs));
	steps_go(c);
	rb = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &rb);
	tap_ok(caller_join(&b) == 1, "%s: and then that one's", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/*
 * One is in send, some wait for their turn, and the last who received is gone: nobody else can receive,
 * so a non-blocking caller who looks must be let in, and not find the role with one that is sending.
 */
static void
nobodywaits(int procs)
{
	Client *c;
	Caller a, b, w[3];
	Muxrpc *x;
	Request ra, rx, r;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	x = client_start(c, T_ECHO, ID, ID, N);
	rx = peer_read(peer, c->frame);
	ra = begin(&a, c, peer, ID + 1);
	steps_hold(c, ID + 2, 1, 0);
	caller_start(&b, c, T_ECHO, ID + 2, N);
	steps_wait(c);
	for (i = 0; i < 3; i++)
		caller_start(&w[i], c, T_ECHO, ID + 3 + i, N);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: the only one that waited has its reply", mode(procs));
	peer_answer(peer, c->frame, &rx);
	tap_ok(finish(c, x, ID) == 1, "%s: with all others at send, muxrpccanfinish still gets at its reply", mode(procs));
	steps_go(c);
	for (i = 0; i < 4; i++) {
		r = peer_read(peer, c->frame);
		peer_answer(peer, c->frame, &r);
	}
	good = caller_join(&b) == 1;
	for (i = 0; i < 3; i++)
		good += caller_join(&w[i]) == 1;
	tap_ok(good == 4, "%s: those at send get theirs", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

static int
yielding(Client *c, void *msg)
{
	unsigned i;

	(void)c;
	(void)msg;
	for (i = 0; i < 3; i++)
		task_yield();
	return 0;
}

static int
yieldingrecv(Client *c, int canblock)
{
	(void)canblock;
	return yielding(c, NULL);
}

/* callbacks that let others run in their midst: whoever could get in beside them does */
static void
onebyone(int procs)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 8, .seed = 42};
	Client *c;
	Server *s;
	Caller a[16];
	unsigned i, round, good;
	int fd;

	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 0, 256);
	c->sending = c->sent = yielding;
	c->receiving = yieldingrecv;
	if (procs)
		muxprocs(&c->mux);
	for (round = good = 0; round < 20; round++) {
		for (i = 0; i < 16; i++)
			caller_start(&a[i], c, T_ECHO, ID + round * 16 + i, N);
		for (i = 0; i < 16; i++)
			good += caller_join(&a[i]) == 1;
	}
	tap_ok(good == 320, "%s: 20 times 16 callers, with callbacks that let others run", mode(procs));
	tap_note("%s: %lu times send and recv overlapped", mode(procs), client_count(&c->overlaps));
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
}

/* B's reply has been delivered while B is in send; what that send says then does not matter */
static void
early(int procs, int before, int error)
{
	Client *c;
	Caller a, b;
	Request ra, rb;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	steps_hold(c, ID + 1, before, error);
	ra = begin(&a, c, peer, ID);
	/* A's next neighbour: the server can know the tag before it has read anything */
	rb = ra;
	caller_start(&b, c, T_ECHO, ID + 1, N);
	steps_wait(c);
	if (before) {
		rb.id = b.id;
		rb.seq = b.seq;
		rb.tag = ra.tag + 1;
	} else
		rb = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &rb);
	peer_answer(peer, c->frame, &ra);
	/* in the order in which they were written: when A has its reply, B's has been received */
	tap_ok(caller_join(&a) == 1, "%s: a reply came %s", mode(procs), before ? "before its request was written" : "before its send had returned");
	steps_go(c);
	tap_ok(caller_join(&b) == 1, "%s: it counts, and the send %s", mode(procs), error ? "fails" : "succeeds");
	if (before && error == 0)
		peer_read(peer, c->frame);
	steps_none(c);
	ra = begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: and others go on", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

static Client *racing;
static Muxrpc *raced;

static void
startit(void *v)
{
	(void)v;
	raced = client_start(racing, T_ECHO, ID, ID, N);
}

/* the same for a non-blocking call: muxrpcstart answers it, with the reply there */
static void
earlystart(int procs, int error)
{
	Client *c;
	Task *t;
	Caller a;
	Request r, ra;
	int peer;

	c = racing = client_pair(&peer, &frame_9p, 0, 256, procs);
	steps_hold(c, ID, 0, error);
	ra = begin(&a, c, peer, ID + 1);
	t = task_start(startit, NULL);
	steps_wait(c);
	r = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &r);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: the reply to a call that is being started was received", mode(procs));
	steps_go(c);
	task_join(t);
	tap_ok(raced != NULL && client_peek(raced) != NULL, "%s: it counts, and the send %s", mode(procs), error ? "fails" : "succeeds");
	tap_ok(raced != NULL && client_finish(c, raced, T_ECHO, ID, ID, N) == 1, "%s: it finishes at once", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* a reply for a tag whose call has yet to be sent is nobody's: the call waits for its own */
static TaskEvent *tagged, *untag;
static unsigned itstag;

static int
tagging(Client *c, void *msg, unsigned tag)
{
	if (frame_id(c->frame, msg) == ID + 1) {
		itstag = tag;
		task_event_set(tagged);
		task_event_wait(untag);
	}
	return 0;
}

static void
tooearly(int procs)
{
	Client *c;
	Caller a, b, h;
	Request ra, rb, rh;
	int peer;

	tagged = task_event();
	untag = task_event();
	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	c->tagging = tagging;
	ra = begin(&a, c, peer, ID);
	/* one has the turn to send: the other is nowhere near it */
	steps_hold(c, ID + 2, 1, 0);
	caller_start(&h, c, T_ECHO, ID + 2, N);
	steps_wait(c);
	caller_start(&b, c, T_ECHO, ID + 1, N);
	task_event_wait(tagged);
	peer_stray(peer, c->frame, R_ORPHAN, itstag);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: a message came with the tag of a call that is not in send", mode(procs));
	steps_go(c);
	rh = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &rh);
	tap_ok(caller_join(&h) == 1, "%s: it was nobody's", mode(procs));
	task_event_set(untag);
	rb = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &rb);
	tap_ok(caller_join(&b) == 1, "%s: that call waits for its own reply", mode(procs));
	client_check(c, mode(procs));
	client_dropstrays(c);
	task_event_free(tagged);
	task_event_free(untag);
	close(peer);
}

/* settag fails for one */
static int
nosettag(Client *c, void *msg, unsigned tag)
{
	(void)tag;
	if (frame_id(c->frame, msg) != ID + 7)
		return 0;
	errno = ENOTSUP;
	return -1;
}

/* others are outstanding all the time, one before the failure and one after it */
static void
fails(int procs)
{
	Client *c;
	Caller a, b;
	Muxrpc *x;
	Request ra, rb, rx;
	unsigned long n;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	c->tagging = nosettag;
	x = client_start(c, T_ECHO, ID, ID, N);
	rx = peer_read(peer, c->frame);
	ra = begin(&a, c, peer, ID + 1);
	steps_fail(c, ID + 2, 1, EPROTO);
	tap_ok(client_call(c, T_ECHO, ID + 2, 0, N) == 0 && errno == EPROTO,
	    "%s: send fails: muxrpc is nil with the errno that send left", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID + 2, 0, N) == NULL && errno == EPROTO, "%s: muxrpcstart too", mode(procs));
	steps_fail(c, ID + 2, 1, STALE);
	errno = ENOTTY;
	tap_ok(client_call(c, T_ECHO, ID + 2, 0, N) == 0 && errno == EIO, "%s: send left none: EIO", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID + 2, 0, N) == NULL && errno == EIO, "%s: muxrpcstart too", mode(procs));
	n = client_count(&c->nsend);
	tap_ok(client_call(c, T_ECHO, ID + 7, 0, N) == 0 && errno == ENOTSUP, "%s: settag fails: its errno", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID + 7, 0, N) == NULL && errno == ENOTSUP, "%s: muxrpcstart too", mode(procs));
	tap_ok(client_count(&c->nsend) == n, "%s: and nothing was sent", mode(procs));
	rb = begin(&b, c, peer, ID + 3);
	peer_answer(peer, c->frame, &rb);
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1 && caller_join(&b) == 1 && finish(c, x, ID) == 1, "%s: the others get their replies", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* a failed call's tag is free again: with two tags a third failure would find none */
static void
tagback(int procs)
{
	Client *c;
	Caller a;
	Request r;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 2, procs);
	c->tagging = nosettag;
	steps_fail(c, ID + 2, 1, EPROTO);
	for (i = good = 0; i < 10; i++) {
		good += client_call(c, T_ECHO, ID + 2, 0, N) == 0 && errno == EPROTO;
		good += client_start(c, T_ECHO, ID + 2, 0, N) == NULL && errno == EPROTO;
		good += client_call(c, T_ECHO, ID + 7, 0, N) == 0 && errno == ENOTSUP;
		good += client_start(c, T_ECHO, ID + 7, 0, N) == NULL && errno == ENOTSUP;
	}
	tap_ok(good == 40, "%s: 40 failures with two tags", mode(procs));
	r = begin(&a, c, peer, ID);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: and then a call succeeds", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("rules_send", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		overlap(procs, 0);
		overlap(procs, 1);
		nobodywaits(procs);
		onebyone(procs);
		early(procs, 0, 0);
		early(procs, 0, EPIPE);
		early(procs, 1, 0);
		early(procs, 1, EPIPE);
		earlystart(procs, 0);
		earlystart(procs, EPIPE);
		tooearly(procs);
		fails(procs);
		tagback(procs);
	}
	quiet_end();
	return tap_end();
}
