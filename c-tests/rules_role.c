/*
 * rules_role.c: the receiver role. One caller receives for all. When it has its reply, it hands the role to another
 * waiting caller, whichever replies come first, and so does a muxrpccanfinish after a poll without a reply;
 * non-blocking calls never get the role. A role that is lost, or given to a caller that never uses it, locks up
 * here.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

enum { NCALL = 4, NORDER = 24 };

/* the k-th permutation of NCALL things */
static void
order(unsigned k, unsigned *o)
{
	unsigned i, j, n, left[NCALL];

	for (i = 0; i < NCALL; i++)
		left[i] = i;
	for (i = 0; i < NCALL; i++) {
		n = NCALL - i;
		o[i] = left[k % n];
		for (j = k % n; j + 1 < n; j++)
			left[j] = left[j + 1];
		k /= n;
	}
}

/* each call returns before the next reply, so no late message can help */
static void
orders(int procs)
{
	Client *c;
	Caller a[NCALL];
	Request r[NCALL];
	unsigned i, k, o[NCALL], good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	for (k = good = 0; k < NORDER; k++) {
		order(k, o);
		for (i = 0; i < NCALL; i++)
			r[i] = begin(&a[i], c, peer, ID + i);
		for (i = 0; i < NCALL; i++) {
			peer_answer(peer, c->frame, &r[o[i]]);
			good += caller_join(&a[o[i]]) == 1;
		}
	}
	tap_ok(good == NORDER * NCALL, "%s: 4 calls get their replies in all 24 orders", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* an older non-blocking call is outstanding: its owner is not waiting and cannot receive */
static void
notasync(int procs)
{
	Client *c;
	Caller a, b;
	Muxrpc *x[3];
	Request rx[3], ra, rb;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	for (i = 0; i < 3; i++) {
		x[i] = client_start(c, T_ECHO, ID + i, ID + i, N);
		rx[i] = peer_read(peer, c->frame);
	}
	ra = begin(&a, c, peer, ID + 3);
	rb = begin(&b, c, peer, ID + 4);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: a blocking call beside three that are not", mode(procs));
	peer_answer(peer, c->frame, &rb);
	tap_ok(caller_join(&b) == 1, "%s: the next blocking call", mode(procs));
	ra = begin(&a, c, peer, ID + 5);
	peer_answer(peer, c->frame, &rx[1]);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: a call that began while no caller was receiving", mode(procs));
	tap_ok(client_peek(x[1]) != NULL && client_peek(x[0]) == NULL,
	    "%s: it also delivered the reply of a non-blocking call", mode(procs));
	peer_answer(peer, c->frame, &rx[2]);
	peer_answer(peer, c->frame, &rx[0]);
	for (i = good = 0; i < 3; i++)
		good += finish(c, x[i], ID + i) == 1;
	tap_ok(good == 3, "%s: all three finish", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* a poll by muxrpccanfinish, held inside nbrecv */
typedef struct Look Look;
struct Look {
	Client *c;
	Muxrpc *rpc;
	int result, error;
	TaskEvent *in, *go;
	int answer;	/* < 0: nbrecv reports the end of the connection */
	void *own;	/* the client's own data, saved */
};

static int
lookstep(Client *c, int canblock)
{
	Look *l;

	l = c->own;
	if (canblock)
		return 0;
	task_event_set(l->in);
	task_event_wait(l->go);
	return l->answer;
}

static void
lookit(void *v)
{
	Look *l;

	l = v;
	l->result = client_finish(l->c, l->rpc, T_ECHO, ID, ID, N);
	l->error = errno;
}

/* starts a call and polls for it; when this returns, the poll is inside nbrecv */
static Task *
looking(Look *l, int *peer, Request *rx, int strayfirst)
{
	Task *t;

	l->c = client_pair(peer, &frame_9p, 0, 256, 0);
	l->own = l->c->own;
	l->c->own = l;
	l->c->receiving = lookstep;
	l->c->sending = l->c->sent = NULL;
	l->in = task_event();
	l->go = task_event();
	l->rpc = client_start(l->c, T_ECHO, ID, ID, N);
	*rx = peer_read(*peer, l->c->frame);
	if (strayfirst)
		peer_stray(*peer, l->c->frame, R_ORPHAN, 999);
	t = task_start(lookit, l);
	task_event_wait(l->in);
	return t;
}

static void
looked(Look *l, Task *t)
{
	task_event_set(l->go);
	task_join(t);
}

/* a blocking caller begins to wait while the poll has the role: it must get the role after the poll */
static void
lookpasses(void)
{
	Look *l;
	Caller b;
	Request rx, rb;
	Task *t;
	int peer;

	l = calloc(1, sizeof *l);
	t = looking(l, &peer, &rx, 0);
	rb = begin(&b, l->c, peer, ID + 1);
	looked(l, t);
	tap_ok(l->result == 0, "direct: a poll without a reply returns 0");
	peer_answer(peer, l->c->frame, &rb);
	tap_ok(caller_join(&b) == 1, "direct: a caller that began to wait meanwhile receives afterwards");
	peer_answer(peer, l->c->frame, &rx);
	tap_ok(finish(l->c, l->rpc, ID) == 1, "direct: the polled call finishes");
	client_check(l->c, "direct");
	close(peer);
}

/* the poll finds the other call's reply */
static void
lookdelivers(void)
{
	Look *l;
	Caller b;
	Request rx, rb;
	Task *t;
	int peer;

	l = calloc(1, sizeof *l);
	t = looking(l, &peer, &rx, 1);
	rb = begin(&b, l->c, peer, ID + 1);
	peer_answer(peer, l->c->frame, &rb);
	looked(l, t);
	tap_ok(caller_join(&b) == 1, "direct: a poll delivers the reply of a waiting call");
	tap_ok(l->result == 0, "direct: the poll returns 0 for its own call");
	peer_answer(peer, l->c->frame, &rx);
	tap_ok(finish(l->c, l->rpc, ID) == 1, "direct: its own call finishes later");
	client_check(l->c, "direct");
	client_dropstrays(l->c);
	close(peer);
}

/* the poll finds the end of the connection: the waiting call ends, too */
static void
lookends(void)
{
	Look *l;
	Caller b;
	Request rx, r;
	Task *t;
	int peer;

	l = calloc(1, sizeof *l);
	l->answer = -1;
	t = looking(l, &peer, &rx, 0);
	begin(&b, l->c, peer, ID + 1);
	looked(l, t);
	tap_ok(l->result == -1 && l->error == ECONNRESET, "direct: a poll finds the end: 1, NULL and ECONNRESET");
	tap_ok(caller_join(&b) == 0 && b.error == ECONNRESET, "direct: a caller that began to wait meanwhile ends, too");
	r = begin(&b, l->c, peer, ID + 2);
	peer_answer(peer, l->c->frame, &r);
	tap_ok(caller_join(&b) == 1, "direct: a later call tries again");
	client_check(l->c, "direct");
	close(peer);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("rules_role", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		orders(procs);
		notasync(procs);
	}
	lookpasses();
	lookdelivers();
	lookends();
	quiet_end();
	return tap_end();
}
