/*
 * rules_send.c: send. One caller at a time is in send, and one in recv, but both run concurrently, so a slow send
 * does not delay a reply. A failed send or settag fails only its own call. A reply that arrives before its send has
 * returned is delivered, whatever that send returns.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

/* a send returns only when another caller's reply has been delivered; a library that holds a lock across send that
   delivery needs locks up */
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
	tap_ok(caller_join(&a) == 1, "%s: a reply is delivered while another call's send blocks", mode(procs));
	steps_go(c);
	rb = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &rb);
	tap_ok(caller_join(&b) == 1, "%s: then the other call gets its reply", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/*
 * One caller is in send, some wait for the turn, and the last receiver has left: no other caller can receive, so
 * the poll of a non-blocking call must get the role, which must not belong to a caller in send.
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
	tap_ok(caller_join(&a) == 1, "%s: the only waiting call gets its reply", mode(procs));
	peer_answer(peer, c->frame, &rx);
	tap_ok(finish(c, x, ID) == 1, "%s: muxrpccanfinish receives its reply while all other calls are at send", mode(procs));
	steps_go(c);
	for (i = 0; i < 4; i++) {
		r = peer_read(peer, c->frame);
		peer_answer(peer, c->frame, &r);
	}
	good = caller_join(&b) == 1;
	for (i = 0; i < 3; i++)
		good += caller_join(&w[i]) == 1;
	tap_ok(good == 4, "%s: the calls at send get their replies", mode(procs));
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

/* callbacks that let other tasks run in the middle, so that every caller that can enter does */
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
	tap_ok(good == 320, "%s: 20 times 16 callers, with callbacks that let other tasks run", mode(procs));
	tap_note("%s: %lu times send and recv overlapped", mode(procs), client_count(&c->overlaps));
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
}

/* B's reply is delivered while B is in send; the result of that send does not matter */
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
	/* the tag after A's: the server can know it before it has read anything */
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
	/* in the order of writing: when A has its reply, B's has been received */
	tap_ok(caller_join(&a) == 1, "%s: a reply arrived %s", mode(procs), before ? "before its request was written" : "before its send had returned");
	steps_go(c);
	tap_ok(caller_join(&b) == 1, "%s: it is delivered, and the send %s", mode(procs), error ? "fails" : "succeeds");
	if (before && error == 0)
		peer_read(peer, c->frame);
	steps_none(c);
	ra = begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: other calls continue", mode(procs));
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

/* the same for a non-blocking call: muxrpcstart returns it, with the reply */
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
	tap_ok(raced != NULL && client_peek(raced) != NULL, "%s: it is delivered, and the send %s", mode(procs), error ? "fails" : "succeeds");
	tap_ok(raced != NULL && client_finish(c, raced, T_ECHO, ID, ID, N) == 1, "%s: it finishes at once", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* a reply with the tag of an unsent call is an orphan: the call waits for its own reply */
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
	/* one caller has the turn to send; the other cannot be in send */
	steps_hold(c, ID + 2, 1, 0);
	caller_start(&h, c, T_ECHO, ID + 2, N);
	steps_wait(c);
	caller_start(&b, c, T_ECHO, ID + 1, N);
	task_event_wait(tagged);
	peer_stray(peer, c->frame, R_ORPHAN, itstag);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: a message arrived with the tag of a call that is not in send", mode(procs));
	steps_go(c);
	rh = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &rh);
	tap_ok(caller_join(&h) == 1, "%s: it was an orphan", mode(procs));
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

/* settag fails for one call */
static int
nosettag(Client *c, void *msg, unsigned tag)
{
	(void)tag;
	if (frame_id(c->frame, msg) != ID + 7)
		return 0;
	errno = ENOTSUP;
	return -1;
}

/* other calls are outstanding all the time, one from before the failure and one from after it */
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
	    "%s: send fails: muxrpc returns NULL with the errno of send", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID + 2, 0, N) == NULL && errno == EPROTO, "%s: muxrpcstart, too", mode(procs));
	steps_fail(c, ID + 2, 1, STALE);
	errno = ENOTTY;
	tap_ok(client_call(c, T_ECHO, ID + 2, 0, N) == 0 && errno == EIO, "%s: send fails without errno: EIO", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID + 2, 0, N) == NULL && errno == EIO, "%s: muxrpcstart, too", mode(procs));
	n = client_count(&c->nsend);
	tap_ok(client_call(c, T_ECHO, ID + 7, 0, N) == 0 && errno == ENOTSUP, "%s: settag fails: its errno", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID + 7, 0, N) == NULL && errno == ENOTSUP, "%s: muxrpcstart, too", mode(procs));
	tap_ok(client_count(&c->nsend) == n, "%s: nothing was sent", mode(procs));
	rb = begin(&b, c, peer, ID + 3);
	peer_answer(peer, c->frame, &rb);
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1 && caller_join(&b) == 1 && finish(c, x, ID) == 1, "%s: the other calls get their replies", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* the tag of a failed call is free again: with two tags a third failure would find none */
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
	tap_ok(caller_join(&a) == 1, "%s: then a call succeeds", mode(procs));
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
