/*
 * rules_finish.c: muxrpccanfinish in every state: no message, its reply delivered by another
 * caller, its reply in nbrecv, replies to other calls, another caller receiving, the end of the
 * connection, and no way to ever finish. The original returns 1 with NULL while another caller
 * receives, and libdraw then exits.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

static int
look(Client *c, Muxrpc *rpc, unsigned id)
{
	return client_finish(c, rpc, T_ECHO, id, id, N);
}

static Muxrpc *
start(Client *c, int peer, unsigned id, Request *r)
{
	Muxrpc *rpc;

	rpc = client_start(c, T_ECHO, id, id, N);
	*r = peer_read(peer, c->frame);
	if (rpc == NULL || !r->good)
		tap_ok(0, "a call is started");
	return rpc;
}

static void
alone(void)
{
	Client *c;
	Muxrpc *x, *y, *z;
	Request rx, ry, rz;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	z = start(c, peer, ID + 2, &rz);
	tap_ok(x->mux == &c->mux && x->tag == rx.tag && x->p == NULL, "direct: rpc->mux, rpc->tag and rpc->p of a pending call");
	tap_ok(look(c, x, ID) == 0 && look(c, y, ID + 1) == 0 && look(c, x, ID) == 0, "direct: no message: 0");
	peer_answer(peer, c->frame, &rz);
	peer_answer(peer, c->frame, &ry);
	tap_ok(look(c, x, ID) == 0, "direct: only replies to other calls: 0");
	tap_ok(client_peek(y) != NULL && client_peek(z) != NULL, "direct: these replies have been delivered");
	peer_answer(peer, c->frame, &rx);
	tap_ok(look(c, y, ID + 1) == 1, "direct: delivered by the poll of another call: 1");
	tap_ok(look(c, x, ID) == 1, "direct: its reply is available to nbrecv: 1");
	tap_ok(look(c, z, ID + 2) == 1, "direct: the call that was collected last: 1");
	tap_ok(client_count(&c->nrecv) == 0, "direct: recv, which blocks, was never called");
	client_check(c, "direct");
	close(peer);
}

/* makes certain that a task blocks in recv */
static void
another(int nbrecv)
{
	Client *c;
	Caller a;
	Muxrpc *x;
	Request ra, rx;
	unsigned long n;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	if (!nbrecv)
		c->mux.nbrecv = NULL;
	x = start(c, peer, ID, &rx);
	ra = begin(&a, c, peer, ID + 1);
	steps_waitrecv(c);
	n = client_count(&c->nnbrecv);
	for (i = good = 0; i < 10; i++)
		good += look(c, x, ID) == 0;
	tap_ok(good == 10 && client_count(&c->nnbrecv) == n, "direct: another caller receives: 0, %s nbrecv", nbrecv ? "without a call of" : "without");
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "direct: the receiver gets its reply");
	tap_ok(client_peek(x) != NULL && look(c, x, ID) == 1, "direct: it has delivered the reply of the other call: 1, at once");
	client_check(c, "direct");
	close(peer);
}

static void
end(void)
{
	Client *c;
	Caller a;
	Muxrpc *x, *y, *z;
	Request rx, ry, rz, ra;
	int peer, newpeer, r;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	z = start(c, peer, ID + 2, &rz);
	peer_answer(peer, c->frame, &rz);
	close(peer);
	r = look(c, x, ID);
	/* a message and then the end: muxrpccanfinish may poll once more or return 0 first */
	if (r == 0)
		r = look(c, x, ID);
	tap_ok(r == -1 && errno == ECONNRESET, "direct: the end of the connection: 1, NULL and ECONNRESET");
	client_again(c, &newpeer);
	r = look(c, y, ID + 1);
	tap_ok(r == -1 && errno == ECONNRESET,
	    "direct: another call of that connection has ended, although there is a new connection");
	tap_ok(look(c, z, ID + 2) == 1, "direct: a call whose reply arrived before the end has it");
	ra = begin(&a, c, newpeer, ID + 3);
	peer_answer(newpeer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "direct: the new connection works");
	tap_ok(ra.tag != rx.tag && ra.tag != ry.tag, "direct: its tag differs from those of the ended calls");
	client_check(c, "direct");
	close(newpeer);
}

/* a caller in recv finds the end */
static void
endbyanother(int procs)
{
	Client *c;
	Caller a;
	Muxrpc *x, *y;
	Request rx, ry;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &ry);
	close(peer);
	tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "%s: recv finds the end of the connection", mode(procs));
	tap_ok(finish(c, x, ID) == -1 && errno == ECONNRESET, "%s: muxrpccanfinish: 1, NULL and ECONNRESET", mode(procs));
	tap_ok(finish(c, y, ID + 1) == 1, "%s: 1 with the reply that arrived before", mode(procs));
	client_check(c, mode(procs));
}

/* no caller receives, and none can: the call could never finish */
static void
never(void)
{
	Client *c;
	Caller a;
	Muxrpc *x, *y;
	Request rx, ry, ra;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	c->mux.nbrecv = NULL;
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	ra = begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &ry);
	peer_answer(peer, c->frame, &ra);
	caller_join(&a);
	tap_ok(look(c, x, ID) == -1 && errno == EOPNOTSUPP,
	    "direct: no nbrecv, no procs, no receiver: 1, NULL and EOPNOTSUPP");
	tap_ok(look(c, y, ID + 1) == 1, "direct: a delivered reply is still returned");
	/* its reply arrives nevertheless and is an orphan; its tag must not have been reused by
	 * then */
	ra = begin(&a, c, peer, ID + 3);
	peer_stray(peer, c->frame, R_ORPHAN, rx.tag);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1 && ra.tag != rx.tag, "direct: its late reply does no harm");
	client_check(c, "direct");
	client_dropstrays(c);
	close(peer);
}

/* under procs, a proc always receives */
static void
procs(int nbrecv)
{
	Client *c;
	Caller a;
	Muxrpc *x, *y;
	Request rx, ry, ra;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 1);
	if (!nbrecv)
		c->mux.nbrecv = NULL;
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	for (i = good = 0; i < 10; i++)
		good += look(c, x, ID) == 0;
	tap_ok(good == 10, "procs: pending: 0, %s nbrecv", nbrecv ? "with" : "without");
	ra = begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1 && client_peek(x) != NULL, "procs: the proc delivers to both kinds");
	tap_ok(look(c, x, ID) == 1, "procs: muxrpccanfinish returns 1 with the reply");
	tap_ok(look(c, y, ID + 1) == 0, "procs: 0 for another that is pending");
	peer_answer(peer, c->frame, &ry);
	tap_ok(finish(c, y, ID + 1) == 1, "procs: it finishes when its reply has arrived");
	tap_ok(client_count(&c->nnbrecv) == 0, "procs: nbrecv was never called");
	client_check(c, "procs");
	close(peer);
}

int
task_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	tap_start("rules_finish", 60);
	quiet_start();
	alone();
	another(1);
	another(0);
	end();
	endbyanother(0);
	endbyanother(1);
	never();
	procs(1);
	procs(0);
	quiet_end();
	return tap_end();
}
